"""The students of the lesion study beside the references of an earlier run, without training those again.

    python pipelines/lesion_adaptation/run.py study --out runs/lesions \
        --regimes confirmed confirmed_candidates confirmed_source
    python pipelines/lesion_adaptation/joined.py --out runs/lesions

Takes the scores of every case of the rows ``EARLIER`` from the tables in docs/results/lesion_adaptation/ and those of
the rows ``STUDENTS`` from the study in ``--out``, and writes students_PAIR there: the same table, with differences and
intervals over both. The phantoms must be the same, case by case; what else differs between the two runs (machine,
precision) is for the page to say.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medgen.benchmark.figure import write_figure
from medgen.benchmark.rendering import write_results
from medgen.benchmark.table import Row, Scored, completed, summaries
from medgen.cases import SOURCE, TARGET

from claim import FILES
from pairs import PAGE, folder_of
from run import ACCEPTED

EARLIER = ("source_only", "without_shifted", "target_only")
STUDENTS = ("confirmed", "confirmed_candidates", "confirmed_source")
SEEDS = 5
_KEYS = ("regime", "domain", "seed", "case")


def scores_in(table: Path, name: str, domain: str) -> Scored:
    """The scores of one row on the cases of one domain, from a table of cases."""
    with table.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if (line["regime"], line["domain"]) == (name, domain)]
    if not lines:
        raise SystemExit(f"{table} has no row '{name}' on {domain}")
    seeds, cases = (tuple(dict.fromkeys(line[key] for line in lines)) for key in ("seed", "case"))
    found = {(line["seed"], line["case"]): line for line in lines}
    values = {
        metric: np.array([[float(found[seed, case][metric] or "nan") for case in cases] for seed in seeds])
        for metric in lines[0]
        if metric not in _KEYS
    }
    return Scored(tuple(map(int, seeds)), cases, values)


def row_of(table: Path, name: str, title: str) -> Row:
    """One row of the joined table."""
    target, source = (scores_in(table, name, domain) for domain in (TARGET, SOURCE))
    return Row(name, title, SEEDS, target, source, summaries(target), summaries(source))


def join(pair: str, study: Path, page: Path) -> tuple[tuple[Row, ...], Mapping[str, Any]]:
    """The rows of both runs and the facts of the table."""
    facts = json.loads((study / "benchmark.json").read_text(encoding="utf-8"))
    tables = dict.fromkeys(EARLIER, (page / f"study_{pair}_cases.csv", page / f"study_{pair}.csv"))
    tables |= dict.fromkeys(STUDENTS, (study / "benchmark_cases.csv", study / "benchmark.csv"))
    rows = []
    for name in (*EARLIER[:2], *STUDENTS, EARLIER[2]):
        cases, table = tables[name]
        with table.open(newline="", encoding="utf-8") as file:
            (title,) = (line["title"] for line in csv.DictReader(file) if line["regime"] == name)
        rows.append(row_of(cases, name, title + (" (earlier run)" if name in EARLIER else "")))
    known = [{*row.target.cases} for row in rows]
    if any(each != known[0] for each in known):
        raise SystemExit(f"{pair}: the two runs have other test patients")
    earlier: dict[str, Any] = {name: {"seconds": [], "overrides": []} for name in EARLIER}
    references = [row.name for row in rows if row.name not in ("target_only", "confirmed_candidates")]
    facts |= {"regimes": facts["regimes"] | earlier, "references": references}
    facts["title"] += f", {pair}: students and the references of an earlier run"
    return completed(rows, references), facts


def write(out: Path, seed: int, page: Path = PAGE) -> None:
    """The tables of the pairs that have students."""
    for pair in ACCEPTED:
        study = folder_of(out, pair, seed) / "study"
        if not (study / "benchmark.json").is_file():
            continue
        rows, facts = join(pair, study, page)
        with tempfile.TemporaryDirectory() as folder:
            write_results(rows, facts, Path(folder))
            write_figure(rows, Path(folder), phantom=True)
            for name, end in FILES.items():
                shutil.copyfile(Path(folder) / name, page / f"students_{pair}{end}")


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="that of run.py study")
    parser.add_argument("--phantom", type=int, default=0, metavar="SEED")
    options = parser.parse_args()
    write(options.out, options.phantom)


if __name__ == "__main__":
    main()
