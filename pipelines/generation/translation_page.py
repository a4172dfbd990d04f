"""Table and pictures of translation.py, from the scores that are there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WAYS = {
    "cyclegan": "CycleGAN, no pairs",
    "paired": "paired GAN, all pairs",
    "identity": "the input as it is",
    "constant": "one value (training median)",
    "histogram": "the input with the values of the target set",
}


def write_page(out: Path, docs: Path, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write ``translation.md``, ``translation.json`` and pictures into ``docs``."""
    docs.mkdir(parents=True, exist_ok=True)
    scores = {
        row.name: json.loads(path.read_text())
        for part in rows.values()
        for row in part
        if (path := out / row.name / "scores.json").is_file()
    }
    if not scores:
        return
    (docs / "translation.json").write_text(json.dumps(scores, indent=1) + "\n")
    facts = next(iter(scores.values()))
    seconds = sum(each["processor_seconds"] for each in scores.values())
    phantom = facts["phantom"]
    lines = [
        "# Translation without pairs",
        "",
        "`python pipelines/generation/translation.py --out runs/translation`: phantom, seed "
        f"{phantom['seed']}, {phantom['subjects']} heads at {phantom['spacing']:g} mm, training seed 0, "
        f"{max(each['date'] for each in scores.values())}, {facts['machine']}, {seconds} s of processor "
        "time in all. One training of each row: differences of a few per cent mean nothing.",
        "",
    ]
    lines += _errors(scores, "MR to CT", "HU", ("ct_cyclegan", "ct_paired"), "mae")
    lines += _errors(scores, "T1 to T2", "% of the range", ("t2_cyclegan", "t2_paired"), "mae")
    lines += _errors(scores, "T2 to T1", "% of the range", ("t2_cyclegan",), "mae_backward", ("t1_paired",))
    lines += _audit(scores)
    notes = Path(__file__).with_name("translation_notes.md")
    lines += [notes.read_text()] if notes.is_file() else []
    (docs / "translation.md").write_text("\n".join(lines).rstrip() + "\n")
    _pictures(out, docs, [name for name in ("ct_cyclegan", "t2_cyclegan", "flair_0", "flair_100") if name in scores])


def _errors(
    scores: Mapping[str, Any], title: str, unit: str, names: Sequence[str], key: str, also: Sequence[str] = ()
) -> list[str]:
    found: dict[str, float] = {}
    for name, wanted in [(name, key) for name in names] + [(name, "mae") for name in also]:
        if name in scores:
            found |= {way: found.get(way, value) for way, value in scores[name][wanted].items()}
    if not found:
        return []
    if unit == "HU":
        found.pop("identity", None)  # normalised MR values are no HU
    lines = [f"## {title}", "", f"| | mean absolute error ({unit}) |", "|---|---|"]
    lines += [f"| {WAYS[way]} | {found[way]:.3g} |" for way in WAYS if way in found]
    return [*lines, ""]


def _audit(scores: Mapping[str, Any]) -> list[str]:
    shares = [share for share in (0, 50, 100) if f"flair_{share}" in scores]
    if not shares:
        return []
    lines = [
        "## Hallucination audit: T1 to FLAIR",
        "",
        "| lesions in the target set | error (% of the range) | lesions | lost | contrast kept | invented in patients "
        "| invented in the healthy | ml invented |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share in shares:
        row = scores[f"flair_{share}"]
        lines.append(_audit_row(f"{share} %", row["mae"]["cyclegan"], row["lesions"]["cyclegan"]))
    row = scores[f"flair_{shares[-1]}"]
    return [*lines, _audit_row("(the T1 as it is)", row["mae"]["identity"], row["lesions"]["identity"]), ""]


def _audit_row(name: str, error: float, found: Mapping[str, Any]) -> str:
    kept = f"{100 * found['contrast_kept']:.0f} %"
    return (
        f"| {name} | {error:.3g} | {found['lesions']} | {found['lost']} | {kept} | {found['invented_in_patients']} | "
        f"{found['invented_in_the_healthy']} | {found['invented_ml']} |"
    )


def _pictures(out: Path, docs: Path, names: Sequence[str]) -> None:
    """Input, translation, histogram match and truth of the first test patient, one row a training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = ("input", "cyclegan", "histogram", "truth")
    for suffix in ("", "_sagittal"):
        figure, axes = pyplot.subplots(
            len(names), len(columns), figsize=(2.2 * len(columns), 2.6 * len(names)), squeeze=False
        )
        for line, name in zip(axes, names, strict=True):
            planes = np.load(out / name / "planes.npz")
            for axis, column in zip(line, columns, strict=True):
                axis.imshow(planes[column + suffix].T, origin="lower", cmap="gray", vmin=-1, vmax=1)
                axis.set_title(f"{name}: {column}", fontsize=7)
                axis.axis("off")
        figure.tight_layout()
        figure.savefig(docs / f"translation{suffix}.png", dpi=75)
        pyplot.close(figure)
