"""What a prediction gives out beside its result: probabilities, lesions, the standard deviation; and who has which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medgen.errors import UsageError
from medgen.inference.ensemble import Mean, count_estimates
from medgen.inference.images import OnUncertainty, clipped_note, deviations_on_own_grid, images_on_own_grid
from medgen.inference.labels import OnProbability, label_map
from medgen.inference.lesions import Detected, OnDetected
from medgen.inference.stages import Cascade
from medgen.preparation import Preparation, Prepared
from medgen.preparation.task import Task
from medgen.volume import Volume


@dataclass(frozen=True)
class Besides:
    """The functions that are called with what stands beside a result; None where it is not wanted.

    Attributes:
        on_probability: of a segmentation, with each class and its map.
        on_detected: of a model that detects lesions, with them.
        on_uncertainty: of a model of images, with each role and the standard deviation of its image.
    """

    on_probability: OnProbability | None = None
    on_detected: OnDetected | None = None
    on_uncertainty: OnUncertainty | None = None

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
        if self.on_uncertainty is not None:
            require_deviation(task, cascades)

    def labels(
        self, mean: Mean, prepared: Prepared, preparation: Preparation, classes: Sequence[str], cascade: Cascade
    ) -> tuple[Volume, tuple[str, ...]]:
        """The label map on the patient's own grid, with notes: see :func:`medgen.inference.labels.label_map`."""
        given = (self.on_probability, self.on_detected)
        return label_map(mean.data, prepared, preparation, classes, cascade.settings, *given)

    def images(
        self, mean: Mean, prepared: Prepared, preparation: Preparation, roles: Sequence[str]
    ) -> tuple[Volume, tuple[str, ...]]:
        """The images on the patient's own grid, with notes: see :func:`medgen.inference.images.images_on_own_grid`."""
        if self.on_uncertainty is not None:
            assert mean.sd is not None
            deviations_on_own_grid(mean.sd, roles, prepared, preparation, self.on_uncertainty)
        volume, notes = images_on_own_grid(mean.data, roles, prepared, preparation)
        return volume, (*clipped_note(mean.clipped, mean.voxels), *notes)


def require_probabilities(task: Task) -> None:
    """Refuse the probabilities of a model of images.

    Raises:
        UsageError: says what to do.
    """
    if not task.labels:
        raise UsageError("the model makes an image, not probabilities of classes", fix="leave out --probabilities")


def require_deviation(task: Task, cascades: Sequence[Cascade]) -> None:
    """Refuse the standard deviation of a label map, and of a single estimate.

    Raises:
        UsageError: says what to do.
    """
    if task.labels:
        raise UsageError(
            "--uncertainty is the standard deviation of an image, and the model makes a label map",
            fix="use --probabilities: they are averaged over flips and the ensemble, and show where a class is unsure",
        )
    if count_estimates(cascades) < 2:
        raise UsageError(
            "--uncertainty needs two estimates or more, and this model makes one",
            fix="add a further run with --ensemble RUN2, or train with inference.flips: [x] in the recipe",
        )
