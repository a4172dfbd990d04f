"""The content of ``model.json`` that prediction needs, checked once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from medgen.config import build
from medgen.errors import ModelError, UsageError
from medgen.inference.labels import classes_of
from medgen.inference.lesions import require_classes
from medgen.methods.base import Shape
from medgen.preparation import Preparation
from medgen.preparation.plausible import Range
from medgen.preparation.task import TASKS, Task
from medgen.recipe.prediction import InferenceConfig
from medgen.sampling.patches import PLANES


@dataclass(frozen=True)
class Description:
    """A model without its weights.

    Attributes:
        task: what the model makes.
        classes: names of the classes of a segmentation, without the background.
        preparation: of its inputs, and back.
        settings: of the tiles, and of how probabilities become labels and lesions.
        patch: size of its training patch in voxels.
        across: axis of a prepared volume across the slices that it reads; None for boxes.
        weights: SHA-256 of the weights, where it is known.
        source: where the model came from, for messages.
        ranges: by class, how much of it a patient may plausibly have; empty in models of earlier versions.
    """

    task: Task
    classes: tuple[str, ...]
    preparation: Preparation
    settings: InferenceConfig
    patch: tuple[int, ...]
    across: int | None = None
    weights: str | None = None
    source: str = ""
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: Mapping[str, Any], shape: Shape, source: str = "") -> Description:
        """Read it from the content of ``model.json``; ``shape`` is that of the first network.

        Raises:
            ModelError: something is missing, or contradicts the network.
        """
        with settings_of_model(source):
            preparation = Preparation.from_dict(content["preparation"])
            settings = build(InferenceConfig, content["inference"])
            patch = tuple(int(edge) for edge in content["patches"])
            ranges = {name: build(Range, each) for name, each in (content.get("plausible") or {}).items()}
        # Models from before there were segmentations do not name their task.
        name = content.get("task", "synthesis")
        if name not in TASKS:
            known = f"the model's task is {str(name)[:40]!r}, which this medgen does not know"
            raise ModelError(known, fix="use a newer medgen")
        task = TASKS[name]
        classes = classes_of(content, shape.outputs) if task.labels else ()
        require_classes(settings.detection, classes)
        if len(patch) != shape.dimensions:
            raise ModelError(
                f"model.json has patches of {len(patch)} edges, and the network has {shape.dimensions} dimensions",
                fix="copy the model folder again",
            )
        across = _across(content) if shape.dimensions == 2 else None
        weights = content.get("weights_sha256")
        return cls(task, classes, preparation, settings, patch, across, weights, source, ranges)


@contextmanager
def settings_of_model(source: str) -> Iterator[None]:
    """Turn what is wrong with settings into an error of the model that holds them: nothing that was typed is wrong.

    Raises:
        ModelError: a setting is missing, unknown or wrong.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"model.json lacks {error}", where=source or None, fix="copy the model folder again") from None
    except UsageError as error:
        raise ModelError(f"model.json: {error.what}", where=source or None, fix=error.fix) from error


def require_alike(models: Sequence[Description]) -> None:
    """Refuse models whose results cannot be averaged.

    Raises:
        UsageError: two models differ in what they read, make or prepare, or one is there twice.
    """
    first = models[0]
    for number, other in enumerate(models[1:], start=2):
        for what, one, two in (
            ("task", first.task.name, other.task.name),
            ("inputs", first.preparation.roles.inputs, other.preparation.roles.inputs),
            ("classes", first.classes, other.classes),
            ("target", *(each.task.made(each.preparation.roles) for each in (first, other))),
            *_preparations(first, other),
        ):
            if one != two:
                raise UsageError(
                    f"model {number} of the ensemble has {what} {_text(two)}, the first has {_text(one)}",
                    where=other.source or None,
                    fix="average runs of one recipe, such as its folds or seeds",
                )
    if len({model.weights for model in models}) < len(models):
        raise UsageError("a model is in the ensemble twice", fix="name each run once")


def _across(content: Mapping[str, Any]) -> int:
    plane = ((content.get("recipe") or {}).get("patches") or {}).get("plane", "axial")
    if plane not in PLANES:
        known = f"the model reads {str(plane)[:40]!r} slices, which this medgen does not know"
        raise ModelError(known, fix="use a newer medgen")
    return PLANES[plane]


def _preparations(first: Description, other: Description) -> list[tuple[str, object, object]]:
    one, two = (model.preparation.config.model_dump(mode="json") for model in (first, other))
    return [(f"preparation.{key}", one[key], two[key]) for key in one]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
