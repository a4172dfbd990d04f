"""Where a model comes from: the licence of its weights and what it learnt from, in ``model.json``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from medgen.files import sha256
from medgen.preparation import Store
from medgen.preparation.store import CASES
from medgen.recipe.settings import Recipe

RECIPE = "recipe.yaml"


def provenance(settings: Recipe, prepared: Store, folder: Path) -> dict[str, Any]:
    """The licence and the facts of the data, without a name of a case.

    Args:
        settings: of the run.
        prepared: training and validation cases.
        folder: of the run; the hashes of its recipe and of its list of cases tell whether a model is of this run. The
            list has a hash of the images of each case.

    Returns:
        ``licence`` of the weights; ``roles`` that were read; ``data``: by split the number of ``cases`` and of those of
        each of the ``domains``; ``recipe_sha256`` and ``cases_sha256``.
    """
    data: dict[str, Any] = {}
    for split in ("train", "val"):
        cases = prepared.select(split=split)
        domains = Counter(case.domain for case in cases if case.domain is not None)
        data[split] = {"cases": len(cases), "domains": dict(sorted(domains.items()))}
    hashes = {f"{Path(name).stem}_sha256": sha256(folder / name) for name in (RECIPE, CASES)}
    return {"licence": settings.inference.licence, "roles": list(settings.data.all), "data": data, **hashes}
