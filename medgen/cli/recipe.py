"""``medgen recipe`` and ``medgen schema``."""

from __future__ import annotations

from medgen.cli.parameters import AllowModule, TextOutput


def recipe(
    method: str,
    /,
    *,
    output: TextOutput = None,
    overwrite: bool = False,
    allow_module: AllowModule = (),
) -> None:
    """Write a recipe of a method with every key explained, to start from.

    Each key has a comment: what it is, its unit and its limits. What has to
    be named stands as a key; all others are commented out with the value
    that holds when they are left out.

    For example:

        medgen recipe context_aware_gan
        medgen recipe segmentation -o recipe.yaml

    Args:
        method: name of the method; 'medgen models' lists them.
        output: the file to write; without it the recipe is printed.
        overwrite: replace an existing file.
        allow_module: a module outside medgen that METHOD may be of.
    """
    from medgen.cli.output import write_or_say
    from medgen.recipe.explained import explained_recipe

    write_or_say(explained_recipe(method, allow_modules=allow_module), output, overwrite=overwrite)


def schema(*, output: TextOutput = None, overwrite: bool = False) -> None:
    """Write the JSON Schema of recipes, with which editors complete and check them.

    It knows the settings of every method of medgen. An editor with YAML
    support uses it for a recipe whose first line is

        # yaml-language-server: $schema=medgen.schema.json

    For example:

        medgen schema -o medgen.schema.json

    Args:
        output: the file to write; without it the schema is printed.
        overwrite: replace an existing file.
    """
    import json

    from medgen.cli.output import write_or_say
    from medgen.recipe.explained import recipe_schema

    write_or_say(json.dumps(recipe_schema(), indent=2) + "\n", output, overwrite=overwrite)
