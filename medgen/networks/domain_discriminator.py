"""The domain discriminator of Kamnitsas et al. 2017: from which scanner are these activations?"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from medgen.errors import UsageError
from medgen.networks.blocks import Dropout, NormName, PReLU, build_norm, initialise_fan_in


class DomainDiscriminator(nn.Module):
    """Four times (convolution, normalisation, PReLU), and a 1^3 classifier of two domains; dense raw logits.

    It reads the joined feature maps of a segmenter, for example layers 4, 6, 8 and 10 of DeepMedic. Widths and depth
    as far as they are known from the paper (section 2.3) and from its only public re-implementation, which has
    dropout of 0.5 before the last layer and normalises the input too.

    Args:
        channels: of the joined maps.
        width: channels of each hidden layer.
        depth: hidden layers.
        kernel: side of their kernels, odd.
        padding: ``valid`` takes (kernel - 1) / 2 voxels off each side in each layer; ``same`` pads with zeros, so that
            maps of any size can be judged.
        norm: ``batch``, ``instance`` or ``none`` (a learnt bias).
        input_norm: normalise the joined maps first. Their scales differ from layer to layer.
        dropout: rate before the classifier.

    Attributes:
        margin: voxels lost on each side.

    Shape:
        ``(B, channels, X, Y, Z)`` to ``(B, 2, X - 2 margin, Y - 2 margin, Z - 2 margin)``.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 100,
        depth: int = 4,
        kernel: int = 3,
        padding: Literal["valid", "same"] = "valid",
        norm: NormName = "batch",
        input_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise UsageError(f"a kernel of {kernel} voxels has no middle", fix="choose an odd kernel")
        self.margin = depth * (kernel // 2) if padding == "valid" else 0
        blocks: list[nn.Module] = [build_norm(norm, channels)] if input_norm else []
        for _ in range(depth):
            blocks += [nn.Conv3d(channels, width, kernel, padding=padding, bias=False)]
            blocks += [build_norm(norm, width), PReLU(width)]
            channels = width
        self.body = nn.Sequential(*blocks, Dropout(dropout), nn.Conv3d(channels, 2, 1))
        initialise_fan_in(self)

    def forward(self, maps: Tensor) -> Tensor:
        """Logits of the two domains at every voxel that the margin leaves.

        Raises:
            UsageError: the maps are no larger than the two margins.
        """
        if min(maps.shape[2:]) <= 2 * self.margin:
            raise UsageError(
                f"the domain discriminator cannot judge maps of {tuple(maps.shape[2:])} voxels",
                fix=f"train on patches whose output is larger than {2 * self.margin} voxels, or choose padding 'same'",
            )
        logits: Tensor = self.body(maps)
        return logits
