"""What medgen's training loop costs beside a plain PyTorch loop of the same networks, for every method.

Both loops ask the same method for the same updates of the same batch. The plain one takes the gradients, steps the
optimiser and nothing else; medgen's also reseeds, skips what is not finite, watches and records. Steps of the two
alternate, first one and then the other in front, so that other work on the machine meets both; the ratio is that of
neighbours. Both train one and the same method, each with its own optimisers, so that neither has the better place in
memory. On a CPU the processor time of one thread counts. ``--control`` puts a second plain loop in medgen's place: what
it differs by is noise.

    python pipelines/speed/step.py --machine "Intel Xeon, one thread" --out docs/results/speed
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import date
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from medgen.errors import MedgenError
from medgen.methods.base import Method, Shape, Update
from medgen.methods.catalogue import create, method_names, resolve
from medgen.recipe.settings import Schedule
from medgen.training.engine import Engine
from medgen.training.loop import train

STEPS, START = 10_000, 9_000
"""Steps of the schedule and where it is measured: late, when every network takes part and a grown one is whole."""
SIDES = (32, 40, 48, 64, 96)
WARM = 3
LIMIT = 0.03


def largest(name: str) -> Method:
    """The method with its defaults, on the smallest patch of at least 32 voxels that its window allows."""
    kind, error = resolve(name), ""
    dimensions, channels = max(kind.dimensions), 2 if kind.batch_class.task().labels else 1
    for side in SIDES:
        torch.manual_seed(0)
        try:
            method = create(name, {}, Shape(channels, channels, (side,) * dimensions))
        except MedgenError as refused:
            error = str(refused)
            continue
        if side >= max(method.window.smallest(dimensions)) and not side % method.window.multiple:
            return method
    raise SystemExit(f"no side of {SIDES} suits {name}: {error}")


def batch_for(method: Method, count: int, seed: int) -> Any:
    """A batch of noise on coarse shapes, with whole masks and labels of two classes."""
    generator, size = torch.Generator().manual_seed(seed), method.shape.size
    coarse = torch.randn(count * method.draws, 1, *[4] * len(size), generator=generator)
    smooth = nn.functional.interpolate(coarse, size=size, mode="trilinear" if len(size) == 3 else "bilinear")
    x = (smooth + 0.1 * torch.randn(len(smooth), method.shape.inputs, *size, generator=generator)).tanh()
    ones = torch.ones_like(x[:, :1])
    special = {"mask": ones, "body": ones, "target_mask": ones, "label": (x[:, :1] > 0).long()}
    fields = enumerate(method.batch_class._fields)
    return method.batch_class(*(special.get(field, x.roll(i, 2)) for i, field in fields))


def plain(method: Method, batch: Any, engine: Engine) -> Iterator[None]:
    """A loop that trains and does nothing else."""
    optimizers = method.optimizers()
    owned = {name: [p for group in o.param_groups for p in group["params"]] for name, o in optimizers.items()}
    method.train()
    for step in range(START, STEPS):
        updates = method.updates(batch, step / STEPS)
        while True:
            with engine.autocast():
                asked = next(updates, None)
            if asked is None:
                break
            joint = (asked,) if isinstance(asked, Update) else asked
            for number, update in enumerate(joint, start=1):
                optimizers[update.optimizer].zero_grad()
                total = sum(update.losses.values())
                keep = number < len(joint)
                torch.autograd.backward(total, inputs=owned[update.optimizer], retain_graph=keep)
            for update in joint:
                optimizers[update.optimizer].step()
        yield


def seconds(step: Callable[[], object], engine: Engine) -> float:
    """Of one step: processor time of this process, or the clock's time on an accelerator."""
    cuda = engine.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = clock()
    step()
    if cuda:
        torch.cuda.synchronize()
    return clock() - start


