"""A generative model beside one that predicts: it warns of patients that are unlike those it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medgen.errors import UsageError
from medgen.inference.novelty import Novelty, load_novelty
from medgen.inference.oddness import score_prepared
from medgen.inference.opened import Opened, open_model
from medgen.inference.options import ReadOptions
from medgen.inference.reading import prepare_patient
from medgen.inference.sources import Image


@dataclass(frozen=True, eq=False)
class Guard:
    """A generative model, and which of its scores are usual.

    Attributes:
        model: on its device.
        novelty: fitted to it.
    """

    model: Opened
    novelty: Novelty

    @property
    def origin(self) -> dict[str, object]:
        """Which guard it was, for the report; what is warned of depends on this alone."""
        known = self.novelty
        fitted = {"cases_sha256": known.cases_sha256, "patches": known.patches, "seed": known.seed}
        return {**self.model.origin, "limit": round(known.limit, 4), **fitted}

    def warnings(
        self, images: Mapping[str, Image], options: ReadOptions, dropped: Mapping[str, float] | None = None
    ) -> tuple[str, ...]:
        """A warning if the patient is odd; the images are prepared as in the training of the guard.

        Args:
            images: by role, those that the predicting model reads.
            options: how they are read.
            dropped: by role, inputs that may be missing; they are 0 for the guard too, which is odd to it if it has not
                seen that in training.
        """
        known = self.model.known.preparation
        roles = known.roles.inputs
        given = {role: images[role] for role in roles if role in images}
        lacking = {role: share for role, share in (dropped or {}).items() if role in roles}
        if roles[0] not in given:
            return (f"there is no image for '{roles[0]}', so the guard cannot tell whether the patient is odd",)
        prepared, _ = prepare_patient(given, options, known, lacking)
        judgement = self.novelty.judge(score_prepared(self.model, "", prepared, self.novelty.places))
        warning = self.novelty.warning(judgement, roles, self.model.run)
        return (warning,) if warning else ()


def load_guard(
    run: str | Path, reads: Sequence[str], *, device: str = "auto", allow_modules: Sequence[str] = ()
) -> Guard:
    """Open a generative model with a novelty score, of images that the predicting model reads too.

    Args:
        run: its run folder, or its ``model`` folder.
        reads: roles of the images of the predicting model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        allow_modules: modules outside medgen that it may name as its method.

    Raises:
        UsageError: it reads other images, or has no novelty score.
        ModelError: it is missing or damaged, or its novelty score was fitted to other weights.
    """
    model = open_model(run, device, allow_modules)
    roles = model.known.preparation.roles.inputs
    if not set(roles) <= set(reads):
        raise UsageError(
            f"the guard reads {', '.join(roles)}, the model reads {', '.join(reads)}",
            where=str(run),
            fix="give a guard that was trained on images that the model reads",
        )
    return Guard(model, load_novelty(model))
