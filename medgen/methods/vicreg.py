"""VICReg (Bardes, Ponce & LeCun 2022, https://arxiv.org/abs/2105.04906): an encoder of images without any labels.

Two views of an image get embeddings that are alike (invariance), differ from image to image (variance), and say each
thing once (covariance); eq. 6. It needs no negatives and no second network, so it works with small batches.

The encoder is there to judge samples by its features, and **features ignore what the views vary**. So a view is a crop,
its mirror image, and other brightness and contrast: it is neither blurred nor made noisier, and a crop is cut on the
grid of the voxels, since a sample that is blurred must not look like a sharp one. Published are ResNet-50, an expander
of three layers of 8192 with batch normalisation, and LARS with batches of 2048, for ImageNet. Here the expander has
layer normalisation, which says as much of two images as of two thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer

from medgen.config import Config as Settings
from medgen.errors import UsageError
from medgen.losses.embedding import covariance, invariance, variance
from medgen.methods.base import HasFeatures, Method, Shape, Update, Window
from medgen.networks.encoder import FeatureEncoder, pooled
from medgen.sampling.batches import Images


class Config(Settings):
    """Settings of VICReg."""

    width: PositiveFloat = 1.0
    """Factor on the channels: 32 at the first level, doubled with each up to 256."""
    levels: int = Field(default=4, ge=1, le=6)
    """Halvings of the grid."""
    embedding: PositiveInt = 64
    """Numbers of an embedding, and of the two hidden layers before it; 8192 is published, for batches of 2048. Of N
    images at most N - 1 numbers can differ independently, so with many more the covariance outweighs the rest."""
    invariance_weight: NonNegativeFloat = 25.0
    """Published."""
    variance_weight: NonNegativeFloat = 25.0
    """Published."""
    covariance_weight: NonNegativeFloat = 1.0
    """Published."""
    crop: float = Field(default=0.75, gt=0, le=1)
    """Edge of a view, as a share of that of the image."""
    mirror: bool = True
    """Whether half of the views are mirrored along the first axis, right to left."""
    scale: float = Field(default=0.1, ge=0, lt=1)
    """Largest relative change of a view's values."""
    shift: NonNegativeFloat = 0.1
    """Largest offset of a view, in normalised units."""
    learning_rate: PositiveFloat = 1e-3
    """AdamW."""
    weight_decay: NonNegativeFloat = 1e-4


class VICReg(Method, HasFeatures):
    """An encoder, and an expander that is dropped after training."""

    config_class = Config
    batch_class = Images
    learns = "encoder/variance"
    dimensions = (2, 3)
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        width = max(4, round(32 * config.width))
        self.encoder = FeatureEncoder(shape.dimensions, shape.inputs, width=width, levels=config.levels)
        hidden: list[nn.Module] = []
        for before in (self.encoder.channels[-1], config.embedding):
            linear = nn.Linear(before, config.embedding, bias=False)
            hidden += [linear, nn.LayerNorm(config.embedding), nn.ReLU()]
        self.expander = nn.Sequential(*hidden, nn.Linear(config.embedding, config.embedding))

    @property
    def window(self) -> Window:
        """An image has a voxel or more at the last level."""
        return Window(minimum=2**self.config.levels)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for both networks."""
        return {"encoder": AdamW(self.parameters(), self.config.learning_rate, weight_decay=self.config.weight_decay)}

    def updates(self, batch: Images, progress: float) -> Iterator[Update]:
        """One step on two views of every image."""
        if len(batch.image) < 2:
            raise UsageError(
                "VICReg compares the images of a batch, and it has 1", fix="set schedule.batch to 2 or more"
            )
        yield Update("encoder", self._losses(batch.image))

    def score(self, batch: Images) -> dict[str, float]:
        """The loss of views that are the same at every call; none of a single image."""
        if len(batch.image) < 2:
            return {}
        generator = Generator(batch.image.device).manual_seed(0)
        return {"vicreg": sum(loss.item() for loss in self._losses(batch.image, generator).values())}

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The map of each level of the encoder, the finest first; the expander reads the mean of the last."""
        maps: tuple[Tensor, ...] = self.encoder(image)
        return maps

    def exported(self) -> Sequence[str]:
        """The encoder."""
        return ("encoder",)

    def _losses(self, image: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        first, second = (self.expander(pooled(self.encoder(self._view(image, generator))[-1])) for _ in range(2))
        first, second = first.float(), second.float()
        config = self.config
        return {
            "invariance": config.invariance_weight * invariance(first, second),
            "variance": config.variance_weight * (variance(first) + variance(second)),
            "covariance": config.covariance_weight * (covariance(first) + covariance(second)),
        }

    def _view(self, image: Tensor, generator: Generator | None) -> Tensor:
        """A crop of every image ``(B, C, ...)``, with other brightness and contrast, perhaps mirrored."""

        def drawn(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=image.device)

        size = [max(1, round(self.config.crop * side)) for side in image.shape[2:]]
        crops = []
        for each, place in zip(image, drawn(len(image), len(size)).tolist(), strict=True):
            for axis, (edge, at) in enumerate(zip(size, place, strict=True), start=1):
                each = each.narrow(axis, int(at * (each.shape[axis] - edge + 1)), edge)
            crops.append(each)
        view, ones = torch.stack(crops), (1,) * len(size)
        if self.config.mirror:
            view = torch.where(drawn(len(view), 1, *ones) < 0.5, view.flip(2), view)
        scale = 1 + self.config.scale * (2 * drawn(len(view), 1, *ones) - 1)
        return view * scale + self.config.shift * (2 * drawn(len(view), 1, *ones) - 1)


METHOD = VICReg
