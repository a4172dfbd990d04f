"""Features of images by a network of a run folder: a segmenter, an encoder, or the discriminator of a GAN."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medgen.errors import InputError, ModelError, UsageError
from medgen.inference.opened import Opened, open_model
from medgen.methods.base import HasFeatures, Method
from medgen.networks.encoder import pooled
from medgen.preparation import Preparation
from medgen.training.checkpoint import load_weights
from medgen.training.model_folder import exported_state
from medgen.types import Array

_BATCH = 32
"""Images that go through the network together; in evaluation none depends on the others."""
_SPACING = 0.01
"""Relative difference of two voxel sizes that is taken for none."""


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network, and the layer of it that features are taken from; a map becomes its mean over space.

    Attributes:
        model: the run that it is from.
        method: the same as that of the model.
        layer: number of the layer, from 1.
        channels: of each layer, in their order.
        weights_sha256: of the file that the weights are from.
    """

    model: Opened
    method: HasFeatures
    layer: int
    channels: tuple[int, ...]
    weights_sha256: str

    @property
    def origin(self) -> dict[str, Any]:
        """What the features are, for the JSON file beside a result."""
        return {
            **self.model.origin,
            "weights_sha256": self.weights_sha256,
            "layer": self.layer,
            "layers": len(self.channels),
            "features": self.channels[self.layer - 1],
            "pooling": "mean over space",
        }

    def __call__(self, images: Array) -> Array:
        """Features ``(N, D)`` float64 of images ``(N, C, *size)`` in normalised units.

        Raises:
            InputError: images that the network cannot take.
            ModelError: a feature is not finite.
        """
        return self.layers(images)[self.layer - 1]

    def layers(self, images: Array) -> tuple[Array, ...]:
        """Features ``(N, channels)`` of all layers; raises as :meth:`__call__` does."""
        parts = [self._maps(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        found = tuple(np.concatenate(layer) for layer in zip(*parts, strict=True))
        for number, table in enumerate(found, 1):
            if not np.isfinite(table).all():
                raise ModelError(
                    f"features of layer {number} are NaN or infinite",
                    where=self.model.where,
                    fix="train the network again, or look at the images ('medgen check')",
                )
        return found

    def unlike(self, preparation: Preparation) -> tuple[str, ...]:
        """Settings of the preparation of images, other than their voxels, that the network was not trained with."""
        own, other = (each.config.model_dump(mode="json") for each in (self.model.known.preparation, preparation))
        return tuple(key for key in own if key != "spacing" and own[key] != other[key])

    def _maps(self, images: Array) -> list[Array]:
        given = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(self.model.device)
        with torch.inference_mode():
            try:
                maps = self.method.features(given)
            except (RuntimeError, UsageError) as error:
                what = f"the feature network cannot take the images: {str(error).splitlines()[0]}"
                raise _unfit(self.model, what) from None
        return [_pooled(each).double().cpu().numpy() for each in maps]


def require_fit(model: Opened, what: str, preparation: Preparation, size: Sequence[int], plane: str) -> None:
    """Refuse images that a network was not trained for.

    Args:
        model: with the network.
        what: it is for, e.g. ``feature network``.
        preparation: of the images.
        size: of the images, voxels along each axis.
        plane: of slices.

    Raises:
        InputError: volumes for slices or the reverse, other roles, voxels of another size, or a size that the layers
            cannot take.
    """
    own, trained = model.known.preparation, model.patches
    if len(size) != len(trained.size):
        found, expected = (f"{len(each)}D" for each in (size, trained.size))
        raise _unfit(model, f"the images are {found}, and the {what} reads {expected} images")
    if len(size) == 2 and plane != trained.plane:
        raise _unfit(model, f"the images are {plane} slices, and the {what} reads {trained.plane} ones")
    if own.roles.inputs != preparation.roles.inputs:
        found, expected = (", ".join(each.roles.inputs) for each in (preparation, own))
        raise _unfit(model, f"the images are of {found}, and the {what} reads {expected}")
    here, there = preparation.config.spacing, own.config.spacing
    if (here is None) != (there is None) or (here and there and not np.allclose(here, there, rtol=_SPACING)):
        found, expected = (_millimetres(each) for each in (here, there))
        raise _unfit(model, f"the images have voxels of {found}, and the {what} was trained on {expected}")
    window, told = model.method.window, " x ".join(map(str, size))
    if window.exact and tuple(size) != model.method.shape.size:
        needed = " x ".join(map(str, model.method.shape.size))
        raise _unfit(model, f"the images have {told} voxels, and the {what} takes {needed} alone")
    least = window.smallest(len(size))
    if any(side < low or side % window.multiple for side, low in zip(size, least, strict=True)):
        needed = f"at least {' x '.join(map(str, least))}, divisible by {window.multiple}"
        raise _unfit(model, f"the images have {told} voxels, and the {what} needs {needed}")


def _unfit(model: Opened, what: str) -> InputError:
    fix = "train one for these images: 'medgen train' with method vicreg, and the preparation and patches of theirs"
    return InputError(what, where=model.where, fix=fix)


def open_features(
    run: str | Path, device: str = "auto", *, layer: int | None = None, allow_modules: Sequence[str] = ()
) -> FeatureNetwork:
    """Open the network of a run that features are computed by.

    Where the model of the run does not hold it, like the discriminator of a GAN, its weights are those of
    ``checkpoints`` in the run folder.

    Args:
        run: the run folder, or its ``model`` folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        layer: number of the layer, from 1; by default the one with the most channels, the last of these.
        allow_modules: modules outside medgen that the model may name as its method.

    Raises:
        UsageError: the model computes no features, or has no such layer.
        ModelError: something is missing or damaged.
    """
    model = open_model(run, device, allow_modules)
    method = model.method
    if not isinstance(method, HasFeatures):
        raise model.lacks("compute features")
    digest = _completed(method, method, model, Path(run))
    channels = tuple(each.shape[1] for each in _of_nothing(method, method, model.device))
    if layer is not None and not 1 <= layer <= len(channels):
        told = ", ".join(f"{number} ({count})" for number, count in enumerate(channels, 1))
        raise UsageError(
            f"the network has no layer {layer}", where=model.where, fix=f"choose one of (with its channels): {told}"
        )
    widest = max(range(len(channels)), key=lambda number: (channels[number], number)) + 1
    return FeatureNetwork(model, method, layer or widest, channels, digest)


def _completed(method: Method, features: HasFeatures, model: Opened, run: Path) -> str:
    """Load what the model folder lacks and the features need; the SHA-256 of the weights that they are computed by."""
    state, exported = method.state_dict(), exported_state(method)
    lacking = {name: tensor for name, tensor in state.items() if name not in exported and tensor.is_floating_point()}
    with torch.no_grad():
        for tensor in lacking.values():
            tensor.fill_(torch.nan)
    if _finite(method, features, model.device):
        return str(model.content["weights_sha256"])
    folder = run.parent if run.resolve().name == "model" else run
    place = folder / "checkpoints" / f"stage{int(model.content.get('stages', 1)) - 1}"
    digest = _recorded(place, model)
    weights = load_weights(place / "final.safetensors", digest=digest)
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the weights do not fit the network: {reason}", where=place, fix="copy the whole run folder again"
        ) from None
    return digest


def _finite(method: Method, features: HasFeatures, device: torch.device) -> bool:
    """Whether features need no missing weight, which is NaN; of its singular values torch makes a RuntimeError."""
    try:
        return all(bool(torch.isfinite(each).all()) for each in _of_nothing(method, features, device))
    except RuntimeError:
        return False


def _recorded(place: Path, model: Opened) -> str:
    try:
        return str(json.loads((place / "done.json").read_text(encoding="utf-8"))["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            "the features are those of a network that the model does not hold, such as a discriminator, and the run "
            "has no weights of it",
            where=model.where,
            fix="give the whole folder of 'medgen train --out', with checkpoints/ in it",
        ) from None


def _of_nothing(method: Method, features: HasFeatures, device: torch.device) -> tuple[Tensor, ...]:
    """Features of images of zeros."""
    shape = method.shape
    with torch.inference_mode():
        return features.features(torch.zeros(2, shape.inputs, *shape.size, device=device))


def _pooled(maps: Tensor) -> Tensor:
    return pooled(maps) if maps.dim() > 2 else maps.float()


def _millimetres(spacing: Sequence[float] | None) -> str:
    return "their own size" if spacing is None else f"{' x '.join(f'{mm:g}' for mm in spacing)} mm"
