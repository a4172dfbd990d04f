"""Conditional variational autoencoder of label maps: segmentation with many plausible outlines (Sohn et al. 2015).

The networks and the objective of :mod:`medgen.methods.cvae`; p(y|x,z) is a distribution over the classes of each voxel,
as in the probabilistic U-Net (Kohl et al. 2018, arXiv 1806.05034). A code stands for one way to draw the outline; the
prediction without chance averages the class probabilities over codes of the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.optim import Adam, Optimizer

from medgen.losses.segmentation import cross_entropy, one_hot
from medgen.methods._cvae import (
    ConditionalConfig,
    bound,
    drawn,
    fixed_codes,
    hybrid,
    kl_weight,
    new_conditional,
    without_code,
)
from medgen.methods._cvae import window as shared_window
from medgen.methods.base import Method, Predicts, Shape, Update, Window
from medgen.sampling.batches import Labelled


class Config(ConditionalConfig):
    """Settings of the conditional variational autoencoder of label maps."""

    code: Literal["map", "shared"] = "shared"
    """``shared``: one vector for the whole image, such as the habit of a rater. ``map``: one for each ``cell``,
    where outlines are ambiguous one by one."""
    codes_from: float = Field(default=0.4, ge=0, lt=1)
    """Share of the training from which codes are learnt; before, the generation network learns alone."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of the training over which the weight of the KL term rises to 1."""
    latent: PositiveInt = 4
    """Numbers of a vector."""
    prediction_samples: NonNegativeInt = 8
    """Codes of the prior over which class probabilities are averaged; 0 takes the mean of the prior for the only
    code."""
    learning_rate: PositiveFloat = 2e-3
    """Of Adam."""

    def recipe(self) -> Mapping[str, Any]:
        """Schedule and patches of ``segmentation``."""
        return {
            "patches": {"sampling": "balanced", "jitter": 0.7, "augmentation": {"flip": ["x"]}},
            "schedule": {
                "batch": 4,
                "precision": "auto",
                "learning_rate": {"kind": "cosine", "warmup": 0.05},
                "averaging": 0.99,
                "clip": 5.0,
            },
        }


class CVAESegmentation(Method, Predicts):
    """Recognition, prior and generation for label maps."""

    config_class = Config
    batch_class = Labelled
    learns = "cvae/reconstruction"
    dimensions = (2, 3)
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_conditional(config, shape.inputs, shape.outputs, shape.outputs, shape.dimensions)

    @property
    def window(self) -> Window:
        """Tiles that begin where the noise does."""
        return shared_window()

    @property
    def stochastic(self) -> bool:
        """A generator draws a code."""
        return True

    def optimizers(self) -> dict[str, Optimizer]:
        """One for everything."""
        return {"cvae": Adam(self.parameters(), self.config.learning_rate)}

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """One step down the hybrid objective, in nats a voxel."""
        image, observed, loss, voxels = self._task(batch)
        if progress < self.config.codes_from:
            yield Update("cvae", without_code(self.network, image, loss))
            return
        weights = self.config.alpha, kl_weight(self.config, progress)
        losses = hybrid(self.network, image, observed, loss, voxels, alpha=weights[0], kl_weight=weights[1])
        yield Update("cvae", losses)

    def score(self, batch: Labelled) -> dict[str, float]:
        """The negative bound and its KL term in nats a voxel, and the Dice of the prediction on patches."""
        truth = one_hot(batch.label, self.shape.outputs)[:, 1:]
        found = one_hot(self.predict(batch.source).argmax(dim=1, keepdim=True), self.shape.outputs)[:, 1:]
        total = (truth.sum() + found.sum()).clamp(min=1)
        return {**bound(self.network, *self._task(batch)), "patch_dice": (2 * (truth * found).sum() / total).item()}

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, *size)`` of one plausible outline, or their mean without a generator."""
        maps, prior = self.network.prior(image)
        size = image.shape[2:]
        if generator is None:
            codes = fixed_codes(self.config, prior, size)
        else:
            codes = [drawn(self.config, prior, size, generator)]
        each = [self.network.generated(maps, code, image).float().softmax(dim=1) for code in codes]
        return torch.stack(each).mean(dim=0)

    def _task(self, batch: Labelled) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor], Tensor]:
        """Image, label map as the recognition network sees it, cross-entropy of a raw output, and number of voxels."""
        observed = one_hot(batch.label, self.shape.outputs).to(batch.source.dtype)
        voxels = torch.tensor(float(batch.label.numel()), device=batch.label.device)
        return batch.source, observed, lambda raw: cross_entropy(raw, batch.label), voxels


METHOD = CVAESegmentation
