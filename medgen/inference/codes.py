"""Codes of samples: drawn, truncated, and the way from one to another."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_TRUNCATION = 0.02
"""Standard deviations; below it 1 of 63 numbers or fewer would be kept in each round."""
_PARALLEL = 1e-6
"""Sine of an angle below which two directions have no plane of their own."""


def draw_code(
    shape: tuple[int, ...], generator: torch.Generator, *, temperature: float = 1.0, truncation: float | None = None
) -> Tensor:
    """One code (1, *shape): standard normal, then truncated, then times the temperature.

    Args:
        shape: of the code of one image.
        generator: the only source of chance; its device is that of the code.
        temperature: factor on the truncated code, above 0.
        truncation: components beyond so many standard deviations are drawn again until none is (Brock et al. 2019,
            arXiv:1809.11096, section 3.1), at least :data:`LEAST_TRUNCATION`. None leaves all as drawn first, and so
            does a truncation that no component is beyond.
    """
    code = torch.randn(1, *shape, generator=generator, device=generator.device)
    if truncation is not None:
        while int((beyond := code.abs() > truncation).sum()):
            code[beyond] = torch.randn(int(beyond.sum()), generator=generator, device=generator.device)
    return temperature * code


def slerp(first: Tensor, last: Tensor, share: float) -> Tensor:
    """The code at ``share`` of the way from ``first`` to ``last``, on the arc between them.

    Long normal codes all have nearly the same norm; the middle of a straight line would have a smaller one, as no
    training code has (White 2016, arXiv:1609.04468). The direction turns evenly in the plane of both codes, and the
    norm changes evenly, so neither falls below that of both ends. Codes that point opposite ways have no such plane:
    the arc then goes through the axis to which ``first`` is most nearly at a right angle. Parallel codes, codes of one
    number and a code of zeros are joined by a straight line.

    Args:
        first: any shape.
        last: the same shape.
        share: 0 gives ``first`` and 1 gives ``last``, bit for bit.
    """
    if share in (0, 1):
        return last if share else first
    start, end = first.double().flatten(), last.double().flatten()
    norms = start.norm(), end.norm()
    straight = torch.lerp(start, end, share)
    if min(norms) > 0 and len(start) > 1:
        direction, other = start / norms[0], end / norms[1]
        across = other - (direction @ other) * direction
        angle = torch.atan2(across.norm(), direction @ other)
        if across.norm() > _PARALLEL or direction @ other < 0:
            side = across if across.norm() > _PARALLEL else _any_side(direction)
            turned = torch.cos(share * angle) * direction + torch.sin(share * angle) * side / side.norm()
            straight = torch.lerp(norms[0], norms[1], share) * turned
    return straight.reshape(first.shape).to(first.dtype)


def _any_side(direction: Tensor) -> Tensor:
    """A vector at a right angle to a unit vector: of the axis that it has least of, the part across."""
    axis = torch.zeros_like(direction)
    axis[direction.abs().argmin()] = 1
    return axis - (direction @ axis) * direction
