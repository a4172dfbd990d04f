"""The weights of every validation of a run, to be scored afterwards or to be chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from medgen.errors import InputError
from medgen.training.checkpoint import load_weights, save_weights
from medgen.training.model_folder import load_stages, save_model


def snapshot_path(checkpoints: Path, steps: int) -> Path:
    """Where the weights after ``steps`` steps are, below ``RUN/checkpoints/<part>``."""
    return checkpoints / "snapshots" / f"step-{steps:08d}.safetensors"


def save_snapshot(checkpoints: Path, steps: int, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of one validation."""
    save_weights(snapshot_path(checkpoints, steps), weights)


def list_snapshots(run: str | Path, part: str = "stage0") -> dict[int, Path]:
    """The snapshots of a run, in order, by the step of their lines in ``metrics.jsonl`` (counted from 0)."""
    paths = sorted((Path(run) / "checkpoints" / part / "snapshots").glob("step-*.safetensors"))
    return {int(path.stem.removeprefix("step-")) - 1: path for path in paths}


def write_snapshot_model(run: str | Path, step: int, out: str | Path, part: str = "stage0") -> Path:
    """Make a model folder of a snapshot, for ``medgen predict``.

    Args:
        run: a finished run of one stage.
        step: of the line in ``metrics.jsonl``.
        out: the folder to write.
        part: the network.

    Returns:
        The folder.

    Raises:
        InputError: there is no such snapshot.
    """
    path = list_snapshots(run, part).get(step)
    if path is None:
        raise InputError(
            f"there is no snapshot of step {step}", where=Path(run), fix="train with schedule.snapshots: true"
        )
    stages, description = load_stages(Path(run))
    stages[0].load_state_dict(load_weights(path))
    save_model(Path(out), stages[:1], {**description, "snapshot_step": step})
    return Path(out)
