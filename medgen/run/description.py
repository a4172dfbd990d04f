"""The content of ``model.json`` that a run knows: what was trained, how, and on what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from medgen.cases import Case
from medgen.cases.phantoms import is_phantom
from medgen.config import Config
from medgen.methods.base import Method, stages_of
from medgen.preparation import Store
from medgen.preparation.plausible import RULE, plausible_ranges
from medgen.recipe.settings import Recipe
from medgen.run.origin import Origin


def describe(
    settings: Recipe,
    kind: type[Method],
    config: Config,
    prepared: Store,
    classes: Sequence[str],
    learnt: Sequence[Case],
    origin: Origin | None = None,
) -> dict[str, Any]:
    """What prediction needs besides the weights, and where the model comes from.

    Args:
        settings: of the run.
        kind: its method.
        config: of the method.
        prepared: training and validation cases.
        classes: names of the classes of a segmentation, without the background.
        learnt: the same cases as rows of the table, to tell which of them are phantoms.
        origin: that the networks start from.
    """
    training = [found for case in prepared.select(split="train") if (found := case.found) is not None]
    ranges = plausible_ranges(training, classes)
    phantoms = Counter(case.split for case in learnt if is_phantom(case, settings.data.all))
    return {
        "method": settings.method,
        "task": kind.batch_class.task().name,
        "classes": list(classes),
        "stages": stages_of(config),
        "preparation": prepared.preparation.as_dict(),
        "inference": settings.inference.model_dump(mode="json"),
        "patches": list(settings.patches.size),
        "recipe": settings.model_dump(mode="json"),
        "trained_on": {split: len(prepared.select(split=split)) for split in ("train", "val")},
        "phantoms": dict(phantoms),
        "plausible": {name: each.model_dump(mode="json") for name, each in ranges.items()},
        "plausible_rule": RULE,
        **({"init_from": origin.record} if origin else {}),
    }
