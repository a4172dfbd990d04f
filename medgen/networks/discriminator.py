"""The discriminator of Nie et al. 2017: is this CT patch real?"""

from __future__ import annotations

from torch import Tensor, nn


class ContextAwareDiscriminator(nn.Module):
    """Three times (5^3 convolution, batch normalisation, ReLU, max-pooling), a fourth convolution, three dense layers.

    The result is a raw logit. (The authors' 3D code has a ReLU before its sigmoid, which keeps the logit from
    ever being negative; that is not copied.) Normalisation always uses the batch at hand: the network is never
    used outside training, and so a generator's step cannot change its state.

    Args:
        inputs: channels of the patch.
        width: factor on the number of filters and dense units.

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, 1)``, sides of at least 16 voxels. A 16^3 patch reaches the dense layers
        as 2^3 x 256 values, as in the paper; a larger one is averaged down to 2^3.
    """

    def __init__(self, inputs: int = 1, *, width: float = 1.0) -> None:
        super().__init__()
        filters = [max(1, round(count * width)) for count in (32, 64, 128, 256)]
        units = [max(1, round(count * width)) for count in (512, 128)]
        blocks: list[nn.Module] = []
        for index, count in enumerate(filters):
            blocks += [nn.Conv3d(inputs, count, 5, padding=2, bias=False)]
            blocks += [nn.BatchNorm3d(count, track_running_stats=False), nn.ReLU(inplace=True)]
            blocks += [nn.MaxPool3d(2)] if index < 3 else [nn.AdaptiveAvgPool3d(2)]
            inputs = count
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(filters[-1] * 8, units[0]), nn.ReLU(inplace=True),
            nn.Linear(units[0], units[1]), nn.ReLU(inplace=True),
            nn.Linear(units[1], 1),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, patch: Tensor) -> Tensor:
        """Logit of "real" for each patch."""
        logit: Tensor = self.head(self.features(patch))
        return logit
