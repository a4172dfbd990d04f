"""Everything a run can be told, and its check against method and data."""

from typing import Any


def __getattr__(name: str) -> Any:
    """``load_recipe``, imported the first time it is asked for: it needs most of medgen."""
    if name != "load_recipe":
        raise AttributeError(f"module 'medgen.recipe' has no attribute '{name}'")
    from medgen.recipe.settings import load_recipe

    return load_recipe
