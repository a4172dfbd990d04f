"""The networks of a run that has not ended, from its checkpoints."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from medgen.errors import ModelError, UsageError
from medgen.files import sha256, write_json
from medgen.training.checkpoint import load_checkpoint, load_weights
from medgen.types import Checkpoint

FILE = "model.json"
"""In ``RUN/checkpoints``: what ``model.json`` will say, known when the training begins."""
_AVERAGE = "module."

log = logging.getLogger(__name__)


class Unfinished(NamedTuple):
    """A network of a run that has not ended.

    Attributes:
        weights: by name.
        step: of the schedule, after which these were the weights.
        digest: of the file that they are from.
    """

    weights: dict[str, Tensor]
    step: int
    digest: str


def save_description(run: Path, description: Mapping[str, Any]) -> None:
    """Keep what prediction needs besides weights, for as long as there is no model."""
    write_json(run / "checkpoints" / FILE, description)


def load_unfinished(run: Path, which: Checkpoint) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
    """The weights of the stages that a run has so far, and the content of its ``model.json``.

    A cascade whose later stages have not begun is one of fewer stages. ``unfinished`` of the content says which
    checkpoint was asked for, the step of each network and the steps of the schedule.

    Args:
        run: the folder of ``medgen train --out``.
        which: of the network that is in training; the others are done.

    Raises:
        UsageError: the run has ended.
        ModelError: there is no checkpoint, all are damaged, or none of ``which``.
    """
    if (run / "model" / "model.json").is_file():
        raise UsageError("this run has ended, and has a model", where=run, fix="leave --checkpoint out")
    description = _read(run)
    stages = int(description["stages"])
    found: dict[str, Unfinished] = {}
    for stage in range(stages):
        name = f"stage{stage}"
        network = _network(run / "checkpoints" / name, which)
        if network is None:
            break
        found[name] = network
    if not found:
        raise _nothing(run)
    steps = {name: network.step for name, network in found.items()}
    of = int(description["recipe"]["schedule"]["steps"])
    told = ", ".join(f"{name} at step {step}" for name, step in steps.items())
    log.warning("the training has not ended: %s of %d; its %s checkpoint is used", told, of, which)
    digest = hashlib.sha256(" ".join([which, *(network.digest for network in found.values())]).encode()).hexdigest()
    config = description["config"]
    return [network.weights for network in found.values()], {
        **description,
        "config": {**config, "stages": len(found)} if "stages" in config else config,
        "weights_sha256": digest,
        "unfinished": {"checkpoint": which, "networks": steps, "stages": stages, "steps": of},
    }


def unfinished_note(description: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentence on a model from a checkpoint that stands with everything it makes; none of a finished one."""
    facts = description.get("unfinished")
    if not facts:
        return ()
    steps, of = facts["networks"], facts["steps"]
    told = ", ".join(f"{name} at step {step} of {of}" for name, step in steps.items())
    more = f"; {len(steps)} of {facts['stages']} networks of the cascade" if len(steps) < facts["stages"] else ""
    return (f"made by an unfinished training, {facts['checkpoint']} checkpoint: {told}{more}",)


def _network(folder: Path, which: Checkpoint) -> Unfinished | None:
    """A network that is done, or as it was at a checkpoint; None where it has not begun."""
    note = folder / "done.json"
    if note.is_file():
        path, facts = folder / "final.safetensors", json.loads(note.read_text())
        return Unfinished(load_weights(path, digest=facts["weights_sha256"]), facts["steps"], facts["weights_sha256"])
    state = load_checkpoint(folder)
    if state is None:
        return None
    digest = sha256(folder / f"step-{state['step']:08d}.pt")
    if which == "best":
        best = state["keep"]
        if "weights" not in best:
            raise ModelError(
                "no validation has chosen weights yet", where=folder, fix="take --checkpoint last, or resume the run"
            )
        return Unfinished(best["weights"], best["step"], digest)
    averaged = state["average"]
    if averaged is None:
        return Unfinished(state["method"], state["step"], digest)
    inner = {name.removeprefix(_AVERAGE): each for name, each in averaged.items() if name.startswith(_AVERAGE)}
    return Unfinished(inner, state["step"], digest)


def _read(run: Path) -> dict[str, Any]:
    path = run / "checkpoints" / FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise _nothing(run) from None
    except ValueError:
        raise ModelError("the file is damaged", where=path, fix="resume the run: it is written again") from None
    return content


def _nothing(run: Path) -> ModelError:
    return ModelError(
        "there is no checkpoint of an unfinished training here",
        where=run,
        fix="give the folder of 'medgen train --out'; the first checkpoint is written after schedule.save_every steps",
    )
