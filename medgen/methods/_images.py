"""What a method that knows images of one kind says of an image of another."""

from __future__ import annotations

from torch import Tensor

from medgen.errors import InputError
from medgen.methods.base import Shape, Window

TOLERANCE = 1e-3
"""Of the range of an image, for what rounding does to it."""


def require_image(image: Tensor, shape: Shape, window: Window) -> None:
    """Refuse an image that the networks of a method cannot read, before any arithmetic.

    Args:
        image: (B, C, *size).
        shape: what the method was built for.
        window: what its networks ask of the size.

    Raises:
        InputError: other channels, other axes, or another size than the networks take.
    """
    sides = tuple(image.shape[2:])
    same = image.shape[1] == shape.inputs and len(sides) == shape.dimensions
    fits = same and all(
        side >= least and not side % window.multiple
        for side, least in zip(sides, window.smallest(shape.dimensions), strict=True)
    )
    if fits and (not window.exact or sides == tuple(shape.size)):
        return
    asked = _words(shape.inputs, shape.size)
    also = "" if window.exact else f", or other sides divisible by {window.multiple}"
    raise InputError(
        f"the image has {_words(image.shape[1], sides)}, but the model was trained on {asked}{also}",
        fix="cut and prepare it as the training patches were (data.inputs and patches.size of the model's recipe)",
    )


def require_code(code: Tensor, shape: tuple[int, ...], *, exact: bool = True) -> None:
    """Refuse the codes of another model.

    Args:
        code: (B, ...).
        shape: of the code of one image, channels first.
        exact: whether a grid of codes must have the size of that of the training patches.

    Raises:
        InputError: the codes have another shape.
    """
    fits = tuple(code.shape[1:]) == tuple(shape)
    if not fits and (exact or code.dim() != len(shape) + 1 or code.shape[1] != shape[0]):
        given, asked = (" x ".join(map(str, each)) for each in (code.shape[1:], shape))
        raise InputError(
            f"a code has {given} numbers, but those of this model have {asked}",
            fix="take codes that this model made (medgen latent encode)",
        )


def as_grey(image: Tensor) -> Tensor:
    """Images in [-1, 1], as a window or percentiles give them, mapped to [0, 1] for a Bernoulli likelihood.

    Raises:
        InputError: they have another range.
    """
    low, high = image.min().item(), image.max().item()
    if low < -1 - TOLERANCE or high > 1 + TOLERANCE:
        raise InputError(
            f"the Bernoulli likelihood needs images in [-1, 1], and these reach from {low:.3g} to {high:.3g}",
            fix="map every input by {window: [lo, hi]} or {percentiles: [lo, hi]} (preparation.intensity), without "
            "augmentation that leaves that range; or take 'likelihood: gaussian'",
        )
    return ((image.float() + 1) / 2).clamp(0, 1)


def _words(channels: int, sides: tuple[int, ...]) -> str:
    return f"{channels} channel{'s' if channels != 1 else ''} of {' x '.join(map(str, sides))} voxels"