def compare(name: str, options: argparse.Namespace, engine: Engine) -> dict[str, Any]:
    """One row: median times of a step, and the ratios of neighbours."""
    method = largest(name)
    engine.place(method)
    batch = engine.to_device(batch_for(method, options.batch, options.seed))
    schedule = Schedule(steps=STEPS, batch=options.batch)
    house = train(method, method.optimizers(), repeat(batch), schedule, engine, start=START, seed=options.seed)
    loop: Iterator[object] = plain(method, batch, engine) if options.control else house
    bare = plain(method, batch, engine)
    torch.manual_seed(options.seed)
    begun = time.process_time()
    for _ in range(WARM):
        next(loop)
        next(bare)
        if time.process_time() - begun > options.seconds:
            break
    ours, theirs, begun = list[float](), list[float](), time.process_time()
    for pair in range(options.pairs):
        if pair >= options.least and time.process_time() - begun > options.seconds:
            break
        both: list[tuple[list[float], Iterator[object]]] = [(ours, loop), (theirs, bare)]
        for times, steps in both if pair % 2 else both[::-1]:
            times.append(seconds(lambda steps=steps: next(steps), engine))  # type: ignore[misc]
    ratios = sorted(one / two for one, two in zip(ours, theirs, strict=True))
    return {
        "method": name,
        "size": list(method.shape.size),
        "weights": sum(p.numel() for p in method.parameters()),
        "tensors": len(list(method.parameters())) + len(list(method.buffers())),
        "plain_ms": 1000 * median(theirs),
        "medgen_ms": 1000 * median(ours),
        "overhead": median(ratios) - 1,
        "quartiles": [ratios[len(ratios) // 4] - 1, ratios[-1 - len(ratios) // 4] - 1],
        "range": [ratios[0] - 1, ratios[-1] - 1],
        "pairs": len(ratios),
    }


def markdown(result: dict[str, Any]) -> str:
    """The page: one line a method."""
    rows = result["rows"]
    under = sum(row["overhead"] < LIMIT for row in rows)
    lines = [
        "# The training loop beside a plain one",
        "",
        f"Measured on {result['date']} by `pipelines/speed/step.py` on {result['machine']}; torch {result['torch']}, "
        f"precision {result['precision']}, batch {result['batch']}, seed {result['seed']}.",
        f"{under} of {len(rows)} methods stay under {LIMIT:.0%}. Overhead is the median of the ratios of neighbouring "
        "steps, less 1.",
        "",
        "| method | patch | weights | tensors | plain, ms | medgen, ms | overhead | quartiles | range | pairs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        side, axes = row["size"][0], len(row["size"])
        spans = " | ".join(f"{low:+.1%} to {high:+.1%}" for low, high in (row["quartiles"], row["range"]))
        lines.append(
            f"| `{row['method']}` | {side}^{axes} | {row['weights'] / 1e6:.2f} M | {row['tensors']} "
            f"| {row['plain_ms']:.1f} | {row['medgen_ms']:.1f} | {row['overhead']:+.1%} | {spans} | {row['pairs']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all methods; write ``step.json`` and ``step.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="all by default; the rows of others in --out stay")
    parser.add_argument("--machine", default="this machine", help="what the table says of it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="32", choices=["32", "bf16"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--least", type=int, default=3, help="pairs of a method however slow it is")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a method, after which no more pairs begin")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", action="store_true", help="measure a second plain loop in place of medgen's")
    parser.add_argument("--out", type=Path, help="folder of step.json and step.md; printed otherwise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine(options.device, precision=options.precision)
    kept = {key: getattr(options, key) for key in ("machine", "precision", "batch", "seed")}
    result: dict[str, Any] = {"date": date.today().isoformat(), "torch": torch.__version__, **kept, "rows": []}
    names = options.methods or method_names()
    if options.methods and options.out and (options.out / "step.json").exists():
        old = json.loads((options.out / "step.json").read_text(encoding="utf-8"))
        if {key: old[key] for key in kept} == kept:
            result["rows"] = [row for row in old["rows"] if row["method"] not in names]
    for name in names:
        result["rows"].append(compare(name, options, engine))
        print(markdown(result).splitlines()[-1], flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / "step.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            (options.out / "step.md").write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
