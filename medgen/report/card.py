"""The card of a model: what it is for, what it learnt from, how well it does, and where it must not be trusted.

One source of facts, ``model.json``, ``run.json`` and files of scores, and two forms: Markdown with the metadata that
Hugging Face reads, and the fields of MONAI's ``metadata.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from medgen.cases import columns_of
from medgen.cases.phantoms import phantom_notice
from medgen.errors import ModelError
from medgen.files import sha256, write_json
from medgen.methods.catalogue import resolve
from medgen.report.content import read_json
from medgen.report.score_files import found_name, scores_in, scores_of_weights
from medgen.shipped import names
from medgen.training.model_folder import model_folder, read_model

RESEARCH = "Research software. Not for clinical use, and not a medical device."
_TASKS = {
    "synthesis": "makes an image from others",
    "segmentation": "labels voxels",
    "generation": "samples images",
    "translation": "translates images in both directions",
}
_HUGGING_FACE = {
    "synthesis": "image-to-image",
    "segmentation": "image-segmentation",
    "generation": "unconditional-image-generation",
}
"""Its names of tasks."""
_SHOWN = ("dice", "mae", "ssim", "psnr", "auroc", "ap", "score", "hd95", "nsd", "recall", "precision", "me")
_UNITS = {"mae": "HU", "me": "HU", "hd95": "mm", "psnr": "dB"}


@dataclass(frozen=True)
class Card:
    """Facts of a model.

    Attributes:
        name: of the run.
        content: of ``model.json``.
        run: of ``run.json``; empty where only the model folder is there.
        sha256: of the weights, as computed now.
        scores: by name of the file, its ``task`` and ``summary``.
        summary: what the model is, or else what its method is in the words of its module.
    """

    name: str
    content: Mapping[str, Any]
    run: Mapping[str, Any]
    sha256: str
    scores: Mapping[str, Mapping[str, Any]]
    summary: str

    @property
    def licence(self) -> str:
        """Terms of the weights, or ``not stated``."""
        return str((self.content.get("provenance") or {}).get("licence", "not stated"))

    @property
    def inputs(self) -> list[str]:
        """Images that the model reads."""
        return list(self.content["preparation"]["roles"]["inputs"])

    @property
    def task(self) -> str:
        """What it makes."""
        return str(self.content.get("task", "synthesis"))

    @property
    def limits(self) -> list[str]:
        """Where it must not be trusted."""
        data = (self.content.get("provenance") or {}).get("data") or {}
        count = int((data.get("train") or {}).get("cases", 0))
        found = [RESEARCH, *filter(None, [phantom_notice(self.content)])]
        found += [f"{each['what'] if isinstance(each, Mapping) else each}" for each in self.run.get("warnings", ())]
        if unfinished := self.content.get("unfinished"):
            found.append(f"The training had not ended: {unfinished}.")
        if count < 50:
            found.append(f"It learnt from {count} cases: other scanners, protocols and patients are not covered.")
        if not self.scores:
            found.append("No score stands here: nothing is known of how well it does.")
        found.append(
            "It warns of images unlike those of the training, and of implausible results; it cannot warn of all."
        )
        return found


def read_card(run: str | Path, scores: Sequence[str | Path] = ()) -> Card:
    """Collect the facts of a model.

    Args:
        run: the run folder, or its ``model`` folder.
        scores: files of ``medgen evaluate``; by default those named ``scores*.json`` in the model folder, or else those
            in the run folder that it is in, without those of other weights.

    Raises:
        ModelError: the model is missing or damaged, or its weights are not those that ``model.json`` names.
        InputError: a file of scores is none, or one that was named has the scores of other weights.
    """
    run = Path(run)
    folder = model_folder(run)
    content = read_model(folder)
    digest = sha256(folder / "weights.safetensors")
    if digest != content.get("weights_sha256"):
        raise ModelError("the weights are not those that model.json names", where=folder, fix="copy the model again")
    manifest = folder.parent / "run.json" if folder.name == "model" else run / "run.json"
    facts = read_json(manifest) if manifest.is_file() else {}
    found = scores_of_weights(digest, folder, [Path(each) for each in scores])
    kind = resolve(str(content["method"])) if "." not in str(content["method"]) else None
    method = (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()[0] if kind else "a method of one's own"
    summary = _sentence(str(content["summary"])) if "summary" in content else method
    name = folder.resolve().parent.name if folder.name == "model" else folder.resolve().name
    return Card(name, content, facts, digest, found, summary)


def write_scores(card: Card, folder: Path) -> None:
    """Put the scores into a model folder, where :func:`read_card` finds them: task and means, and no case.

    Args:
        card: of the model.
        folder: its folder; files of scores that are there are removed.
    """
    for old in scores_in(folder):
        old.unlink()
    for name, each in card.scores.items():
        write_json(folder / found_name(name), each)


def as_markdown(card: Card) -> str:
    """The card as Markdown, with the metadata of Hugging Face's model cards on top."""
    front = yaml.safe_dump(_metadata(card), sort_keys=False, allow_unicode=True).strip()
    parts = [
        f"---\n{front}\n---",
        f"# {card.name}",
        f"**{RESEARCH}**",
        f"{card.summary} The model {_TASKS.get(card.task, card.task)}.",
        _table("Model", _facts(card)),
        _table("Data", _data(card)),
        "## Scores\n\n" + ("\n\n".join(_scored(name, each) for name, each in card.scores.items()) or "None."),
        "## Limits\n\n" + "\n".join(f"* {each}" for each in card.limits),
        f"## Use\n\n```bash\n{_command(card)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _command(card: Card) -> str:
    if card.task == "generation":
        return "medgen sample RUN -o samples"
    images = " ".join(f"-i {columns_of(role)[0]}=FILE" for role in card.inputs)
    return f"medgen predict {card.name if card.name in names() else 'RUN'} {images} -o RESULT.nii.gz"


def as_monai(card: Card) -> dict[str, Any]:
    """The fields of MONAI's ``metadata.json`` that say what a model is."""
    return {
        "version": str(card.content.get("medgen")),
        "name": card.name,
        "task": f"{_TASKS.get(card.task, card.task)} ({card.content['method']})",
        "description": card.summary,
        "copyright": card.licence,
        "intended_use": RESEARCH,
        "data_source": "; ".join(f"{name}: {value}" for name, value in _data(card)),
        "eval_metrics": {
            f"{name}: {metric}": each["summary"][metric]["mean"]
            for name, each in card.scores.items()
            for metric in _SHOWN
            if metric in each["summary"]
        },
    }


def _metadata(card: Card) -> dict[str, Any]:
    found: dict[str, Any] = {
        "library_name": "medgen",
        "license": card.licence if card.licence != "not stated" else "unknown",
        "tags": ["medical-imaging", "3d", card.task, str(card.content["method"]), "not-for-clinical-use"],
    }
    results = [
        {"type": metric, "name": f"{metric} ({name})", "value": each["summary"][metric]["mean"]}
        for name, each in card.scores.items()
        for metric in _SHOWN
        if metric in each["summary"]
    ]
    if results:
        dataset = {"name": "test cases of the run", "type": "local"}
        entry = {"task": {"type": _HUGGING_FACE.get(card.task, "other")}, "dataset": dataset, "metrics": results}
        found["model-index"] = [{"name": card.name, "results": [entry]}]
    return found


def _facts(card: Card) -> list[tuple[str, str]]:
    preparation, shape = card.content["preparation"]["config"], card.content["shape"]
    spacing = preparation.get("spacing")
    return [
        ("method", f"`{card.content['method']}`"),
        ("reads", ", ".join(f"`{role}`" for role in card.inputs)),
        ("classes", ", ".join(card.content.get("classes") or ()) or "none"),
        ("voxels", f"{' x '.join(f'{each:g}' for each in spacing)} mm" if spacing else "those of the image"),
        ("patches", " x ".join(map(str, shape["size"]))),
        ("licence of the weights", card.licence),
        ("weights (SHA-256)", f"`{card.sha256}`"),
        ("made with", f"medgen {card.content.get('medgen')}, seed {(card.content.get('recipe') or {}).get('seed')}"),
        ("card of", date.today().isoformat()),
    ]


def _data(card: Card) -> list[tuple[str, str]]:
    data = (card.content.get("provenance") or {}).get("data") or {}
    rows = [(f"{split} cases", _counted(each)) for split, each in data.items()]
    notice = phantom_notice(card.content)
    return [*rows, ("patients", notice or "no phantom is known to be among the cases")]


def _counted(each: Mapping[str, Any]) -> str:
    domains = each.get("domains") or {}
    told = ", ".join(f"{count} {name}" for name, count in domains.items())
    return f"{each.get('cases', 0)}" + (f" ({told})" if told else "")


def _scored(name: str, each: Mapping[str, Any]) -> str:
    rows = []
    for metric in _shown(each["summary"]):
        found = each["summary"][metric]
        low, high = found.get("ci95") or (None, None)
        interval = f"[{low:.4g}, {high:.4g}]" if low is not None and high is not None else "too few cases"
        mean = "none" if found["mean"] is None else f"{found['mean']:.4g} {_UNITS.get(metric, '')}".strip()
        rows.append(f"| {metric} | {mean} | {interval} | {found['n']} |")
    return "\n".join([f"`{name}`:", "", "| metric | mean | 95 % interval | cases |", "|---|---|---|---|", *rows])


def _shown(summary: Mapping[str, Any]) -> list[str]:
    """The metrics of a card, the Dice of each class after that of all."""
    known = [name for name in _SHOWN if name in summary]
    return known[:1] + [name for name in summary if name.startswith("dice_")] + known[1:]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        [f"## {title}", "", "| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)]
    )


def _cell(value: str) -> str:
    """A value whose bars do not end the cell."""
    return value.replace("|", "\\|")
