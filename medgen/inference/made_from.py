"""What a result was made from, so that a resumed cohort keeps what would come out the same, and predicts the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from medgen.cases import Case
from medgen.files import image_digest, plain
from medgen.inference.model import LoadedModel
from medgen.inference.options import PredictOptions


@dataclass(frozen=True)
class MadeFrom:
    """Everything that decides the voxels of a result.

    Attributes:
        settings: SHA-256 over ``model.json`` of every member, in which the hashes of the weights stand, and over the
            options of reading, the direction, the seed, draws, the threshold, intervals and the gate, and the guard.
        images: by role, SHA-256 of the image that was read. Contents are compared and no times: a copy has new times,
            and an edit can keep the old ones. It costs reading each image once more, some milliseconds a patient.
    """

    settings: str = ""
    images: Mapping[str, str] = field(default_factory=dict)

    def change_since(self, before: MadeFrom) -> str:
        """What differs from an earlier result, in words; empty where nothing does."""
        if not before.settings:
            return "no record of what the result there was made from"
        if self.settings != before.settings:
            return "other settings"
        roles = sorted({*self.images, *before.images})
        changed = [role for role in roles if self.images.get(role) != before.images.get(role)]
        return f"another image of {', '.join(changed)}" if changed else ""


def made_from(model: LoadedModel, case: Case, options: PredictOptions) -> MadeFrom:
    """What a result of ``case`` is made from.

    Raises:
        InputError: an image is missing or cannot be read.
        PathError: an image may not be read.
    """
    paths = {role: case.path(role) for role in model.route(options.direction).reads}
    images = {role: image_digest(path) for role, path in paths.items() if path is not None}
    return MadeFrom(_settings(model, options), images)


def _settings(model: LoadedModel, options: PredictOptions) -> str:
    """Maps beside the result, such as probabilities, are files of their own and change nothing of it."""
    content: list[Any] = [member.description for member in model.members]
    content += [asdict(options.read), options.direction, options.seed]
    content += [model.guard.origin] if model.guard else []  # a result that it has not seen lacks its warning
    if options.samples is not None:  # nothing is added without draws: results of earlier versions stay valid
        content += [options.samples, options.dropout]
    if (decided := options.decided(model.cascade.settings)) != model.cascade.settings:
        content.append(["threshold", decided.threshold])
    if options.anonymize:  # objects that name the patient must not be kept
        content.append("anonymize")
    if scale := model.scale(options):
        content.append(asdict(scale))
    if calibration := model.calibration(options):
        content.append(asdict(calibration.gate))  # whose verdict and warning stand in the report
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True).encode()).hexdigest()
