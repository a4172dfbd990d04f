"""DeepMedic (Kamnitsas et al. 2017, Medical Image Analysis 36): the same valid convolutions at several resolutions.

A pathway is eight 3^3 convolutions without padding. The first pathway reads the image, the others read every
third (or fifth) voxel of a larger context, so that they see 51 (85) voxels with 17 samples. Their last maps are
repeated back to the image's grid, joined, and classified by three convolutions, the "fully connected" layers.
Channels, residuals and their places are those of the authors' public configuration files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.errors import UsageError
from medgen.networks.blocks import Convolution, Dropout, NormName, PReLU, build_norm, initialise_fan_in, traced

PresetName = Literal["original", "res2016", "current", "wide", "small"]
Padding = Literal["valid", "mirror"]

DEPTH = 8
"""Layers of a pathway; each valid 3^3 convolution takes one voxel off each side."""
CONNECTED = (4, 6, 8)
"""Layers of a pathway that end in a residual connection, and that the domain discriminator reads."""

SLAB = 2**17
"""Values that are normalised and rectified at once in inference; they fit a processor's second cache."""


class Preset(NamedTuple):
    """Shape of one published DeepMedic.

    Attributes:
        filters: channels of the eight layers of each pathway.
        hidden: channels of layers 9 and 10.
        factors: sub-sampling factors of the low-resolution pathways.
        kernel: side of the kernel of layer 9.
        residual: whether layers 4, 6, 8 and 10 add what the layer before them read.
    """

    filters: tuple[int, ...]
    hidden: tuple[int, int]
    factors: tuple[int, ...]
    kernel: int
    residual: bool


_FILTERS = (30, 30, 40, 40, 40, 40, 50, 50)

PRESETS: dict[PresetName, Preset] = {
    # April 2016, the network of the Medical Image Analysis paper.
    "original": Preset(_FILTERS, (150, 150), (3,), kernel=1, residual=False),
    # November 2016, in time the closest to the paper on adversarial adaptation.
    "res2016": Preset(_FILTERS, (150, 150), (3,), kernel=3, residual=True),
    "current": Preset(_FILTERS, (250, 250), (3, 5), kernel=3, residual=True),
    "wide": Preset((30, 40, 50, 60, 70, 80, 90, 100), (300, 300), (3, 5), kernel=3, residual=True),
    # A third of res2016 is 10, 10, 13, 13, 13, 13, 17, 17 and 50. Processors compute channels in blocks of 16: 10
    # or 13 take the time of 16, and 17 takes that of 32.
    "small": Preset((16,) * DEPTH, (48, 48), (3,), kernel=3, residual=True),
}


