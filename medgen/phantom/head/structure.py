"""One entry of the tables that describe the head."""

from __future__ import annotations

from dataclasses import dataclass

from medgen.phantom.shapes import Shape


@dataclass(frozen=True)
class Structure:
    """One entry of the anatomy.

    Attributes:
        name: what it is.
        shapes: their union; the right side where ``paired``.
        fill: tissue inside, or "bone" (marrow inside a cortical rim) or "cells" (air cells in bone).
        paired: repeated, with its own variation, on the left.
        rim: thickness in mm of another tissue just inside the surface.
        rim_tissue: that tissue.
        blend: radius in mm that rounds the junctions between the shapes.
        rough: amplitude in mm of irregularities of the surface.
        vary: standard deviation of the relative size.
        shift: standard deviation of the position in mm.
        amount: part of the place that is taken (the rest shows what lies below).
        absent: chance that a subject does not have it on one side.
        like: name of an earlier structure whose drawn shapes are used, grown by ``grow`` mm.
        grow: mm.
        clear_brain: mm that it stays away from the inside of the skull.
        clear_skin: mm that it stays below the skin.
        within_skull: may stand in the fluid between skull and brain.
    """

    name: str
    shapes: tuple[Shape, ...] = ()
    fill: str = "bone"
    paired: bool = False
    rim: float = 0.0
    rim_tissue: str = "cortical"
    blend: float = 3.0
    rough: float = 0.5
    vary: float = 0.05
    shift: float = 0.8
    amount: float = 1.0
    absent: float = 0.0
    like: str = ""
    grow: float = 0.0
    clear_brain: float = 1.5
    clear_skin: float = 0.0
    within_skull: bool = False
