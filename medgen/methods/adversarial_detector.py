"""Detection of aggressive prostate cancer, trained against an adversary (Kohl et al. 2017, arXiv 1702.08014).

A segmenter S labels background, peripheral zone, transition zone and aggressive tumour (Gleason >= 7). A
discriminator D sees the image with a label map and learns whether an expert drew it. The segmenter minimises

    (1 - w) L_supervised(S(x), y) + w BCE(D(x, S(x)), 1)

with ``adversarial_weight`` w. At 0 this is plain supervised training, weight for weight; at 1 the adversary takes the
place of the voxel-wise loss, as in the paper. D minimises ``BCE(D(x, y), 1) + BCE(D(x, S(x)), 0)`` and steps first.

**Soft against hard.** A drawn map is 0 or 1, a prediction is not, so D could tell them apart without looking at
anatomy. ``gap`` chooses the remedy:

| gap                | drawn map                                   | predicted map                                  |
|--------------------|---------------------------------------------|------------------------------------------------|
| `none`             | one-hot                                     | probabilities                                  |
| `scaled`           | max(floor, p) for the true class, see below | probabilities                                  |
| `smoothed`         | floor for the true class, the rest shared   | probabilities                                  |
| `straight_through` | one-hot                                     | arg-max with the gradient of the probabilities |

In a scaled map the other classes shrink in proportion to the prediction (Luc et al. 2016, arXiv 1611.08408, sec. 3.3).
Softening narrows the gap and does not close it: a drawn map is never uncertain. Only ``straight_through`` closes it.

What the paper leaves open to us (we know its abstract, not its tables of settings): w, the gap, the sizes of D, its
learning rate, patches and schedule. They are settings; each says why it is what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Optimizer

from medgen.losses.adversarial import binary_cross_entropy
from medgen.losses.segmentation import one_hot, scaled_one_hot, straight_through
from medgen.methods._segmentation import (
    DeepMedicName,
    SegmentationConfig,
    feature_maps,
    new_network,
    new_optimizer,
    probabilities,
    supervised,
    window_of,
)
from medgen.methods.base import HasFeatures, Method, Predicts, Shape, Update, Window
from medgen.networks.discriminators import LabelDiscriminator
from medgen.networks.segmenters import SLICE_STRIDES, Slices
from medgen.sampling.batches import Labelled

_STEPS_ALONE = 4000


class Config(SegmentationConfig):
    """Settings of adversarial detection."""

    published: ClassVar = {"adversarial_weight": 1.0, "learning_rate": 1e-3, "dice_weight": 0.0}

    preset: Literal["tuned", "paper"] = "tuned"  # type: ignore[assignment]
    """``tuned``: the defaults below, with the patches and the schedule that they were tuned with. ``paper``: the
    adversary alone, which is how we remember the paper."""
    network: Literal["unet"] = "unet"
    slices: Slices = "thick"
    """``apart`` is 2D, as in the paper; ``thick`` lets deeper levels look across 3 mm slices where voxels are
    about 1 mm wide, ``thicker`` where they are 0.5 mm."""
    learning_rate: PositiveFloat = 2e-3
    adversarial_weight: Annotated[float, Field(ge=0, le=1)] = 0.03
    """w; 1, adversarial only, is how we remember the paper (the weight of a mixture is open). It learns slowly: zones
    and no tumour in 400 steps, see docs/explanation/detection.md. Penalties of the weights (``l1``, ``l2``) belong to
    the supervised part and are scaled by 1 - w with it."""
    gap: Literal["none", "scaled", "smoothed", "straight_through"] = "scaled"
    """The default keeps the prediction differentiable and the drawn map almost hard."""
    floor: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    """Least value of the true class in a scaled or smoothed map; 0.9 is of Luc et al."""
    discriminator_width: PositiveInt = 32
    """Filters of D's first level; they double with each."""
    discriminator_depth: Annotated[int, Field(ge=1, le=6)] = 4
    """Levels of D; at 4 one of its logits sees 31 voxels within a slice, a gland's half."""
    discriminator_learning_rate: PositiveFloat | None = None
    """By default that of the segmenter."""

    @model_validator(mode="before")
    @classmethod
    def _once_a_form_of_deepmedic(cls, values: Any) -> Any:
        """Earlier versions saved a preset that said nothing here, beside all other keys."""
        if isinstance(values, dict) and values.get("preset") in get_args(DeepMedicName):
            return {**values, "preset": "tuned"}
        return values

    def warnings(self, steps: int) -> tuple[str, ...]:
        """The adversary alone takes thousands of steps to teach a tumour, by our own study."""
        if self.adversarial_weight < 1 or steps >= _STEPS_ALONE:
            return ()
        return (
            f"adversarial_weight is 1 in a training of {steps} steps: in our study the adversary alone taught the "
            f"zones and no tumour in 400 steps, and tumours in {_STEPS_ALONE}; lower the weight or train longer",
        )


