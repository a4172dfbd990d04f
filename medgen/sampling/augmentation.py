"""Random changes to a patch, made by MONAI's transforms and ruled by one random state per patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, JsonValue, NonNegativeFloat, NonNegativeInt

from medgen.config import Config
from medgen.sampling.monai_transforms import INTENSITY, SPATIAL, WHOLE, MonaiTransforms, checked, legacy
from medgen.types import Array

Share = Annotated[float, Field(ge=0, lt=1)]
AXES = {"x": 0, "y": 1, "z": 2}
_ONE_NAMED = {"propertyNames": {"enum": [*INTENSITY, *SPATIAL]}, "minProperties": 1, "maxProperties": 1}


class AugmentationConfig(Config):
    """How patches are varied; everything is off by default.

    ``flip``, ``rotation`` and ``zoom`` move source, context, target and mask together. The others change the input
    channels alone: neither the context (an estimate of CT, whose values mean something) nor the target.
    """

    flip: tuple[Literal["x", "y", "z"], ...] = ()
    """Axes (right-left, posterior-anterior, inferior-superior), each flipped for half of the patches."""
    rotation: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = (0.0, 0.0, 0.0)
    """Largest angle about each axis, in degrees. About an axis across thick slices it shears the anatomy."""
    zoom: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest relative change of size, e.g. 0.1."""
    noise: NonNegativeFloat = 0.0
    """Largest standard deviation of Gaussian noise, in normalised units."""
    scale: Share = 0.0
    """Largest relative change of the distance from air: 0.1 multiplies it by 0.9 to 1.1."""
    shift: NonNegativeFloat = 0.0
    """Largest offset, in normalised units."""
    contrast: Share = 0.0
    """Largest relative change of the exponent that bends the intensities between the patch's extremes."""
    bias: NonNegativeFloat = 0.0
    """Largest coefficient of a smooth cubic coil profile, on the distance from air. Both signs: MONAI's default
    draws positive ones only, so that every image is lit from the same corner."""
    channel_shift: NonNegativeFloat = 0.0
    """Standard deviation of an offset that every patch gets, in normalised units, normally distributed and drawn for
    each channel by itself; DeepMedic is published with 0.05: ``(I + N(0, 0.05)) * N(1, 0.01)``."""
    channel_scale: NonNegativeFloat = 0.0
    """Standard deviation of a factor around 1 that every patch gets after that offset, likewise for each channel; 0.01
    is published."""
    channel_dropout: dict[NonNegativeInt, Annotated[float, Field(ge=0, lt=1)]] = {}
    """Chance, by number of the input, that a patch has 0, the mean, in its place: so trained, a model can predict a
    patient who lacks that image (``medgen predict --allow-missing-channel``)."""
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of each change for each patch, other than flipping, ``channel_shift``, ``channel_scale`` and
    ``channel_dropout``. One draw of those it rules is for all channels."""
    monai: tuple[
        Annotated[dict[str, dict[str, JsonValue]], Field(json_schema_extra=_ONE_NAMED), AfterValidator(checked)], ...
    ] = ()
    """Random dictionary transforms of MONAI after all others, in this order:
    ``[{RandGaussianSmoothd: {keys: image, prob: 0.3}}]``. Those of intensity change the input channels alone; spatial
    ones move all arrays of a patch, labels and masks by the nearest voxel, so ``keys`` (image, target, label) may be
    left out. They see the patch alone: ``rotation`` and ``zoom`` above look beyond its edge."""

    @property
    def spatial(self) -> bool:
        """Whether patches are turned or zoomed."""
        return self.zoom > 0 or any(self.rotation)

    @property
    def of_intensity(self) -> bool:
        """Whether the values of the input channels are changed."""
        return bool(self.by_chance or self.channel_shift or self.channel_scale or self.channel_dropout)

    def named_channels(self) -> dict[str, tuple[int, ...]]:
        """Settings that name channels."""
        return {"channel_dropout": tuple(self.channel_dropout)}

    @property
    def by_chance(self) -> bool:
        """Whether some patches get changes of their values that others do not."""
        return bool(self.noise or self.scale or self.shift or self.contrast or self.bias)


Crop = dict[str, Array]
"""Arrays (C, X, Y, Z) cut at one place: ``source``, ``mask``, and perhaps ``context``, ``target``, ``label``."""


def enlarged(size: tuple[int, int, int], config: AugmentationConfig) -> tuple[int, int, int]:
    """The size to cut so that no turned or zoomed patch of ``size`` looks beyond its edge."""
    if not config.spatial:
        return size
    angle = np.radians(np.minimum(max(config.rotation), 90.0))
    tilt = np.sin(angle) * (1 + np.sin(angle))  # bounds every off-diagonal entry of a product of three rotations
    grown = [(1 + config.zoom) * (each + min(1.0, tilt) * (sum(size) - each)) for each in size]
    return tuple(int(each + 2 * np.ceil((more - each) / 2) + 2) for each, more in zip(size, grown, strict=True))  # type: ignore[return-value]


class Augmentation:
    """Applies the changes of a config.

    Args:
        config: what may be changed, and by how much.
        size: of the patches that come out.
        across: axis across which patches are slices; None for boxes.
    """

    def __init__(self, config: AugmentationConfig, size: tuple[int, int, int], across: int | None = None) -> None:
        self.config, self.size = config, size
        self._monai = MonaiTransforms(config.monai, across)
        self._transforms: dict[str, Any] | None = None

    def __call__(self, crop: Crop, air: Array, generator: np.random.Generator) -> Crop:
        """Vary one patch.

        Args:
            crop: of the size :func:`enlarged` gives.
            air: (C, 1, 1, 1), the value of air in each input channel.
            generator: the only source of chance.

        Returns:
            Arrays of ``size``.
        """
        config = self.config
        if config.spatial:
            crop = self._turn(crop, generator)
        flipped = tuple(1 + AXES[axis] for axis in config.flip if generator.random() < 0.5)
        if flipped:  # NumPy's flip is a view: MONAI's takes 0.25 ms for each array
            crop = {name: np.flip(array, flipped) for name, array in crop.items()}
        if config.of_intensity and "source" in crop:
            crop["source"] = self._light(np.ascontiguousarray(crop["source"]), air, generator)
        return self._monai(crop, generator) if self.config.monai else crop

    def _turn(self, crop: Crop, generator: np.random.Generator) -> Crop:
        """One affine map for all arrays: linear for images, nearest for mask and labels."""
        if generator.random() >= self.config.probability:
            return {name: _middle(array, self.size) for name, array in crop.items()}
        grids, resampler = self._ready()["grids"], self._ready()["resampler"]
        grids.set_random_state(state=legacy(generator))
        grid = grids(spatial_size=self.size)
        crop = _seen_by(_numpy(grid), crop)
        turned = {}
        for mode, names in (("bilinear", crop.keys() - WHOLE), ("nearest", crop.keys() & WHOLE)):
            together = [name for name in crop if name in names]  # one call for all channels: the grid is half the cost
            stack = np.concatenate([crop[name] for name in together], dtype=np.float32)
            moved = _numpy(resampler(stack, grid=grid, mode=mode, padding_mode="border"))
            ends = np.cumsum([len(crop[name]) for name in together])
            for name, part in zip(together, np.split(moved, ends[:-1]), strict=True):
                turned[name] = part.astype(crop[name].dtype, copy=False)
        return turned

    def _light(self, image: Array, air: Array, generator: np.random.Generator) -> Array:
        config = self.config
        if config.by_chance:
            image = self._varied(image, air, generator)
        if config.channel_shift or config.channel_scale:
            each = (len(image), 1, 1, 1)
            offset, factor = (generator.normal(0, sd, each) for sd in (config.channel_shift, config.channel_scale))
            image = ((image + offset) * (1 + factor)).astype(np.float32)
        dropped = [number for number, chance in config.channel_dropout.items() if generator.random() < chance]
        if dropped:
            image = image.copy()  # it may be a view of the store
            image[dropped] = 0
        return image

    def _varied(self, image: Array, air: Array, generator: np.random.Generator) -> Array:
        """Physical light first (it multiplies what is above air), then the receiver's offset and noise."""
        transforms, config = self._ready(), self.config
        image = image - air
        for name in ("bias", "scale", "contrast"):
            if getattr(config, name):
                image = _applied(transforms[name], image, generator)
        image += air
        for name in ("shift", "noise"):
            if getattr(config, name):
                image = _applied(transforms[name], image, generator)
        return image

    def _ready(self) -> dict[str, Any]:
        if self._transforms is None:
            self._transforms = _build(self.config, self.size)
        return self._transforms

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_transforms": None}


