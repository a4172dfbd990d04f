"""What share of DeepMedic's time its convolutions take, before and after a change; prints a Markdown table.

Three things alternate in one process: the network of another checkout, the network of this one, and the convolutions
alone, on noise of the same shapes, channels last: forward, and in training both products of the gradient (of the
image none is needed). The share is the time of the convolutions alone, as this checkout computes them, divided by
the time of the whole. Processor time of one thread counts, and the numbers are medians of the ratios of a round, so
other work on the machine does less harm.

    git worktree add ../before 2c2d602
    python pipelines/speed/convolution_share.py --against ../before
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medgen.inference.tiles import predict_tiles
from medgen.methods.base import Window
from medgen.networks.deepmedic import DeepMedic, PresetName
from medgen.recipe.prediction import InferenceConfig
from medgen.training.engine import channels_last

CHANNELS, CLASSES, BATCH = 5, 2, 10
OUTPUTS: dict[PresetName, int] = {"small": 15, "res2016": 9}
"""Side of what a training segment predicts."""
VOLUME = (72, 84, 72)
LAYER = tuple[nn.Conv3d, tuple[int, ...]]


def network_of(checkout: Path) -> Any:
    """The class ``DeepMedic`` of another checkout."""
    names = [f"medgen.networks.{name}" for name in ("blocks", "deepmedic")]
    ours = {name: sys.modules.pop(name) for name in names}
    for name in names:
        spec = importlib.util.spec_from_file_location(name, checkout / f"{name.replace('.', '/')}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    theirs = sys.modules[names[1]].DeepMedic
    sys.modules.update(ours)
    return theirs


def training_step(net: Any, output: int) -> Callable[[], object]:
    """Forward, cross-entropy, backward, on a batch that is there already."""
    side = output + 2 * net.margin
    image = torch.randn(BATCH, CHANNELS, side, side, side).to(memory_format=torch.channels_last_3d)
    label = torch.randint(0, CLASSES, (BATCH, output, output, output))

    def step() -> None:
        net.zero_grad()
        functional.cross_entropy(net(image), label).backward()  # type: ignore[no-untyped-call]

    return step


def segmentation(net: Any) -> Callable[[], object]:
    """A volume by tiles, as ``medgen predict`` does it."""
    image = np.random.default_rng(0).normal(size=(CHANNELS, *VOLUME)).astype(np.float32)
    window = Window(margin=net.margin, align=net.align)
    size = InferenceConfig().tile_size((1, 1, 1), window)
    return lambda: predict_tiles(lambda tile: net(tile).softmax(1), image, size=size, window=window, channels=CLASSES)


def layers_of(net: nn.Module, run: Callable[[], object]) -> list[LAYER]:
    """Every convolution of one run, with the shape that it read."""
    found: list[LAYER] = []

    def note(module: nn.Conv3d, given: tuple[Tensor, ...], _: Tensor) -> None:
        found.append((module, tuple(given[0].shape)))

    hooks = [each.register_forward_hook(note) for each in net.modules() if isinstance(each, nn.Conv3d)]  # type: ignore[arg-type]
    run()
    for hook in hooks:
        hook.remove()
    return found


def seconds(run: Callable[[], object]) -> float:
    """Processor time."""
    start = time.process_time()
    run()
    return time.process_time() - start


def alone(layers: list[LAYER], *, training: bool) -> float:
    """Processor time of the convolutions, one by one."""
    total = 0.0
    for convolution, shape in layers:
        given = torch.randn(shape).to(memory_format=torch.channels_last_3d)
        with torch.inference_mode(not training):
            if not training:
                total += seconds(lambda c=convolution, x=given: c(x))  # type: ignore[misc]
                continue
            given.requires_grad_(convolution.in_channels != CHANNELS)
            start = time.process_time()
            made = convolution(given)
            total += time.process_time() - start
            gradient = torch.randn_like(made)
            total += seconds(lambda y=made, g=gradient: y.backward(g))  # type: ignore[misc]
    return total


def row(preset: PresetName, theirs: Any, *, training: bool, rounds: int) -> str:
    """One line of the table."""
    torch.manual_seed(0)
    nets = [channels_last(kind(CHANNELS, CLASSES, preset=preset).train(training)) for kind in (theirs, DeepMedic)]
    before, after = (training_step(net, OUTPUTS[preset]) if training else segmentation(net) for net in nets)
    layers = layers_of(nets[1], after)
    before()
    times = []
    for number in range(rounds):
        runs = [lambda: seconds(before), lambda: alone(layers, training=training), lambda: seconds(after)]
        order = (0, 1, 2) if number % 2 else (2, 1, 0)
        measured = {which: runs[which]() for which in order}
        times.append([measured[which] for which in range(3)])
    share = [median(each[1] / each[which] for each in times) for which in (0, 2)]
    cells = [
        "training step" if training else "volume",
        preset,
        *(f"{median(each[which] for each in times):.2f}" for which in (0, 2, 1)),
        f"{median(each[2] / each[0] for each in times):.2f}",
        *(f"{value:.0%}" for value in share),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure both presets in training and in inference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="a checkout of the state before")
    parser.add_argument("--presets", nargs="+", default=list(OUTPUTS), choices=list(OUTPUTS))
    parser.add_argument("--what", nargs="+", default=["training", "volume"], choices=["training", "volume"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    theirs = network_of(arguments.against)
    print(f"{platform.processor() or platform.machine()}, one thread, single precision; torch {torch.__version__}.\n")
    print("| what | preset | before, s | after, s | convolutions, s | after / before | share before | share after |")
    print("|---|---|---|---|---|---|---|---|")
    for what in arguments.what:
        for preset in arguments.presets:
            print(row(preset, theirs, training=what == "training", rounds=arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