class DeepMedic(nn.Module):
    """Two or more pathways, and three layers that join them; raw logits.

    One input carries the whole context; the network cuts the centre for the first pathway and sub-samples for the
    others itself, without smoothing, as published. Sample k of a low-resolution pathway stands at the middle of the
    output voxels f k to f k + f - 1, for which it is repeated. (The formula of the authors' code, f // 2 minus
    17 (f - 1) / 2 from the start of the segment, arrives at the first voxel of the cell: a context that lies half a
    cell to one side. Here it is symmetric.) So the values of an output voxel depend on where the output begins,
    modulo f: tiles that begin at multiples of :attr:`align` give together what the whole volume gives at once.

    The order within a layer is normalisation (or bias), PReLU, dropout, convolution; the first layer of a pathway
    is the convolution alone.

    Args:
        inputs: channels of the image.
        outputs: classes, with the background.
        preset: ``original``, ``res2016``, ``current``, ``wide``, or ``small`` (for studies on a CPU).
        width: factor on all channels but the inputs and outputs.
        norm: ``batch`` as published, ``instance`` (then tiles differ from the whole volume), or ``none``.
        momentum: of the running statistics. The authors average the last 60 batches with equal weights. An
            exponential average has the same variance at 2 / 61 = 0.033 and forgets as late as the 60th batch at
            1 / 60 = 0.017; the default lies between.
        dropout: rate before layer 10 and before the classifier; no other layer has any.
        fc_padding: how layer 9 with its 3^3 kernel keeps the size. ``mirror``, as published, repeats the border of
            the joined maps, and so the outermost output voxels of each tile differ from those of a larger tile.
            ``valid`` lets the pathways compute a voxel more on each side and has no such border.
        aligned: output sides must be multiples of :attr:`align`, the least common multiple of the factors. False
            allows any size: the low-resolution maps then cover ceil(side / f) samples and are cut at the far side, as
            published, and the margin grows by f - 1 voxels, because that far side reaches further.

    Attributes:
        margin: voxels lost on each side.
        multiple: 1.
        minimum: 1.
        align: what the sides of the output, and the starts of tiles, must be multiples of.
        layers: names of the feature maps: ``"4"``, ``"6"``, ``"8"`` (each of all pathways) and ``"10"``.
        widths: channels of each feature map.

    Shape:
        ``(B, inputs, X, Y, Z)`` to ``(B, outputs, X - 2 margin, Y - 2 margin, Z - 2 margin)``.

    >>> DeepMedic(1, 2, preset="original").margin, DeepMedic(1, 2, preset="res2016").margin
    (23, 26)
    """

    layers: tuple[str, ...] = ("4", "6", "8", "10")

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        preset: PresetName = "res2016",
        width: float = 1.0,
        norm: NormName = "batch",
        momentum: float = 0.02,
        dropout: float = 0.5,
        fc_padding: Padding = "valid",
        aligned: bool = True,
    ) -> None:
        super().__init__()
        shape = PRESETS[preset]
        filters = [max(1, round(count * width)) for count in shape.filters]
        hidden = [max(1, round(count * width)) for count in shape.hidden]
        self.residual, self.factors = shape.residual, shape.factors
        self._mirror = (shape.kernel // 2) if fc_padding == "mirror" else 0
        self._extra = shape.kernel // 2 - self._mirror
        self.multiple, self.minimum, self.align = 1, 1, math.lcm(*shape.factors) if aligned else 1
        self.margin = max(DEPTH + self._extra, *(self._reach(f, aligned=aligned) for f in shape.factors))

        def layer(read: int, made: int, kernel: int = 3, rate: float = 0.0, *, bias: bool = False) -> _Layer:
            before = [build_norm(norm, read, momentum=momentum), PReLU(read), Dropout(rate)]
            return _Layer(*before, Convolution(read, made, kernel, bias=bias))

        def pathway() -> nn.ModuleList:
            deeper = (layer(read, made) for read, made in pairwise(filters))
            return nn.ModuleList([Convolution(inputs, filters[0], 3, bias=False), *deeper])

        self.pathways = nn.ModuleList(pathway() for _ in range(1 + len(shape.factors)))
        joined = filters[-1] * len(self.pathways)
        ninth = layer(joined, hidden[0], shape.kernel)
        self.joint = nn.ModuleList([ninth[:-1], ninth[-1], layer(hidden[0], hidden[1], 1, dropout)])
        self.classifier = layer(hidden[1], outputs, 1, dropout, bias=True)
        initialise_fan_in(self)
        self.widths = {str(number): filters[number - 1] * len(self.pathways) for number in CONNECTED}
        self.widths["10"] = hidden[1]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the centre of ``x``."""
        return self.features(x, ())[0]

    def features(self, x: Tensor, layers: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the named maps on the grid of the logits.

        A map is the layer's output with its residual added, which is what the next layer reads. Maps of the
        low-resolution pathways are repeated and all are cut to the size of the logits.

        Args:
            x: (B, inputs, X, Y, Z).
            layers: any of :attr:`layers`.

        Raises:
            UsageError: an unknown layer, or sides that do not fit the margin and :attr:`align`.
        """
        wanted = self._checked(layers)
        output = self._output_size(x)
        ends: list[Tensor] = []
        parts: dict[int, list[Tensor]] = {number: [] for number in wanted if number <= DEPTH}
        for pathway, factor in zip(self.pathways, (1, *self.factors), strict=True):
            assert isinstance(pathway, nn.ModuleList)
            maps = self._run(pathway, self._cut(x, factor, output), {*parts, DEPTH})
            for number, held in parts.items():
                held.append(self._place(maps[number], DEPTH - number, factor, output, extra=0))
            ends.append(self._place(maps[DEPTH], 0, factor, output, extra=self._extra))
        joined = torch.cat(ends, 1)
        last = self._join(joined)
        found = {number: torch.cat(held, 1) for number, held in parts.items()} | {DEPTH + 2: last}
        logits: Tensor = self.classifier(last)
        return logits, {str(number): found[number] for number in wanted}

    def _checked(self, layers: Sequence[str]) -> list[int]:
        for name in layers:
            if name not in self.layers:
                raise UsageError(f"DeepMedic has no feature map '{name}'", fix=f"choose from {', '.join(self.layers)}")
        return [int(name) for name in layers]

    def _output_size(self, x: Tensor) -> list[int]:
        output = [side - 2 * self.margin for side in x.shape[2:]]
        if min(output) < 1 or any(side % self.align for side in output):
            raise UsageError(
                f"DeepMedic cannot take an input of {tuple(x.shape[2:])} voxels",
                fix=f"choose sides of {2 * self.margin} plus a multiple of {self.align}",
            )
        return output

    def _beyond(self, factor: int) -> int:
        """Samples of a pathway beside the output that layer 9 needs on each side."""
        return -(-self._extra // factor)

    def _reach(self, factor: int, *, aligned: bool) -> int:
        """Voxels that a low-resolution pathway needs on the side where it needs more."""
        span, middle = factor * (DEPTH + self._beyond(factor)), factor // 2
        return max(span - middle, span - factor + middle + 1 + (0 if aligned else factor - 1))

    def _cut(self, image: Tensor, factor: int, output: Sequence[int]) -> Tensor:
        """What a pathway reads: the centre, or every ``factor``-th voxel of the context."""
        span = factor * (DEPTH + self._beyond(factor))
        first = self.margin - span + factor // 2
        counts = [-(-side // factor) + 2 * span // factor for side in output]
        x, y, z = (slice(first, first + factor * (count - 1) + 1, factor) for count in counts)
        return image[..., x, y, z]

    def _run(self, pathway: nn.ModuleList, x: Tensor, wanted: set[int]) -> dict[int, Tensor]:
        """Outputs of the wanted layers of one pathway."""
        maps: dict[int, Tensor] = {}
        earlier = x
        for number, layer in enumerate(pathway, start=1):
            # Blocks of channels side by side in memory: every later step keeps this order, and is twice as fast.
            before, x = x, layer(x)
            if not traced():
                x = x.contiguous(memory_format=torch.channels_last_3d)
            if self.residual and number in CONNECTED:
                x = _add_centre(x, earlier)
            earlier = before
            if number in wanted:
                maps[number] = x
        return maps

    def _join(self, joined: Tensor) -> Tensor:
        before, convolution, second = self.joint
        x = before(joined)
        if self._mirror:
            x = functional.pad(x, (self._mirror,) * 6, mode="replicate")
        x = second(convolution(x))
        return _add_centre(x, joined) if self.residual else x

    def _place(self, x: Tensor, shrink: int, factor: int, output: Sequence[int], *, extra: int) -> Tensor:
        """Repeat a map of a pathway to the image's grid and cut it to the output and ``extra`` voxels around it."""
        drop = shrink + self._beyond(factor) - -(-extra // factor)
        x = _crop(x, [drop] * 3, [side - 2 * drop for side in x.shape[2:]])
        if factor > 1:
            x = functional.interpolate(x, scale_factor=factor, mode="nearest")
        start = factor * -(-extra // factor) - extra
        return _crop(x, [start] * 3, [side + 2 * extra for side in output])


class _Layer(nn.Sequential):
    """Normalisation, PReLU, dropout, and (in all layers but the ninth) a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        norm, rectifier, *rest = self
        whole = norm.training or torch.is_grad_enabled() or isinstance(norm, nn.InstanceNorm3d) or traced()
        x = rectifier(norm(x)) if whole or x.device.type != "cpu" else self._rectified(x)
        for module in rest:
            x = module(x)
        return x

    def _rectified(self, x: Tensor) -> Tensor:
        """Normalised and rectified slab by slab, so that what lies between stays in the processor's cache."""
        result = torch.empty_like(x)
        thickness = max(1, SLAB // x[0, :, 0].numel())
        for image, place in zip(x.split(1), result.split(1), strict=True):  # type: ignore[no-untyped-call]
            for slab, target in zip(image.split(thickness, 2), place.split(thickness, 2), strict=True):
                target.copy_(self[1](self[0](slab)))
        return result


def _crop(x: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    a, b, c = (slice(first, first + side) for first, side in zip(start, size, strict=True))
    return x[..., a, b, c]


def _add_centre(x: Tensor, earlier: Tensor) -> Tensor:
    """Add the centre of an earlier map; channels that one of the two lacks count as zero or are left out.

    Without gradients, ``x`` itself is changed.
    """
    start = [(big - small) // 2 for big, small in zip(earlier.shape[2:], x.shape[2:], strict=True)]
    if not (torch.is_grad_enabled() or traced()):
        shared = min(x.shape[1], earlier.shape[1])
        x[:, :shared] += _crop(earlier[:, :shared], start, x.shape[2:])
        return x
    # One padding by negative widths: the gradient of each slice would be a whole map of zeros and a copy.
    pairs = [-edge for edge in reversed(start) for _ in range(2)]
    return x + functional.pad(earlier, [*pairs, 0, x.shape[1] - earlier.shape[1]])