def _middle(array: Array, size: Sequence[int]) -> Array:
    first = [(large - small) // 2 for large, small in zip(array.shape[1:], size, strict=True)]
    box = tuple(slice(low, low + length) for low, length in zip(first, size, strict=True))
    return array[(slice(None), *box)]


def _seen_by(grid: Array, crop: Crop) -> Crop:
    """The middle of each array as far as a grid of places, in voxels from the centre, reaches and a voxel more.

    The crop is as large as the widest turn needs, and most turns look at a quarter of it.
    """
    reach = np.abs(grid[:3]).max(axis=(1, 2, 3))
    large = next(iter(crop.values())).shape[1:]
    spare = [max(0, int((side - 3) / 2 - far)) for side, far in zip(large, reach, strict=True)]
    size = [side - 2 * each for side, each in zip(large, spare, strict=True)]  # the centre stays where it is
    return {name: _middle(array, size) for name, array in crop.items()}


def _build(config: AugmentationConfig, size: tuple[int, int, int]) -> dict[str, Any]:
    # MONAI takes seconds to import, and many recipes do not need it.
    from monai.transforms.intensity import array as intensity
    from monai.transforms.spatial.array import RandAffineGrid, Resample

    chance = config.probability
    return {
        "grids": RandAffineGrid(
            rotate_range=tuple(np.radians(angle) for angle in config.rotation), scale_range=(config.zoom,) * 3
        ),
        "resampler": Resample(dtype=np.float32),  # the default computes in double precision
        "bias": intensity.RandBiasField(coeff_range=(-config.bias, config.bias), prob=chance),
        "scale": intensity.RandScaleIntensity(factors=config.scale, prob=chance),
        "contrast": intensity.RandAdjustContrast(gamma=(1 - config.contrast, 1 + config.contrast + 1e-6), prob=chance),
        "shift": intensity.RandShiftIntensity(offsets=config.shift, prob=chance),
        "noise": intensity.RandGaussianNoise(std=config.noise, prob=chance, sample_std=True),
    }


def _applied(transform: Any, image: Array, generator: np.random.Generator) -> Array:
    transform.set_random_state(state=legacy(generator))
    return _numpy(transform(image))


def _numpy(image: Any) -> Array:
    return np.asarray(image, np.float32)
