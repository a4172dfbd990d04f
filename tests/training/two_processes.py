"""Run by test_engine.py in each of two processes: three steps, then the weights and the first gradients to a file."""

import atexit
import sys
from pathlib import Path

import torch

from medgen.config import build
from medgen.methods.base import Shape
from medgen.methods.catalogue import resolve
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Paired
from medgen.training.engine import Engine
from medgen.training.loop import train


def batches(rank: int, world: int, steps: int = 3) -> list[Paired]:
    """The share of one process of four patches a step."""
    generator = torch.Generator().manual_seed(0)
    whole = [torch.randn(4, 1, 16, 16, 16, generator=generator).tanh() for _ in range(steps)]
    return [Paired(x[rank::world], x.roll(1, 4)[rank::world], *[torch.ones_like(x[rank::world])] * 2) for x in whole]


def run(engine: Engine, method_name: str, generator: str, norm: str) -> dict[str, torch.Tensor]:
    """Weights after three steps, with the gradients of the first one under ``gradient.``."""
    kind = resolve(method_name)
    # Equal weights: a mean over voxels of unequal weight is one of each process.
    config = {"generator": generator, "width": 0.125, "norm": norm, "tissue_weights": (1, 1, 1)}
    torch.manual_seed(engine.rank)  # the processes start from different weights, and must end with equal ones
    method = kind(build(kind.config_class, config), Shape(1, 1))
    if engine.world == 1:
        torch.manual_seed(0)
        method = kind(method.config, Shape(1, 1))
    engine.place(method)
    first = {}
    for record in train(
        method, method.optimizers(), batches(engine.rank, engine.world), Schedule(steps=3, batch=4), engine
    ):
        if record.step == 0:
            first = {f"gradient.{n}": p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
    return {**{n: t.clone() for n, t in method.state_dict().items()}, **first}


def unused(engine: Engine) -> dict[str, torch.Tensor]:
    """One step of Adam on three parameters, of which each process uses one, and none the third."""
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(3)]
    adam = torch.optim.Adam(parameters, lr=0.1)
    parameters[engine.rank].square().sum().backward()
    engine.average_gradients(parameters)
    adam.step()
    counts = [adam.state[each].get("step", torch.zeros(())) for each in parameters]
    return {"steps": torch.stack(counts), "values": torch.cat([each.detach() for each in parameters])}


def ended(path: Path) -> None:
    """Write whether the process group had been left when Python ended."""
    path.write_text("left" if not torch.distributed.is_initialized() else "still in the group")


if __name__ == "__main__":
    torch.set_num_threads(1)
    atexit.register(lambda: ended(Path(sys.argv[1], f"{engine.rank}.txt")))  # runs after what is registered later
    engine = Engine("cpu", devices=2)
    result = unused(engine) if sys.argv[2] == "unused" else run(engine, *sys.argv[2:5])
    torch.save(result, f"{sys.argv[1]}/{engine.rank}.pt")
