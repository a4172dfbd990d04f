"""What is skipped because it is there must be what would be made: the settings of a result stand beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medgen.files import write_json
from medgen.methods.catalogue import resolve, settings_of
from medgen.recipe.settings import Recipe


def require_same(result: Path, settings: Any) -> None:
    """Keep the settings of a result that is not made yet; of one that is there they have to be the same.

    Args:
        result: file or folder that a study makes.
        settings: what it depends on, as JSON can hold it.

    Raises:
        SystemExit: the result was made with other settings, or nobody knows with which.
    """
    file = result.with_name(f"{result.name}.settings.json")
    wanted = json.loads(json.dumps(settings, default=str))
    if result.exists():
        known = json.loads(file.read_text()) if file.is_file() else None
        if known != wanted:
            raise SystemExit(f"{result} was made with other settings: move it away, or name another --out")
    else:
        write_json(file, wanted)


def of_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe with every default of its method, so that a changed default is another setting."""
    config = settings_of(resolve(recipe.method), recipe.config)
    return {**recipe.model_dump(mode="json"), "config": config.model_dump(mode="json")}
