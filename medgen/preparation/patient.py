"""One patient's images onto the grid and into the range that a network works in, and results back again.

Training and prediction go through the same code; what it needs is in :meth:`Preparation.as_dict`, so a model folder
is enough to predict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.cases import columns_of, is_optional
from medgen.checks import (
    MAP_ELSEWHERE,
    TARGET_ELSEWHERE,
    clean_hounsfield,
    require_hounsfield,
    require_plausible_extent,
)
from medgen.config import build
from medgen.errors import InputError, UsageError
from medgen.preparation.alignment import Place, finite, located
from medgen.preparation.fingerprint import Fingerprint, fingerprint, scale_of
from medgen.preparation.intensity import (
    body_mask,
    body_percentiles,
    correct_bias,
    grown,
    unit_to_window,
    window_to_unit,
    zscore,
)
from medgen.preparation.likeness import Calibration, unlike_training
from medgen.preparation.prepared import Prepared
from medgen.preparation.resampling import fitted_grid, resample
from medgen.preparation.residual import residual
from medgen.preparation.settings import CT_WINDOW, ZSCORE, IntensityConfig, PreparationConfig, Roles
from medgen.types import Array
from medgen.volume import (
    AIR,
    Grid,
    Volume,
    class_indices,
    ras_grid,
    read_label,
    read_volume,
    reorient_like,
)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What to do with a patient's images; plain settings, and the look of the training set once there is one.

    Args:
        roles: which images there are.
        config: what is done to them.
        training: by input role, the fingerprint of the training set.
        calibration: how far from it a patient may be; None in models of earlier versions.
        quiet_air: see :func:`~medgen.preparation.intensity.body_mask`; False in models of earlier versions.

    Raises:
        UsageError: an intensity is set for a role that is not used, or the target's has no range.
    """

    roles: Roles
    config: PreparationConfig = field(default_factory=PreparationConfig)
    training: Mapping[str, Fingerprint] = field(default_factory=dict)
    calibration: Calibration | None = None
    quiet_air: bool = True

    def __post_init__(self) -> None:
        known = {name for role in self.roles.all for name in (role, *columns_of(role))}
        for name in self.config.intensity:
            if name not in known:
                near = get_close_matches(name, known, 1) or sorted(known)
                raise UsageError(
                    f"preparation.intensity names '{name}', which data does not use", fix=f"did you mean '{near[0]}'?"
                )
        self._require_residuals()
        target = self.roles.target
        if target is not None and self.intensity(target) == ZSCORE:
            raise UsageError(
                f"the intensity of the target '{target}' is zscore, which has no range to map to [-1, 1]",
                fix="give it {window: [lo, hi]} or {percentiles: [lo, hi]}",
            )

    def _require_residuals(self) -> None:
        for role, others in self.config.residual.items():
            for name in (role, *others):
                if name not in self.roles.inputs:
                    raise UsageError(
                        f"preparation.residual names '{name}', which is no input",
                        fix=f"spell it as in data.inputs: {', '.join(self.roles.inputs)}",
                    )
            if role in others or set(others) & self.config.residual.keys():
                raise UsageError(
                    f"the residual of '{role}' is taken from {', '.join(others)}",
                    fix="name inputs that are kept as they are",
                )

    def intensity(self, role: str) -> IntensityConfig:
        """How the values of a role are mapped."""
        for name in (role, *columns_of(role)):
            if name in self.config.intensity:
                return self.config.intensity[name]
        return CT_WINDOW if role == self.roles.target else ZSCORE

    # Reading and preparing

    def read(self, images: Mapping[str, Path]) -> dict[str, Volume]:
        """Read one file for each role given, with the geometry rule of the recipe; labels and masks as integers."""
        geometry, whole = self.config.geometry, (self.roles.labels, self.roles.mask)
        return {
            role: read_label(path, geometry=geometry) if role in whole else read_volume(path, geometry=geometry)
            for role, path in images.items()
        }

    def prepare_inputs(self, images: Mapping[str, Volume], *, may_lack: Collection[str] = ()) -> Prepared:
        """Prepare the inputs alone, as for prediction; other roles in ``images`` are left out."""
        return self.prepare({role: images[role] for role in self.roles.inputs if role in images}, may_lack=may_lack)

    def prepare(self, images: Mapping[str, Volume], *, may_lack: Collection[str] = ()) -> Prepared:
        """Prepare one patient.

        Args:
            images: by role; every input, and of target, labels and mask what there is. A target without any input is
                one side of an unpaired set: its own grid is the patient's.
            may_lack: inputs other than the first that may be missing here; their channel is 0 throughout.

        Raises:
            InputError: an input is missing, empty or not finite; CT is not in HU; images of the patient do not
                overlap or have no position to compare; the target (unless the settings resample it), the labels or
                the mask lie more than 0.1 voxel off the grid of the first input.
        """
        first = self._reference(images, may_lack)
        inputs = self.roles.inputs if first in self.roles.inputs else ()
        notes = [f"{role}: {note}" for role in self.roles.all if role in images for note in images[role].notes]
        place = self._place(images, first, notes)
        channels = [self._values(role, images[role], place, notes) if role in images else None for role in inputs]
        shown = channels[0] if channels else self._values(first, images[first], place, [])
        assert shown is not None  # the first input is never optional
        body = body_mask(shown[0], place.affine, quiet_air=self.quiet_air)
        if not body.any():
            raise InputError("the image is empty: one value throughout", where=images[first].source)
        image = [
            np.zeros((1, *body.shape), np.float32) if each is None else self._normalise(role, each, body, place.affine)
            for role, each in zip(inputs, channels, strict=True)
        ]
        scales = {role: scale_of(each[0]) for role, each in zip(inputs, channels, strict=True) if each is not None}
        del channels, shown
        channel_of = dict(zip(inputs, image, strict=True))
        for role, others in self.config.residual.items():
            if role in images and role in channel_of:
                channel_of[role][0] = residual(channel_of[role][0], [channel_of[name][0] for name in others], body)
        target = self._target(images, place, body, notes)
        labels = self._labels(images, place)
        mask = self._mask(images, place)
        fingerprints = {
            role: fingerprint(channel_of[role][0], body, place.affine, scale) for role, scale in scales.items()
        }
        stack = np.concatenate(image) if image else np.empty((0, *body.shape), np.float32)
        body = grown(body, place.affine, self.config.body_margin)
        grid = images[first].grid
        return Prepared(stack, body, place.affine, grid, tuple(notes), target, labels, mask, fingerprint=fingerprints)

    def _reference(self, images: Mapping[str, Grid | Volume], may_lack: Collection[str]) -> str:
        """The role whose grid is the patient's: the first input, or a target that stands alone."""
        target = self.roles.target
        if target is not None and target in images and not any(role in images for role in self.roles.inputs):
            return target
        needed = [role for role in self.roles.inputs if role not in may_lack and not is_optional(role)]
        if missing := [role for role in needed if role not in images]:
            raise InputError(
                f"no image for the input {', '.join(missing)}",
                fix=f"give one volume for each of: {', '.join(self.roles.inputs)}",
            )
        return self.roles.inputs[0]

    def require_places(self, grids: Mapping[str, Grid]) -> None:
        """Refuse grids, by role, on which :meth:`prepare` would refuse the images; raises what it raises."""
        self._place(grids, self._reference(grids, ()), [])

    def unlike_training(self, prepared: Prepared) -> tuple[str, ...]:
        """Warnings for inputs that look like another channel, or like nothing the model was trained on (R17)."""
        return unlike_training(prepared.fingerprint, self.training, self.calibration)

    def _place(self, images: Mapping[str, Grid | Volume], reference: str, notes: list[str]) -> Place:
        """Compare the grids of all images before anything is computed."""
        target = None if self.config.resample_target else TARGET_ELSEWHERE
        refused = {self.roles.target: target, self.roles.labels: MAP_ELSEWHERE, self.roles.mask: MAP_ELSEWHERE}
        grids = {role: ras_grid(images[role]) for role in self.roles.all if role in images}
        for grid in grids.values():
            require_plausible_extent(grid)
        first = grids[reference]
        affines = {role: located(role, grid, first, notes, elsewhere=refused.get(role)) for role, grid in grids.items()}
        return Place(*fitted_grid(first.affine, first.shape, self.config.spacing), affines)

    def _values(self, role: str, volume: Volume, place: Place, notes: list[str]) -> Array:
        """(C, X, Y, Z) float32 on the prepared grid, finite, in the image's own unit."""
        volume = finite(role, volume, self.config.nan, notes)
        if self.intensity(role).hounsfield:
            require_hounsfield(volume)
            volume, note = clean_hounsfield(volume)
            notes += [f"{role}: {note}"] if note else []
        elif float(volume.data.min()) == float(volume.data.max()):
            raise InputError(
                f"the image for '{role}' is empty: {float(volume.data.flat[0]):g} throughout",
                where=volume.source,
                fix="export it again, or take the case out",
            )
        return place.bring(role, volume, nearest=False)

    def _normalise(self, role: str, image: Array, body: NDArray[np.bool_], affine: Array) -> Array:
        rule = self.intensity(role)
        if self.config.bias_correction == "n4" and rule.window is None:
            image = np.stack([correct_bias(channel, body, affine) for channel in image])
        if rule.window is not None:
            return window_to_unit(image, *rule.window)
        if rule.percentiles is None:
            return np.stack([zscore(channel, body) for channel in image])
        return np.stack(
            [window_to_unit(channel, *body_percentiles(channel, body, *rule.percentiles)) for channel in image]
        )

    def _target(
        self, images: Mapping[str, Volume], place: Place, body: NDArray[np.bool_], notes: list[str]
    ) -> Array | None:
        role = self.roles.target
        if role is None or role not in images:
            return None
        return self._normalise(role, self._values(role, images[role], place, notes), body, place.affine)

    def _mask(self, images: Mapping[str, Volume], place: Place) -> NDArray[np.bool_] | None:
        values = self._whole_numbers(self.roles.mask, images, place)
        if values is None:
            return None
        if not values.any():
            raise InputError("the mask is empty", where=images[str(self.roles.mask)].source, fix="draw it again")
        return np.asarray(values > 0)

    def _labels(self, images: Mapping[str, Volume], place: Place) -> Array | None:
        """Class indices: the values of the label map, or the numbers of the classes that the recipe groups them in."""
        values = self._whole_numbers(self.roles.labels, images, place)
        return values if values is None or not self.roles.classes else class_indices(values, self.roles.classes)

    def _whole_numbers(self, role: str | None, images: Mapping[str, Volume], place: Place) -> Array | None:
        if role is None or role not in images:
            return None
        return np.ascontiguousarray(place.bring(role, images[role], nearest=True)[0])

    # Results

    def target_to_network(self, values: Array) -> Array:
        """HU (or the unit of the target) to [-1, 1], clipped. A target mapped by percentiles is there already."""
        window = self._target_rule().window
        return np.asarray(values, np.float32) if window is None else window_to_unit(values, *window)

    def target_from_network(self, values: Array) -> Array:
        """[-1, 1] to HU (or the unit of the target): the inverse of :meth:`target_to_network`.

        A target mapped by percentiles has no unit that is known for a new patient; it stays relative.
        """
        window = self._target_rule().window
        return np.asarray(values, np.float32) if window is None else unit_to_window(values, *window)

    def restore(self, array: Array, prepared: Prepared, fill: float = AIR, *, nearest: bool = False) -> Volume:
        """A result on the patient's own grid.

        Args:
            array: (C, X, Y, Z) or (X, Y, Z) on the prepared grid.
            prepared: the patient.
            fill: value of voxels outside the prepared grid.
            nearest: for labels; else linear interpolation.

        Returns:
            A volume with the shape, axis order and (bit for bit) affine of the first input.
        """
        grid = ras_grid(prepared.reference)
        values = resample(array, prepared.affine, grid.affine, grid.shape, fill=fill, nearest=nearest)
        volume = Volume(values if values.ndim == 4 else values[None], grid.affine, source=prepared.reference.source)
        return reorient_like(volume, prepared.reference)

    def _target_rule(self) -> IntensityConfig:
        if self.roles.target is None:
            raise UsageError("the recipe has no target", fix="name it in data.target")
        return self.intensity(self.roles.target)

    # Keeping

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values that :meth:`from_dict` turns back into an equal preparation."""
        return {
            "roles": self.roles.model_dump(mode="json"),
            "config": self.config.model_dump(mode="json"),
            "training": {role: each.model_dump(mode="json") for role, each in self.training.items()},
            "calibration": self.calibration and self.calibration.model_dump(mode="json"),
            "quiet_air": self.quiet_air,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preparation:
        """Rebuild from :meth:`as_dict`.

        Raises:
            UsageError: a value is missing, unknown or wrong.
        """
        training = {role: Fingerprint.saved(each) for role, each in values.get("training", {}).items()}
        calibration = build(Calibration, values["calibration"]) if values.get("calibration") else None
        roles, config = build(Roles, values["roles"]), build(PreparationConfig, values["config"])
        return cls(roles, config, training, calibration, quiet_air=values.get("quiet_air") is True)
