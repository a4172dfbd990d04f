"""A recipe with every key explained, to start from, and the JSON Schema with which editors complete recipes."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from medgen.config import Config
from medgen.errors import UsageError
from medgen.methods.base import Method
from medgen.methods.catalogue import method_names, resolve, settings_of
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import BLOCKS, Recipe, complete, load_recipe

_WIDTH = 110
_SIZES = (32, 48, 64, 67)
"""Edges of a patch to choose from; DeepMedic takes the last."""
_HEAD = """#
# Every key of a recipe with what it is when it is left out. A line '#key: value' holds as it stands: to change the
# value, remove the '#'. 'medgen train THIS_FILE --cases cases.csv --out run' trains with it.
# Research software, not for clinical use.
"""


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a recipe; ``config`` follows the method that the recipe names."""
    kinds: dict[str, type[Config]] = {name: resolve(name).config_class for name in method_names()}
    models: list[tuple[type[Config], JsonSchemaMode]] = [(Recipe, "validation")]
    models += [(kind, "validation") for kind in kinds.values()]
    found, definitions = models_json_schema(models)
    recipe = dict(definitions["$defs"][found[Recipe, "validation"]["$ref"].rsplit("/", 1)[1]])
    named = {"enum": list(kinds)}
    outside = {"pattern": r"\.", "description": "A module of one's own; needs --allow-module."}
    recipe["properties"] = {**recipe["properties"], "method": {"anyOf": [named, outside]}}
    empty = {"type": "null"}  # a block below which every line is commented out
    for block in BLOCKS:
        recipe["properties"][block] = {"anyOf": [recipe["properties"][block], empty]}
    recipe["allOf"] = [
        {
            "if": {"properties": {"method": {"const": name}}},
            "then": {"properties": {"config": {"anyOf": [found[kind, "validation"], empty]}}},
        }
        for name, kind in kinds.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **recipe,
        "title": "Recipe of medgen",
        **definitions,
    }


def explained_recipe(name: str, *, allow_modules: Sequence[str] = ()) -> str:
    """A recipe of a method as YAML with a comment on every key: what it is, its limits and its default.

    What must be named, or nearly always is, stands as keys; all others are commented out, with the value that holds.

    Args:
        name: the method.
        allow_modules: modules outside medgen that ``name`` may be of.

    Raises:
        UsageError: no such method.
        ModelError: a module that was not allowed.
    """
    kind = resolve(name, allow_modules=allow_modules)
    start = _start(name, kind, allow_modules)
    values = complete(start, settings_of(kind, {}).recipe()).model_dump(mode="json")
    schema = Recipe.model_json_schema()
    own = kind.config_class.model_json_schema()
    definitions = {**schema["$defs"], **own.get("$defs", {})}
    values["config"] = settings_of(kind, {}).model_dump(mode="json")
    named = start.model_dump(mode="json", exclude_unset=True)
    parts = ["\n".join([*_explained(f"{name}: {_summary(kind)}"), _HEAD.rstrip("\n")])]
    for key, each in schema["properties"].items():
        block = own if key == "config" else _block_of(each, definitions)
        if block is None:
            parts.append("\n".join(_entry(key, each, values[key], definitions, named=key in named)))
        else:
            told = _explained(block.get("description", ""))
            lines = _entries(block, values[key], definitions, named.get(key, {}))
            parts.append("\n".join([*told, f"{key}:", *(f"  {line}".rstrip() for line in lines)]))
    return "\n\n".join(parts) + "\n"


def _start(name: str, kind: type[Method], allow_modules: Sequence[str]) -> Recipe:
    """The keys that everybody names, with the smallest usual patches that the networks take."""
    arrays = {array for stream in kind.batch_class.streams() for array in stream.fields.values()}
    data: dict[str, Any] = {"inputs": ["t1"], "mask": "mask"}
    if "target" in arrays:
        data["target"] = "ct"
    if "label" in arrays:
        data |= {"inputs": ["t2", "flair"], "labels": "label", "classes": {"lesion": [1]}}
    dimensions, fault = max(kind.dimensions), None
    for size in _SIZES:
        values = {"method": name, "data": data, "patches": {"size": [size] * dimensions}, "schedule": {"steps": 20000}}
        recipe = load_recipe({**values, "seed": 0})
        try:
            check_recipe(recipe, allow_modules=allow_modules)
        except UsageError as error:
            fault = error
        else:
            return recipe
    assert fault is not None
    raise fault


def _summary(kind: type[Method]) -> str:
    return (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()[0]


def _block_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings that a key holds as a block of keys, also where it can be null; None: it holds a value."""
    for each in (schema, *schema.get("anyOf", ())):
        if "$ref" in each:
            found: Mapping[str, Any] = definitions[each["$ref"].rsplit("/", 1)[1]]
            return found if "properties" in found else None
    return None


def _entries(
    block: Mapping[str, Any], values: Mapping[str, Any], definitions: Mapping[str, Any], named: Mapping[str, Any]
) -> Iterator[str]:
    for key, schema in block["properties"].items():
        yield from _entry(key, schema, values[key], definitions, named=key in named)


def _entry(
    key: str, schema: Mapping[str, Any], value: Any, definitions: Mapping[str, Any], *, named: bool
) -> Iterator[str]:
    """A comment, and the key with its value; commented out where nobody named it."""
    mark, block = "" if named else "#", _block_of(schema, definitions)
    whole = block is None or not isinstance(value, Mapping)  # a name or null, where a block is possible too
    yield from _explained(schema.get("description", ""), *_limits(schema, definitions))
    if block is None or whole:
        yield f"{mark}{key}: {_plain(value)}"
    else:
        yield f"{mark}{key}:"
        yield from (f"{mark}  {line}" for line in _entries(block, value, definitions, block["properties"]))
    if block is not None and whole:
        yield from (f"# {line}" for line in _optional(key, block, definitions))


def _optional(key: str, block: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    """What the block that is null by default can hold."""
    yield f"{key} as a block:"
    for name, schema in block["properties"].items():
        default = _plain(schema["default"]) if "default" in schema else "(must be given)"
        told = " ".join((_unmarked(schema.get("description", "")), *_limits(schema, definitions)))
        yield from _wrapped(f"  {name}: {default}  {told}".rstrip(), "      ")


def _explained(text: str, *more: str) -> list[str]:
    """A docstring as comment lines."""
    return [f"# {line}" for line in _wrapped(" ".join((_unmarked(text), *more)).strip())]


def _unmarked(text: str) -> str:
    """A docstring in one line, without its markup."""
    return " ".join(re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("``", "").split())


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _limits(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """What values a key takes, as sentences."""
    found = []
    for each in (schema, *schema.get("anyOf", ())):
        whole = definitions[each["$ref"].rsplit("/", 1)[1]] if "$ref" in each else each
        if "enum" in whole:
            found.append(f"One of: {', '.join(dict.fromkeys(map(str, whole['enum'])))}.")
        words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
        told = [f"{word} {whole[bound]:,}" for bound, word in words.items() if bound in whole]
        if told:
            found.append(f"{' and '.join(told).capitalize()}.")
    return found


def _plain(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("...\n").strip()
