"""Channels that a model can do without, because it was trained with patches that lacked them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from medgen.cases import columns_of, is_optional
from medgen.errors import ModelError
from medgen.volume import Volume

KEY = "channel_dropout"


def dropped_in_training(description: Mapping[str, Any], roles: Sequence[str]) -> dict[str, float]:
    """By role, the share of training patches in which its channel was set to 0.

    Args:
        description: the content of ``model.json``; the key ``channel_dropout`` is searched in the method's config and
            in the recipe's ``patches.augmentation``.
        roles: the inputs of the model, in the order of its channels.

    Returns:
        Roles that can be left out. Never the first, on whose grid a prediction is made, nor one that the residual of
        another is taken from: that residual was made before the channel was dropped. None of a model with a voxel-wise
        context, for the same reason.

    Raises:
        ModelError: a share is none.
    """
    if description.get("context"):
        return {}
    recipe = description.get("recipe") or {}
    patches = recipe.get("patches") or {}
    shares: dict[str, float] = {}
    for table in (*_tables(description.get("config")), *_tables(patches.get("augmentation"))):
        for name, share in table.items():
            role = _role(name, roles)
            if role is None:
                continue
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                raise ModelError(f"model.json has {KEY} {share!r} of '{role}'", fix="copy the model folder again")
            if share > 0:
                shares[role] = max(shares.get(role, 0.0), float(share))
    residual = description["preparation"]["config"].get("residual") or {}
    needed = {roles[0], *(name for others in residual.values() for name in others)}
    return {role: share for role, share in shares.items() if role not in needed}


def advice(missing: Collection[str], shares: Mapping[str, float], *, allowed: bool, give: str = "it") -> str:
    """The way out for a patient without some of the images.

    Args:
        missing: roles without an image.
        shares: see :func:`dropped_in_training`.
        allowed: whether missing channels were allowed.
        give: how the images are given.
    """
    hard = [role for role in missing if role not in shares]
    if hard and allowed:
        return f"give {give}: the model was not trained with channel dropout of {', '.join(hard)}"
    if not hard:
        return f"give {give}, or --allow-missing-channel: the model was trained to do without"
    spared = [role for role in missing if role in shares]
    return f"give {give}" + (f"; --allow-missing-channel does without {', '.join(spared)} alone" if spared else "")


def is_constant(volume: Volume) -> bool:
    """Whether an image holds one value throughout, as an export of a missing series does."""
    return bool(np.all(volume.data == volume.data.flat[0]))


def required(roles: Sequence[str], may_lack: Collection[str]) -> list[str]:
    """The inputs that a patient must have."""
    return [role for role in roles if not is_optional(role) and role not in may_lack]


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every table called ``channel_dropout``, however deep it stands."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if key == KEY and isinstance(inner, Mapping):
            yield inner
        else:
            yield from _tables(inner)


def _role(name: str, roles: Sequence[str]) -> str | None:
    """A channel by its number or by its role."""
    if name.isdecimal():
        return roles[int(name)] if int(name) < len(roles) else None
    return next((role for role in roles if name in (role, *columns_of(role))), None)
