"""The run whose weights another one starts from: ``--init-from``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medgen.cases.phantoms import phantom_notice
from medgen.config import Config
from medgen.errors import ModelError, UsageError
from medgen.files import sha256, storage_errors, write_json
from medgen.methods.base import Method, Shape, stages_of
from medgen.recipe.settings import Recipe
from medgen.run.plan import Plan
from medgen.training.checkpoint import load_weights, save_weights
from medgen.training.model_folder import by_stage, read_weights
from medgen.training.transfer import Match, compare, in_words
from medgen.training.unfinished import FILE, load_unfinished

_RECORD = "checkpoints/init_from.json"
_WEIGHTS = "checkpoints/init_from.safetensors"
"""A copy: a stage that begins after a break must start as it would have without, wherever the origin is by then."""
FILES = (_RECORD, _WEIGHTS)


@dataclass(frozen=True, eq=False)
class Origin:
    """Weights to start from.

    Attributes:
        record: for ``run.json`` and ``model.json``: ``run`` (name without path), ``method``, ``weights_sha256`` of its
            model, ``phantoms`` (whether it learnt from them), ``tensors`` (by network of the new run, how many were
            ``taken`` and ``of`` how many) and, of a run that had not ended, ``unfinished``.
        stages: by stage of its cascade, tensors by name.
        known: ``preparation``, ``classes`` and ``config`` of its ``model.json``.
    """

    record: dict[str, Any]
    stages: tuple[Mapping[str, Tensor], ...]
    known: Mapping[str, Any]

    def stage(self, number: int) -> Mapping[str, Tensor]:
        """What a stage of the new cascade starts from: the same stage, or the last."""
        return self.stages[min(number, len(self.stages) - 1)]

    def planned(self, plan: Plan, kind: type[Method], config: Config, shape: Shape) -> Plan:
        """The plan with what each stage takes, which is kept in the record.

        Args:
            plan: of the new run.
            kind: its method.
            config: of the method.
            shape: of its first network, with its context where it has one.

        Raises:
            UsageError: a stage takes no weight.
        """
        found = self._matches(kind, config, shape)
        counts = {
            name: (len(each.taken), len(each.taken) + len(each.other_shape) + len(each.without))
            for name, each in found.items()
        }
        self.record["tensors"] = {name: {"taken": taken, "of": of} for name, (taken, of) in counts.items()}
        lines = []
        for name, (taken, of) in counts.items():
            lines.append(f"{name} takes {taken} of {of} tensors from '{self.record['run']}' ({self.record['method']})")
            lines += [f"{name}: {line}" for line in in_words(found[name])]
        return replace(plan, start=tuple(lines))

    def unlike(self, settings: Recipe) -> list[str]:
        """How its images were prepared otherwise than those of a recipe, a phrase for each setting."""
        prepared = self.known.get("preparation") or {}
        there = dict(prepared.get("config") or {})
        here = settings.preparation.model_dump(mode="json")
        if "inputs" in (roles := prepared.get("roles") or {}):
            there["inputs"], here["inputs"] = roles["inputs"], list(settings.data.inputs)
        if "hidden" in (config := self.known.get("config") or {}) and "hidden" in settings.config:
            there["config.hidden"], here["config.hidden"] = config["hidden"], settings.config["hidden"]
        if (classes := self.known.get("classes")) and settings.data.classes:
            there["classes"], here["classes"] = classes, list(settings.data.classes)
        return [
            f"{key} is {_text(there[key])} there and {_text(here[key])} here"
            for key in here
            if key in there and there[key] != here[key]
        ]

    def _matches(self, kind: type[Method], config: Config, shape: Shape) -> dict[str, Match]:
        found = {}
        for stage in range(stages_of(config)):
            with torch.random.fork_rng(devices=[]):  # weights are drawn, and thrown away
                method = kind(config, shape.with_context() if stage else shape)
            try:
                found[f"stage{stage}"] = compare(method, self.stage(stage))
            except UsageError as error:
                raise UsageError(error.what, where=self.record["run"], fix=error.fix) from None
        return found


def origin_of(folder: Path, init_from: str | Path | None, *, resume: bool) -> Origin | None:
    """What a run starts from; a run that is resumed, what it started from.

    Args:
        folder: of the run.
        init_from: another run, or its model folder.
        resume: whether the run in ``folder`` goes on.

    Raises:
        UsageError: the run that is resumed started from something else.
        ModelError: the other run has no weights, or they are damaged.
    """
    given = None if init_from is None else _read(Path(init_from))
    if not resume or not (folder / "recipe.yaml").is_file():
        return given
    kept = _kept(folder)
    if given is not None and (kept is None or kept.record["weights_sha256"] != given.record["weights_sha256"]):
        began = f"from other weights (of '{kept.record['run']}')" if kept else "from none"
        raise UsageError(
            f"--init-from names '{given.record['run']}', and this run started {began}",
            where=folder,
            fix="leave --init-from out to resume, or start a new run in another folder",
        )
    return kept


def copy_origin(folder: Path, origin: Origin) -> None:
    """Copy the weights into the folder of a run that starts from them; :func:`record_origin` says then whose."""
    named = {
        f"stage{stage}.{name}": tensor.contiguous()
        for stage, tensors in enumerate(origin.stages)
        for name, tensor in tensors.items()
    }
    save_weights(folder / _WEIGHTS, named)


def record_origin(folder: Path, origin: Origin | None) -> None:
    """Keep what a run starts from; None: nothing, and that of an earlier run is removed."""
    if origin is None:
        with storage_errors(folder):
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        return
    digest = sha256(folder / _WEIGHTS)
    write_json(folder / _RECORD, {"record": origin.record, "known": dict(origin.known), "copy_sha256": digest})


def _kept(folder: Path) -> Origin | None:
    """The origin in the folder of a run; None where it began from none, or with an earlier version."""
    path = folder / _RECORD
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record, known, digest = content["record"], content["known"], content["copy_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelError("the file is damaged", where=path, fix="start a new run in another folder") from None
    return Origin(record, tuple(by_stage(load_weights(folder / _WEIGHTS, digest=digest))), known)


def _read(folder: Path) -> Origin:
    inside = folder.resolve().name == "model" and (folder / "model.json").is_file()
    run = folder.resolve().parent if inside else folder
    ended = any((each / "model.json").is_file() for each in (run / "model", run))
    if not ended and (run / "checkpoints" / FILE).is_file():
        stages, content = load_unfinished(run, "last")
    else:
        stages, content = read_weights(folder)
        stages = [_completed(tensors, run / "checkpoints" / f"stage{stage}") for stage, tensors in enumerate(stages)]
    record = {
        "run": run.resolve().name,
        "method": content["method"],
        "weights_sha256": content["weights_sha256"],
        "phantoms": bool(phantom_notice(content)),
        **({"unfinished": content["unfinished"]} if "unfinished" in content else {}),
    }
    return Origin(record, tuple(stages), {key: content.get(key) for key in ("preparation", "classes", "config")})


def _completed(exported: Mapping[str, Tensor], place: Path) -> dict[str, Tensor]:
    """The tensors of a model, with those that it does not hold, such as of a discriminator, where its run has them."""
    note = place / "done.json"
    if not note.is_file():
        return dict(exported)
    try:
        digest = str(json.loads(note.read_text(encoding="utf-8"))["weights_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError):
        fix = "copy the run again, or start from its model folder alone in another place"
        raise ModelError("the file is damaged", where=note, fix=fix) from None
    return {**load_weights(place / "final.safetensors", digest=digest), **exported}


def _text(value: object) -> str:
    if not isinstance(value, list):
        return str(value)
    return (", " if any(isinstance(each, str) for each in value) else " x ").join(map(str, value))
