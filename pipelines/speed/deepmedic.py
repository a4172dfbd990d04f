"""How fast DeepMedic trains and segments, beside what the machine's arithmetic allows; prints a Markdown table.

The floor is the time that the convolutions alone would take if all of them ran as fast as the largest matrix product
that this machine does, on the same threads, in the same precision, measured in the same run. The share of it that is
reached says how much the rest costs: normalisation, rectifiers, dropout, copies, the optimiser, and convolutions whose
channels do not fill the processor's registers. On one thread of a processor, processor time counts and not the clock,
so other work on the machine does less harm. What a step of training is here, and what it leaves out, stands in
``training_step``.

    python pipelines/speed/deepmedic.py --threads 1
    python pipelines/speed/deepmedic.py --device cuda --precision bf16
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Window
from medgen.networks.deepmedic import DeepMedic, PresetName
from medgen.recipe.prediction import InferenceConfig

CHANNELS, CLASSES = 5, 2
"""Of the paper: MPRAGE, FLAIR, T2, PD and GE; lesion or not."""
BATCH = 10
OUTPUTS: dict[PresetName, int] = {"small": 15, "res2016": 9, "current": 15}
"""Side of what a training segment predicts; 9 is that of 25-voxel segments, as published."""
VOLUME = 60
"""Side of the volume that is segmented, a multiple of 3 and 5."""


class Clock(NamedTuple):
    """Where and how time is measured."""

    device: torch.device
    threads: int
    repeats: int
    precision: str

    def best(self, function: Callable[[], object]) -> float:
        """The least seconds of several runs after one that does not count."""
        alone = self.device.type == "cpu" and self.threads == 1
        clock = time.process_time if alone else time.perf_counter
        function()
        seconds = []
        for _ in range(self.repeats):
            self._wait()
            start = clock()
            function()
            self._wait()
            seconds.append(clock() - start)
        return min(seconds)

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision where it was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def peak(clock: Clock) -> float:
    """Operations in a second (a multiplication and an addition are two) of the fastest square matrix product."""
    kind = torch.bfloat16 if clock.precision == "bf16" else torch.float32
    fastest = 0.0
    for side in (1024, 2048) if clock.device.type == "cpu" else (4096, 8192):
        a, b = (torch.randn(side, side, device=clock.device).to(kind) for _ in range(2))
        fastest = max(fastest, 2 * side**3 / clock.best(lambda a=a, b=b: a @ b))  # type: ignore[misc]
    return fastest


def count_operations(net: nn.Module, run: Callable[[], object], *, training: bool) -> float:
    """Operations of all convolutions of one run; training adds the gradients of the weights and of the maps."""
    total = 0.0

    def count(module: nn.Conv3d, given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal total
        forward = 2.0 * made.numel() * module.weight[0].numel()
        reads_image = module.in_channels == CHANNELS
        total += forward * ((2 if reads_image else 3) if training else 1)

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv3d)]
    run()
    for hook in hooks:
        hook.remove()
    return total


def training_step(net: DeepMedic, output: int, clock: Clock) -> Callable[[], None]:
    """Forward, cross-entropy, backward, and torch's RMSprop with plain momentum, on a batch that is there already.

    A step of ``medgen train`` also draws patches and has Nesterov momentum and penalties of the weights, which are
    independent of the size of a segment.
    """
    side = output + 2 * net.margin
    optimizer = torch.optim.RMSprop(net.parameters(), 1e-3, alpha=0.9, eps=1e-4, momentum=0.6)
    image = torch.randn(BATCH, CHANNELS, side, side, side, device=clock.device)
    image = image.to(memory_format=torch.channels_last_3d)
    label = torch.randint(0, CLASSES, (BATCH, output, output, output), device=clock.device)

    def step() -> None:
        optimizer.zero_grad()
        with clock.autocast():
            logits = net(image)
        functional.cross_entropy(logits.float(), label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def segmentation(net: DeepMedic, clock: Clock) -> Callable[[], None]:
    """A volume by tiles, as ``medgen predict`` does it."""
    image = np.random.default_rng(0).normal(size=(CHANNELS, VOLUME, VOLUME, VOLUME)).astype(np.float32)
    window = Window(margin=net.margin, align=net.align)
    size = InferenceConfig().tile_size((1, 1, 1), window)

    def predict(tile: Tensor) -> Tensor:
        with clock.autocast():
            logits: Tensor = net(tile)
        return logits.float().softmax(1)

    def run() -> None:
        predict_tiles(predict, image, size=size, window=window, channels=CLASSES, device=clock.device)

    return run


def row(preset: PresetName, clock: Clock, fastest: float) -> str:
    """One line of the table."""
    net = DeepMedic(CHANNELS, CLASSES, preset=preset).to(clock.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    cells = [preset, clock.precision, f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M"]
    output = OUTPUTS[preset]
    for amount, training, run in (
        (BATCH, True, training_step(net.train(), output, clock)),
        (VOLUME**3, False, segmentation(net, clock)),
    ):
        net.train(training)
        floor = count_operations(net, run, training=training) / fastest
        seconds = clock.best(run)
        cells += [f"{output}^3"] if training else []
        cells += [f"{amount / seconds:,.{0 if amount > seconds * 100 else 1}f}", f"{floor / seconds:.0%}"]
    return "| " + " | ".join(cells) + " |"


def machine(clock: Clock) -> str:
    """What the numbers were measured on."""
    if clock.device.type == "cuda":
        return torch.cuda.get_device_name(clock.device)
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {clock.threads} of {os.cpu_count()} threads"


def main() -> None:
    """Measure every preset in every precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(OUTPUTS), choices=list(OUTPUTS))
    parser.add_argument("--precision", nargs="+", default=["32", "bf16"], choices=["32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    clocks = [Clock(device, arguments.threads, arguments.repeats, precision) for precision in arguments.precision]
    fastest = {clock.precision: peak(clock) for clock in clocks}
    peaks = ", ".join(f"{value / 1e9:,.0f} GFLOP/s in {precision}" for precision, value in fastest.items())
    print(f"{machine(clocks[0])}; torch {torch.__version__}; largest matrix product {peaks}.\n")
    print("| preset | precision | weights | segment | segments/s, training | of the floor | voxels/s | of the floor |")
    print("|---|---|---|---|---|---|---|---|")
    for clock in clocks:
        for preset in arguments.presets:
            print(row(preset, clock, fastest[clock.precision]))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