class AdversarialDetector(Method, Predicts, HasFeatures):
    """The discriminator steps first, then the segmenter works against the new discriminator."""

    config_class = Config
    batch_class = Labelled
    learns = "segmenter/cross_entropy"
    opponents: ClassVar = {"discriminator": 2 * math.log(2)}
    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.network = new_network(config, shape)
        heights = (*SLICE_STRIDES[config.slices], *[1] * 3)[: config.discriminator_depth]
        self.discriminator = (
            LabelDiscriminator(
                shape.inputs, shape.outputs, width=config.discriminator_width, strides=[(2, 2, z) for z in heights]
            )
            if config.adversarial_weight
            else None
        )

    @property
    def window(self) -> Window:
        """That of the network; the discriminator must have some places left of the smallest patch."""
        return window_of(self.config, self.network, 2 << self.config.discriminator_depth)

    def optimizers(self) -> dict[str, Optimizer]:
        """One for each network; without an adversary there is no second."""
        config, optimizers = self.config, {"segmenter": new_optimizer(self.config, self.network)}
        if self.discriminator is not None:
            rate = config.discriminator_learning_rate
            optimizers["discriminator"] = new_optimizer(config, self.discriminator, rate)
        return optimizers

    def updates(self, batch: Labelled, progress: float) -> Iterator[Update]:
        """``BCE(D(x, y), 1) + BCE(D(x, S(x)), 0)``, then the weighted sum of the segmenter's losses."""
        config, logits = self.config, self.network(batch.source)
        weight, losses = config.adversarial_weight, supervised(config, self.network, logits, batch.label)
        if self.discriminator is None:
            yield Update("segmenter", losses)
            return
        probability = logits.float().softmax(dim=1)
        drawn, predicted = self._drawn(batch.label, probability.detach()), self._predicted(probability)
        yield Update(
            "discriminator",
            {
                "drawn": binary_cross_entropy(self.discriminator(batch.source, drawn), real=True),
                "predicted": binary_cross_entropy(self.discriminator(batch.source, predicted.detach()), real=False),
            },
        )
        # The discriminator has just stepped: the segmenter works against the new one.
        adversarial = binary_cross_entropy(self.discriminator(batch.source, predicted), real=True)
        mixture = {name: (1 - weight) * loss for name, loss in losses.items()} if weight < 1 else {}
        yield Update("segmenter", {"adversarial": weight * adversarial, **mixture})

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class probabilities ``(B, K, X, Y, Z)`` in [0, 1]; channel 0 is background."""
        return probabilities(self.network, image)

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """All feature maps ``(B, C, x, y, z)`` of the segmenter, in the order of its layers."""
        return feature_maps(self.network, image)

    def exported(self) -> Sequence[str]:
        """What prediction needs."""
        return ("network",)

    def _drawn(self, label: Tensor, probability: Tensor) -> Tensor:
        """The expert's map (B, K, X, Y, Z) as the discriminator sees it."""
        config, exact = self.config, one_hot(label, probability.shape[1])
        match config.gap:
            case "scaled":
                return scaled_one_hot(exact, probability, floor=config.floor)
            case "smoothed":
                rest = (1 - config.floor) / (probability.shape[1] - 1)
                return exact * (config.floor - rest) + rest
        return exact

    def _predicted(self, probability: Tensor) -> Tensor:
        return straight_through(probability) if self.config.gap == "straight_through" else probability


METHOD = AdversarialDetector
