"""Earlier outputs of a generator, for its discriminator not to forget (Shrivastava et al. 2017, arXiv 1612.07828)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class History:
    """The last images of a generator; a method names it in ``memory()``.

    Args:
        size: images that are kept; 50 is published, 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """Of each image ``(B, ...)`` itself, or with a chance of one half an earlier one, whose place it takes.

        All chance is torch's generator of the CPU. An image that is not finite is not kept.
        """
        chosen = []
        for image in images.detach():
            if self.size and len(self._images) < self.size and bool(torch.isfinite(image).all()):
                self._images.append(image.clone())
                chosen.append(image)
            elif self._images and torch.rand(()) < 0.5 and bool(torch.isfinite(image).all()):
                place = int(torch.randint(len(self._images), ()))
                chosen.append(self._images[place].to(image))
                self._images[place] = image.clone()
            else:
                chosen.append(image)
        return torch.stack(chosen)

    def state_dict(self) -> dict[str, Any]:
        """All images."""
        return {"images": [image.cpu() for image in self._images]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to saved images; they follow the device of those that are exchanged."""
        self._images = list(state["images"])
