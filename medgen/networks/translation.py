"""Networks of image-to-image translation: the residual generator of CycleGAN, and the PatchGAN discriminator."""

from __future__ import annotations

from torch import Tensor, nn

from medgen.networks.ranks import Norm, convolution, normalisation


class ResidualGenerator(nn.Module):
    """7-wide convolution, two halvings, residual blocks, two doublings, 7-wide convolution (Zhu et al. 2017, 7.1).

    Doublings repeat voxels and convolve, where the publication has transposed convolutions: those leave a checkerboard.

    Args:
        dimensions: 2 or 3.
        inputs: channels of the image.
        outputs: channels of the result.
        width: channels at full resolution; 64 is published.
        blocks: residual blocks at a quarter of the resolution; 6 or 9 are published.
        norm: instance normalisation is published.

    Attributes:
        multiple: what the sides must be divisible by.

    Shape:
        ``(B, inputs, *size)`` to ``(B, outputs, *size)``, linear.
    """

    multiple = 4

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, *, width: int = 64, blocks: int = 9, norm: Norm = "instance"
    ) -> None:
        super().__init__()

        def layer(narrow: int, wide: int, kernel: int = 3, **options: int) -> list[nn.Module]:
            return [
                convolution(dimensions, narrow, wide, kernel, padding_mode="replicate", **options),
                normalisation(norm, dimensions, wide),
                nn.ReLU(),
            ]

        deep = 4 * width
        self.body = nn.Sequential(
            *layer(inputs, width, 7),
            *layer(width, 2 * width, stride=2),
            *layer(2 * width, deep, stride=2),
            *(Residual(nn.Sequential(*layer(deep, deep), *layer(deep, deep)[:2])) for _ in range(blocks)),
            nn.Upsample(scale_factor=2),
            *layer(deep, 2 * width),
            nn.Upsample(scale_factor=2),
            *layer(2 * width, width),
            convolution(dimensions, width, outputs, 7, padding_mode="replicate"),
        )

    def forward(self, image: Tensor) -> Tensor:
        """The translated image."""
        result: Tensor = self.body(image)
        return result


class Residual(nn.Module):
    """Adds what ``body`` makes of its input to it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Input plus correction."""
        corrected: Tensor = x + self.body(x)
        return corrected


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017, appendix 6.1): strided 4-wide convolutions, one raw logit a place.

    Args:
        dimensions: 2 or 3.
        inputs: channels of the image.
        width: channels of the first level; they double with each. 64 is published.
        levels: halvings; 3 with a receptive field of 70 voxels is published, 2 has one of 34.
        norm: of all but the first level; instance is published.

    Shape:
        ``(B, inputs, *size)`` to ``(B, 1, *size / 2 ** levels - 2)``.
    """

    def __init__(
        self, dimensions: int, inputs: int, *, width: int = 64, levels: int = 3, norm: Norm = "instance"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = inputs
        for level in range(levels + 1):
            wide, stride = width * 2 ** min(level, 3), 2 if level < levels else 1
            layers += [convolution(dimensions, channels, wide, 4, stride=stride, padding=1)]
            layers += [normalisation(norm, dimensions, wide)] if level else []
            layers += [nn.LeakyReLU(0.2)]
            channels = wide
        self.body = nn.Sequential(*layers, convolution(dimensions, channels, 1, 4, padding=1))
        self.minimum = 4 * 2**levels

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """What each level finds ``(B, C, ...)``, after its rectifier; the finest first."""
        found = []
        for layer in self.body:
            image = layer(image)
            if isinstance(layer, nn.LeakyReLU):
                found.append(image)
        return tuple(found)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of "real"."""
        logits: Tensor = self.body(image)
        return logits
