"""Is a pair of scanners fit to test adaptation? It is if DeepMedic fails on the target, and does not without a channel.

    python pipelines/lesion_adaptation/screen.py --out runs/screen
    python pipelines/lesion_adaptation/pairs.py confirm --out runs/pairs --pairs long_echo long_filter --seeds 1000 1001
    python pipelines/lesion_adaptation/pairs.py page --out runs/pairs runs/more_pairs --screen runs/screen/screen.json

``confirm`` makes a phantom of each pair and seed at 3 mm and trains DeepMedic `small` three times on it: on the source,
on the source without the shifted channel, on the target. A pair is accepted if all of ``LIMITS`` hold on every seed.
What is done is skipped, and pairs with the same source train on it once. ``page`` writes
docs/results/lesion_adaptation/pairs.md with the map of what was screened.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medgen.benchmark import run_benchmark
from medgen.cases.phantoms import MANIFEST
from medgen.files import write_json
from medgen.phantom import make_adaptation_phantom
from medgen.phantom.head.pairs import PAIRS, Pair
from medgen.phantom.workers import RANDOMISED_TABLE
from medgen.recipe.settings import load_recipe

from screen import pair_of, settings_of

HERE = Path(__file__).parent
RECIPE = HERE / "deepmedic.yaml"
PAGE = HERE.parents[1] / "docs" / "results" / "lesion_adaptation"
SPACING = 3.0
GROUPS: dict[str, Any] = {"source": 16, "target": 14, "test": 24, "source_test": 16, "validation": (0, 0)}
RANDOMISED = 3
"""Copies of each source training patient by random scanners."""
LIMITS = {"s_on_t": (0, 25), "without_on_t": (45, 60), "t_on_t": (60, 100), "s_on_s": (60, 100)}
"""DSC in % between which a pair has to lie."""
WORDS = {
    "s_on_s": "S on S", "s_on_t": "S on T", "without_on_t": "S without the channel, on T", "t_on_t": "T on T",
    "without_on_s": "S without the channel, on S",
}  # fmt: skip
_PLACES = {
    "s_on_s": ("source_only", "source_dice"),
    "s_on_t": ("source_only", "dice"),
    "without_on_t": ("without_shifted", "dice"),
    "t_on_t": ("target_only", "dice"),
    "without_on_s": ("without_shifted", "source_dice"),
}


_RUN = ("pair", "seed", "steps", "segments")
"""What tells one measurement from another; a later one of the same takes its place on the page."""


def confirm(options: argparse.Namespace) -> None:
    """Train what is missing and write ``pairs.json``."""
    file = options.out / "pairs.json"
    known = measured(file) if file.is_file() else []
    schedule = load_recipe(RECIPE, options.set).schedule
    for seed in options.seeds:
        for name, pair in chosen_pairs(options).items():
            changes = [each for each in options.set if not each.startswith("schedule.precision=")]
            what = {"pair": name, "seed": seed, "steps": schedule.steps, "segments": schedule.batch, "set": changes}
            if any(what.items() <= each.items() and _PLACES.keys() <= each.keys() for each in known):
                continue
            table = phantom(folder_of(options.out, name, seed), pair, seed, GROUPS)
            study = benchmark_of(
                table, options.out, HERE / "pairs.yaml", regimes=options.regimes, seeds=1, overrides=options.set
            )
            known = [each for each in known if not what.items() <= each.items()]  # a part of it, with fewer rows
            known.append({**what, **scores_of(study / "benchmark.csv")})
            write_json(file, known)
            print(known[-1], flush=True)


def measured(file: Path) -> list[dict[str, Any]]:
    """What a ``pairs.json`` holds, each with the changed settings of its recipe."""
    return [{"set": [], **each} for each in json.loads(file.read_text())]


def chosen_pairs(options: argparse.Namespace) -> dict[str, Pair]:
    """By name the pairs asked for, or the one that ``--settings`` describes."""
    if not options.settings:
        return {name: PAIRS[name] for name in options.pairs}
    settings = settings_of(options.settings)
    return {" ".join(f"{key}={json.dumps(value)}" for key, value in settings.items()): pair_of(settings)}


def folder_of(out: Path, name: str, seed: int) -> Path:
    """Of one pair and phantom seed."""
    return out / f"{re.sub('[^a-z0-9]+', '_', name)}_{seed}"


def phantom(folder: Path, pair: Pair, seed: int, groups: Mapping[str, Any]) -> Path:
    """The case table of the phantom of a pair; it is made once, and a folder with another one is refused."""
    table = folder / "phantom" / "cases.csv"
    if not (table.is_file() and (table.parent / RANDOMISED_TABLE).is_file()):
        make_adaptation_phantom(
            table.parent, seed=seed, pair=pair, spacing=SPACING, workers=1, overwrite=True, randomised=RANDOMISED,
            progress=said, **groups,
        )  # fmt: skip
    known = json.loads((table.parent / MANIFEST).read_text())
    if any(known[key] != value for key, value in facts_of(pair, seed, groups).items()):
        raise SystemExit(f"{table.parent} holds another phantom; choose another --out")
    return table


def facts_of(pair: Pair, seed: int, groups: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest of a phantom has to say."""
    sizes = {"source_train": groups["source"], "source_test": groups["source_test"]}
    sizes |= {"target_train": groups["target"], "target_test": groups["test"]}
    sizes |= dict(zip(("source_val", "target_val"), groups["validation"], strict=True))
    facts = {"pair": asdict(pair), "cases": sizes, "seeds": dict.fromkeys(("subject", "scanner", "realisation"), seed)}
    return dict(json.loads(json.dumps(facts)))


