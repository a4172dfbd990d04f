"""``medgen models``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def models(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """List the methods for the key 'method' of a recipe.

    For example:

        medgen models
        medgen models --json

    Args:
        as_json: print JSON, including the default settings of each method.
    """
    import json

    from medgen.cli.output import say, show_table
    from medgen.methods.catalogue import list_methods

    methods = list_methods()
    if as_json:
        say(json.dumps(methods, indent=2))
        return
    show_table(("name", "learns from", "summary"), [(m["name"], m["batch"], m["summary"]) for m in methods])
