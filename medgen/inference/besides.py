"""What a prediction gives out beside its result: probabilities, lesions, the standard deviation; and who has which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from medgen.errors import UsageError
from medgen.inference.ensemble import Mean, OnSample
from medgen.inference.images import (
    OnUncertainty,
    clipped_note,
    deviations_on_own_grid,
    images_on_own_grid,
    unit_of,
)
from medgen.inference.intervals import Scale
from medgen.inference.labels import OnProbability, label_map, restore_label, spreads_on_own_grid
from medgen.inference.lesions import Detected, OnDetected
from medgen.inference.stages import Cascade
from medgen.preparation import Preparation, Prepared
from medgen.preparation.task import Task
from medgen.recipe.prediction import InferenceConfig
from medgen.volume import AIR, Volume

OnBounds = Callable[[str, Volume, Volume], None]
"""Is called with the role of each image, and the lower and the upper end of its interval."""
UNCALIBRATED = (
    "the interval is that of a normal distribution and was not calibrated: 'medgen calibrate' makes it hold its share"
)
"""Note on an interval that nobody has compared with patients."""


@dataclass(frozen=True)
class Besides:
    """The functions that are called with what stands beside a result; None where it is not wanted.

    Attributes:
        on_probability: of a segmentation, with each class and its map.
        on_detected: of a model that detects lesions, with them.
        on_uncertainty: with each role and the standard deviation of its image; of a segmentation with each class and
            that of its probability, and with :data:`ENTROPY` and the entropy of the mean probabilities.
        on_bounds: of a model of images, with each role and the lower and the upper end of its interval.
        on_sample: with the number of each draw from 0, and its images or its label map.
        scale: of the interval.
    """

    on_probability: OnProbability | None = None
    on_detected: OnDetected | None = None
    on_uncertainty: OnUncertainty | None = None
    on_bounds: OnBounds | None = None
    on_sample: Callable[[int, Volume], None] | None = None
    scale: Scale | None = None

    def watched(self, see: OnDetected) -> Besides:
        """The same, with lesions also given to ``see``; none are detected for it alone."""
        given = self.on_detected
        if given is None:
            return self

        def both(detected: Detected) -> None:
            see(detected)
            given(detected)

        return replace(self, on_detected=both)

    def require(self, task: Task, cascades: Sequence[Cascade]) -> None:
        """Refuse what a model does not have.

        Args:
            task: what it makes.
            cascades: of its members.

        Raises:
            UsageError: says what is wrong, and what to do.
        """
        if self.on_probability is not None:
            require_probabilities(task)
        if self.on_detected is not None and cascades[0].settings.detection is None:
            raise UsageError("the model detects no lesions", fix="train it with inference.detection in its recipe")

    def labels(
        self,
        mean: Mean,
        prepared: Prepared,
        preparation: Preparation,
        classes: Sequence[str],
        settings: InferenceConfig,
    ) -> tuple[Volume, tuple[str, ...]]:
        """The label map on the patient's own grid, with notes: see :func:`medgen.inference.labels.label_map`."""
        if self.on_uncertainty is not None:
            assert mean.sd is not None
            spreads_on_own_grid(mean.data, mean.sd, prepared, preparation, classes, self.on_uncertainty)
        given = (self.on_probability, self.on_detected)
        return label_map(mean.data, prepared, preparation, classes, settings, *given)

    def images(
        self, mean: Mean, prepared: Prepared, preparation: Preparation, roles: Sequence[str]
    ) -> tuple[Volume, tuple[str, ...]]:
        """The images on the patient's own grid, with notes: see :func:`medgen.inference.images.images_on_own_grid`."""
        deviations: list[Volume] = []
        if self.on_uncertainty is not None:
            assert mean.sd is not None

            def keep(role: str, sd: Volume) -> None:
                assert self.on_uncertainty is not None
                self.on_uncertainty(role, sd)
                if self.scale is not None:
                    deviations.append(sd)

            deviations_on_own_grid(mean.sd, roles, prepared, preparation, keep)
        volume, notes = images_on_own_grid(mean.data, roles, prepared, preparation)
        if self.scale is not None and self.on_bounds is not None:
            for channel, role, sd in zip(volume.data, roles, deviations, strict=True):
                lowest = AIR if unit_of(preparation, role).hounsfield else None
                self.on_bounds(role, *self.scale.bounds(sd.with_data(channel[None]), sd, lowest))
            if not self.scale.calibrated:
                notes = (*notes, UNCALIBRATED)
        return volume, (*clipped_note(mean.clipped, mean.voxels), *notes)

    def samples(
        self,
        task: Task,
        prepared: Prepared,
        preparation: Preparation,
        roles: Sequence[str],
        classes: Sequence[str],
        settings: InferenceConfig,
    ) -> OnSample | None:
        """Gives each draw out on the patient's own grid; None where none is wanted."""
        give = self.on_sample
        if give is None:
            return None
        if task.labels:
            decided = partial(restore_label, settings=settings)
            return lambda number, data: give(number, decided(data, prepared, preparation, classes))
        return lambda number, data: give(number, images_on_own_grid(data, roles, prepared, preparation)[0])


def require_probabilities(task: Task, option: str = "--probabilities") -> None:
    """Refuse an option on the probabilities of classes for a model of images.

    Raises:
        UsageError: says what to do.
    """
    if not task.labels:
        raise UsageError("the model makes an image, not probabilities of classes", fix=f"leave out {option}")