def benchmark_of(table: Path, out: Path, plan: Path, **options: Any) -> Path:
    """The folder of the benchmark of one phantom and plan; what was trained beside it serves where it is the same."""
    of_plan = "" if plan.stem in ("rows", "pairs") else f"_{plan.stem}"
    study = table.parents[1] / f"study{of_plan}"
    others = sorted(each.parent for each in out.glob("*/study*/runs") if each.parent != study)
    found = run_benchmark(RECIPE, table, study, plan=plan, reuse=others, progress=said, **options)
    found.require_complete()
    return study


def said(done: int, total: int, what: str) -> None:
    """Say now and then how far something is."""
    if done == total or done % max(1, total // 20) == 0:
        print(f"{done}/{total} {what}", flush=True)


def scores_of(table: Path) -> dict[str, float]:
    """The five mean DSC in % of a table of the benchmark; those of a row that was not trained are missing."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = {row["regime"]: row for row in csv.DictReader(file)}
    return {key: 100 * float(rows[row][column]) for key, (row, column) in _PLACES.items() if row in rows}


def accepted(runs: Sequence[Mapping[str, float]]) -> bool:
    """Whether all limits hold on every seed of a pair at one budget, and there are two seeds or more."""
    inside = [low < scores.get(key, math.nan) < high for scores in runs for key, (low, high) in LIMITS.items()]
    return len(runs) > 1 and all(inside)


def page(options: argparse.Namespace) -> None:
    """Write the tables: what was committed before, and what is new."""
    committed = json.loads((PAGE / "pairs.json").read_text())
    new = [each for out in options.out for each in measured(out / "pairs.json")]
    every = (*committed["deepmedic"], *new)
    by_run: dict[tuple[Any, ...], dict[str, Any]] = {}
    for each in every:  # a later run of some of the rows leaves the scores of the others
        by_run.setdefault((*(each[key] for key in _RUN), *each["set"]), {}).update(each)
    found = list(by_run.values())
    found.sort(key=lambda each: (-each["steps"], each["pair"], each["seed"]))
    screened = json.loads(options.screen.read_text()) if options.screen else committed["screen"]
    write_json(PAGE / "pairs.json", {**committed, "deepmedic": found, "screen": screened})
    remarks = PAGE / "pairs_remarks.md"
    lines = [
        "# Pairs of scanners (phantom)",
        "",
        f"DSC in % of DeepMedic `small` at 3 mm, {GROUPS['source']} source and {GROUPS['target']} target patients, "
        f"{GROUPS['test']} target and {GROUPS['source_test']} source test patients. "
        "Accepted is a pair that lies within these limits on two phantom seeds or more, at one budget: "
        + "; ".join(f"{WORDS[key]} {low} to {high}" for key, (low, high) in LIMITS.items()) + ".",
        "",
        *table_of(found),
        "",
        *(remarks.read_text().splitlines() if remarks.is_file() else []),
        "",
        *_map(screened),
        "",
        *_earlier(committed["earlier"]),
    ]  # fmt: skip
    (PAGE / "pairs.md").write_text("\n".join(lines) + "\n")


def table_of(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scores of DeepMedic as Markdown."""
    lines = [
        "| pair | phantom seed | steps x segments | " + " | ".join(WORDS.values()) + " | accepted |",
        "|---" * (4 + len(WORDS)) + "|",
    ]
    for each in found:
        alike = [one for one in found if all(one[key] == each[key] for key in ("pair", "steps", "segments", "set"))]
        said = f"{' '.join([each['pair'], *each['set']])} | {each['seed']} | {each['steps']} x {each['segments']}"
        lines.append(f"| {said} | {_cells(each)} | {'yes' if accepted(alike) else 'no'} |")
    return lines


def _map(screened: Sequence[Mapping[str, Any]]) -> list[str]:
    if not screened:
        return []
    return [
        "## The map: boosted trees",
        "",
        "Trees on smoothed grey levels (`screen.py`), 8 training patients of each domain, 4 source and 8 target test "
        "patients at 3 mm.",
        "",
        "| pair | phantom seed | " + " | ".join(WORDS.values()) + " |",
        "|---" * (2 + len(WORDS)) + "|",
        *(f"| {_settings(each['settings'])} | {each['seed']} | {_cells(each, 100)} |" for each in screened),
    ]


def _earlier(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured on a phantom that no longer exists."""
    return [
        "## On the phantom as it was",
        "",
        "Until 2026-11-30 nothing was shimmed, the phase filter saw the phase of air, and there was more blood in a "
        "contusion than scar in what looks like one (above). These numbers cannot be made again. There were 8 target "
        "and 8 source test patients, 4 in runs of 400 or 200 steps.",
        "",
        *table_of(found),
    ]


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items()) or "first"


def _cells(scores: Mapping[str, float], factor: float = 1) -> str:
    return " | ".join(f"{factor * scores[key]:.1f}" if key in scores else "-" for key in WORDS)


def main() -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"confirm": confirm, "page": page}
    parser.add_argument("part", choices=tuple(parts))
    parser.add_argument("--out", type=Path, required=True, nargs="+", help="page: of every run that counts")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000, 1001], help="of the phantom")
    parser.add_argument("--settings", nargs="+", metavar="KEY=JSON", help="one pair as screen.py takes it, for --pairs")
    parser.add_argument("--regimes", nargs="+", default=[], help="confirm: some of the rows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes to deepmedic.yaml")
    parser.add_argument("--screen", type=Path, help="screen.json of screen.py")
    options = parser.parse_args()
    if options.part != "page":
        if len(options.out) > 1:
            parser.error(f"'{options.part}' writes into one folder")
        (options.out,) = options.out
    parts[options.part](options)


if __name__ == "__main__":
    main()
