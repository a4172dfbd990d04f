"""Methods outside medgen whose samples and codes can be checked by hand, and models of them on disk."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from medgen.files import sha256, write_json
from medgen.methods.base import Method, Shape
from medgen.training.checkpoint import save_weights
from medgen.training.model_folder import save_model

NOISE, MEANS, JUDGE = "toy_samplers.noise", "toy_samplers.means", "toy_samplers.judge"
LINEAR = "toy_samplers.linear"


def save_toy(
    run: Path,
    name: str,
    *,
    inputs: Sequence[str] = ("t1",),
    size: Sequence[int] = (8, 10, 6),
    plane: str = "axial",
    sampling: str = "uniform",
    config: dict[str, Any] | None = None,
    mask: str | None = None,
    **preparation: Any,
) -> Path:
    """A run folder with a model, as training leaves it; ``preparation`` are keys of the recipe."""
    kind = import_module(name).METHOD
    method = kind(kind.config_class(**(config or {})), Shape(len(inputs), len(inputs), tuple(size)))
    options = {"inputs": inputs, "plane": plane, "sampling": sampling, "mask": mask, **preparation}
    return save_made(run, name, method, **options)


def save_made(
    run: Path,
    name: str,
    method: Method,
    *,
    inputs: Sequence[str] = ("t1",),
    plane: str = "axial",
    sampling: str = "uniform",
    mask: str | None = None,
    **preparation: Any,
) -> Path:
    """The same with a method that is made already."""
    size = method.shape.size
    description = {
        "method": name,
        "task": "generation",
        "preparation": {"roles": {"inputs": list(inputs), "mask": mask}, "config": {"spacing": None, **preparation}},
        "inference": {},
        "patches": list(size),
        "recipe": {
            "patches": {"size": list(size), "plane": plane, "sampling": sampling, "augmentation": {"flip": ["x"]}}
        },
    }
    save_model(run / "model", [method], description)
    place = run / "checkpoints" / "stage0"
    save_weights(place / "final.safetensors", method.state_dict())
    write_json(place / "done.json", {"weights_sha256": sha256(place / "final.safetensors")})
    return run
