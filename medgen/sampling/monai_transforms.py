"""Random dictionary transforms of MONAI as augmentation, each with the random state of the patch that it changes.

MONAI's transforms keep a random state of their own, which depends on what they have changed before. Here each gets
that of the patch before it is applied, so patch n stays a pure function of (seed, n).
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import JsonValue

from medgen.errors import FOREIGN_FAULTS, UsageError, did_you_mean
from medgen.types import Array

INTENSITY = (
    "RandAdjustContrastd",
    "RandBiasFieldd",
    "RandCoarseDropoutd",
    "RandCoarseShuffled",
    "RandGaussianNoised",
    "RandGaussianSharpend",
    "RandGaussianSmoothd",
    "RandGibbsNoised",
    "RandHistogramShiftd",
    "RandKSpaceSpikeNoised",
    "RandRicianNoised",
    "RandScaleIntensityFixedMeand",
    "RandScaleIntensityd",
    "RandShiftIntensityd",
    "RandSimulateLowResolutiond",
    "RandStdShiftIntensityd",
)
"""Transforms of the input channels alone."""
SPATIAL = (
    "Rand2DElasticd",
    "Rand3DElasticd",
    "RandAffined",
    "RandAxisFlipd",
    "RandFlipd",
    "RandGridDistortiond",
    "RandRotate90d",
    "RandRotated",
    "RandZoomd",
)
"""Transforms of everything in a patch; they keep its size."""
KEYS = {"image": "source", "target": "target", "label": "label"}
"""What ``keys`` can name, and how a patch calls it."""
WHOLE = frozenset({"mask", "body", "label"})
"""Arrays of a patch that hold whole numbers."""
_OURS = frozenset({"allow_missing_keys", "device", "dtype", "factor_key", "lazy", "meta_key_postfix", "meta_keys"})
"""Arguments that medgen sets."""
_SIZES = frozenset({"keep_size", "spatial_size"})
"""Arguments of spatial transforms that would change the size of a patch."""
_SHIFTING = {
    "RandSimulateLowResolutiond": {"downsample_mode": "area", "upsample_mode": "trilinear or bilinear"},
    "RandZoomd": {"mode": "nearest-exact"},
}
"""Modes of resizing for which ``nearest`` moves an image by half a voxel, and what does not (torch's ``interpolate``
takes voxel ``floor(i / zoom)``, without the half voxel to its centre)."""
_EDGE = "give the patches the same edge along these axes"
_DIMENSIONS = {"Rand2DElasticd": 2, "Rand3DElasticd": 3}

Chosen = Sequence[Mapping[str, Mapping[str, JsonValue]]]
"""As in a recipe: a list of ``{NAME: ARGUMENTS}``."""


def checked(entry: dict[str, dict[str, JsonValue]]) -> dict[str, dict[str, JsonValue]]:
    """One entry of a recipe, if its name, its ``keys`` and its other arguments may stand there; imports no MONAI.

    Raises:
        UsageError: they may not.
    """
    if len(entry) != 1:
        raise UsageError(f"{_listed(entry)} of MONAI in one entry", fix="write a list: - RandFlipd: {prob: 0.5}")
    ((name, arguments),) = entry.items()
    if name not in INTENSITY + SPATIAL:
        fix = did_you_mean(name, INTENSITY + SPATIAL, f"choose from {', '.join(INTENSITY + SPATIAL)}")
        raise UsageError(f"'{name[:100]}' is no random transform of MONAI that keeps the size of a patch", fix=fix)
    keys = _keys(arguments)
    for key in keys or ():
        if not isinstance(key, str) or key not in KEYS:
            what = f"{name} in patches.augmentation.monai names the key {str(key)[:100]!r} in 'keys'"
            raise UsageError(what, fix=f"choose from {', '.join(KEYS)}, one or a list: keys: [image, target]")
    if name in INTENSITY and keys is not None and keys != ("image",):
        raise UsageError(
            f"{name} changes intensities, and those of a target or a label mean something", fix="keys: image"
        )
    for key in arguments:
        if key in _OURS or (name in SPATIAL and key in _SIZES):
            raise UsageError(f"'{key}' of {name} is not for a recipe: medgen sets it", fix="take it out")
    chance = arguments.get("prob", 0)
    if not isinstance(chance, int | float) or not 0 <= chance <= 1:  # MONAI clips it
        raise UsageError(f"prob of {name} is {chance!r}", fix="give a probability from 0 to 1")
    _require_modes(name, arguments)
    return entry


def require_transforms(chosen: Chosen, box: Sequence[int], across: int | None, arrays: Collection[str]) -> None:
    """Try each transform on a patch of noise, so that a fault shows before any case is prepared.

    Args:
        chosen: of the recipe.
        box: voxels of a patch along x, y and z.
        across: see :class:`MonaiTransforms`.
        arrays: what the method learns from: ``image``, ``target``, ``label``.

    Raises:
        UsageError: an argument that MONAI does not take, keys that leave out or name too much, or another size.
    """
    there = [key for key in KEYS if key in arrays]
    for entry in chosen:
        ((name, arguments),) = entry.items()
        keys = _keys(arguments)
        if name in SPATIAL and keys is not None and set(keys) != set(there):
            raise UsageError(
                f"{name} moves everything in a patch, which has {', '.join(there)}; its keys are {', '.join(keys)}",
                fix=f"keys: [{', '.join(there)}], or no keys",
            )
        dimensions = 3 if across is None else 2
        if _DIMENSIONS.get(name, dimensions) != dimensions:
            raise UsageError(f"{name} is not for patches of {dimensions} dimensions", fix="choose another transform")
        crop = {KEYS[key]: np.random.default_rng(0).random((1, *box)).astype(np.float32) for key in there}
        try:
            _built(name, arguments, tuple(crop), dimensions)
            MonaiTransforms([{name: {**arguments, "prob": 1.0}}], across)(crop, np.random.default_rng(0))
        except MemoryError as error:  # of one patch of noise: the arguments ask for it, and no patch is too large
            raise _refused(name, error) from error
        plane: Any = arguments.get("spatial_axes", (0, 1))
        edges = [edge for axis, edge in enumerate(box) if axis != across]
        if (
            name == "RandRotate90d" and len({edges[axis] for axis in plane}) > 1
        ):  # the trial may have been by 180 degrees
            raise UsageError(f"RandRotate90d turns patches with edges of {edges} voxels to another size", fix=_EDGE)


def _require_modes(name: str, arguments: Mapping[str, JsonValue]) -> None:
    """Refuse what would move an image against its label and its target."""
    if isinstance(arguments.get("mode"), list):
        raise UsageError(
            f"{name} has several modes", fix="give that of the images: labels and masks are always nearest"
        )
    for key, instead in _SHIFTING.get(name, {}).items():
        mode = str(arguments.get(key))
        # To half the size nearest-exact moves too: of two voxels that are equally near it takes the upper one.
        if mode == "nearest" or (mode == "nearest-exact" and name not in SPATIAL):
            raise UsageError(
                f"{key} of {name} is {mode}, which moves the image by up to a voxel", fix=f"{key}: {instead}"
            )
    if name in _SHIFTING and arguments.get("align_corners"):
        raise UsageError(
            f"align_corners of {name} scales the image by another factor than what lies beside it", fix="take it out"
        )


class MonaiTransforms:
    """Applies the transforms of a recipe, one after the other.

    Args:
        chosen: of the recipe.
        across: axis along which a patch has one voxel that is taken away before, since it is a slice; None for boxes.
    """

    def __init__(self, chosen: Chosen, across: int | None) -> None:
        self.chosen, self.across = [next(iter(entry.items())) for entry in chosen], across
        self._built: dict[tuple[int, tuple[str, ...]], Any] = {}

    def __call__(self, crop: Mapping[str, Array], generator: np.random.Generator) -> dict[str, Array]:
        """The changed arrays (C, X, Y, Z) of one patch.

        Args:
            crop: as in :mod:`medgen.sampling.augmentation`; the mask and all others move with the image.
            generator: the only source of chance.

        Raises:
            UsageError: MONAI does not take the arguments, or the patch has another size afterwards.
        """
        axis = None if self.across is None else 1 + self.across
        flat = {name: array if axis is None else array.take(0, axis) for name, array in crop.items()}
        for number, (name, _) in enumerate(self.chosen):
            keys = tuple(flat) if name in SPATIAL else tuple({"source"} & flat.keys())
            if not keys:
                continue
            transform = self._transform(number, keys)
            try:
                transform.set_random_state(state=legacy(generator))
                found = transform({key: np.ascontiguousarray(flat[key]) for key in keys})
                changed = {key: np.asarray(found[key]).astype(flat[key].dtype, copy=False) for key in keys}
            except FOREIGN_FAULTS as error:
                raise _refused(name, error) from error
            for key, array in changed.items():
                if array.shape != flat[key].shape:
                    size = f"from {list(flat[key].shape[1:])} to {list(array.shape[1:])}"
                    raise UsageError(f"{name} changes the size of a patch {size}", fix=_EDGE)
            flat |= changed
        return {name: array if axis is None else np.expand_dims(array, axis) for name, array in flat.items()}

    def _transform(self, number: int, keys: tuple[str, ...]) -> Any:
        if (number, keys) not in self._built:
            self._built[number, keys] = _built(*self.chosen[number], keys, 3 if self.across is None else 2)
        return self._built[number, keys]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_built": {}}


def legacy(generator: np.random.Generator) -> np.random.RandomState:
    """What MONAI draws from, on the same stream; seeding a state of its own would take longer than most changes."""
    return np.random.RandomState(generator.bit_generator)


def _built(name: str, arguments: Mapping[str, JsonValue], keys: tuple[str, ...], dimensions: int) -> Any:
    from monai import transforms  # seconds, and few recipes need it

    kind = getattr(transforms, name)
    known = inspect.signature(kind).parameters
    for key in arguments:
        if key not in known or known[key].kind is inspect.Parameter.VAR_KEYWORD:
            mine = [each for each in known if each not in _OURS]
            fix = did_you_mean(key, mine, f"the arguments are: {', '.join(mine)}")
            raise UsageError(f"MONAI's {name} has no argument '{key[:100]}'", fix=fix)
    values: dict[str, Any] = {key: each for key, each in arguments.items() if key != "keys"}
    whole = [key in WHOLE for key in keys]
    if any(whole) and "mode" in known:
        images = values.get("mode", known["mode"].default)
        nearest = "nearest-exact" if name in _SHIFTING else "nearest"  # others sample at points: there it is exact
        values["mode"] = [nearest if each else images for each in whole]
        if values.get("align_corners") is not None and name in _SHIFTING:  # torch refuses it beside nearest
            values["align_corners"] = [None if each else values["align_corners"] for each in whole]
    if name == "RandSimulateLowResolutiond":  # MONAI's own default for the way down is nearest
        upwards = "bilinear" if dimensions == 2 else "trilinear"
        values = {"downsample_mode": "area", "upsample_mode": upwards, **values}
    try:
        return kind(keys=keys, **values)
    except FOREIGN_FAULTS as error:
        raise _refused(name, error) from error


def _keys(arguments: Mapping[str, JsonValue]) -> tuple[Any, ...] | None:
    """The keys that an entry names; None: it leaves them out."""
    keys = arguments.get("keys")
    return None if keys is None else tuple(keys) if isinstance(keys, list) else (keys,)


def _refused(name: str, error: Exception) -> UsageError:
    said = " ".join(str(error).split())[:200] or "out of memory"
    return UsageError(f"MONAI's {name} in patches.augmentation.monai fails: {said}", fix="change its arguments")


def _listed(names: Collection[str]) -> str:
    return f"{len(names)} transforms" + (f" ({', '.join(names)})"[:100] if names else "")
