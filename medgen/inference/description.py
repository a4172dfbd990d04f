"""What ``model.json`` says that prediction needs, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medgen.config import build
from medgen.errors import ModelError
from medgen.inference.labels import classes_of
from medgen.inference.lesions import require_classes
from medgen.preparation import Preparation
from medgen.preparation.task import TASKS, Task
from medgen.recipe.prediction import InferenceConfig


@dataclass(frozen=True)
class Description:
    """A model without its weights.

    Attributes:
        task: what the model makes.
        classes: names of the classes of a segmentation, without the background.
        preparation: of its inputs, and back.
        settings: how it is predicted with.
        patch: size of its training patch in voxels.
    """

    task: Task
    classes: tuple[str, ...]
    preparation: Preparation
    settings: InferenceConfig
    patch: tuple[int, ...]

    @classmethod
    def parse(cls, content: Mapping[str, Any], outputs: int) -> Description:
        """Read it from the content of ``model.json``; ``outputs`` are the channels that the network makes.

        Raises:
            ModelError: something is missing, or contradicts the network.
        """
        try:
            preparation = Preparation.from_dict(content["preparation"])
            settings = build(InferenceConfig, content["inference"])
            patch = tuple(int(edge) for edge in content["patches"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"model.json lacks {error}", fix="copy the model folder again") from None
        # Models from before there were segmentations do not say what they are.
        name = content.get("task", "synthesis")
        if name not in TASKS:
            raise ModelError(f"the model's task is {name!r}, which this medgen does not know", fix="use a newer medgen")
        task = TASKS[name]
        classes = classes_of(content, outputs) if task.labels else ()
        require_classes(settings.detection, classes)
        return cls(task, classes, preparation, settings, patch)
