"""``medgen models``."""

from __future__ import annotations


def models() -> None:
    """List the methods for the key 'method' of a recipe.

    With --json, also what each can do, and its default settings.

    For example:

        medgen models
        medgen models --json
    """
    from medgen.cli.output import answer, show_table
    from medgen.methods.catalogue import list_methods

    methods = list_methods()
    answer(methods)
    show_table(("name", "learns from", "summary"), [(m["name"], m["batch"], m["summary"]) for m in methods])
