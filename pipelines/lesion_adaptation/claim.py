"""The page of the study: the rows of every pair of scanners beside the published numbers, and who wins.

    python pipelines/lesion_adaptation/claim.py --out runs/lesions

Copies the tables of ``run.py study`` to docs/results/lesion_adaptation/ and writes claim.md there: on every pair, does
a method beat a network without the shifted channel and close most of the gap; does the same method lose that is fed
images of the source in place of those of the target; and do images of the target add to what needs none?
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pairs import PAGE, folder_of
from run import ACCEPTED

METHOD, BASELINE, TEACHERS, CONTROL = "confirmed_candidates", "without_shifted", "confirmed", "confirmed_source"
LEAST_GAP = 80
"""Share of the gap in %."""
LEAST_SEEDS = 5
"""Training seeds below which nobody has won or lost."""
PUBLISHED = {
    "source_only": 15.7, "without_shifted": 59.7, "adapted": 62.7, "target_only": 63.5, "both": 66.5,
    "both_separate": 64.7,
}  # fmt: skip
"""DSC in % of Kamnitsas et al. 2017 (table 1)."""
HEAD = (
    "row", "seeds", "DSC on T", "published", "less without the channel", "less its teachers", "less its control",
    "gap closed", "DSC on S",
)  # fmt: skip
FILES = {"benchmark.md": ".md", "benchmark.csv": ".csv", "benchmark_cases.csv": "_cases.csv", "benchmark.png": ".png"}

Rows = Mapping[str, Mapping[str, str]]


def rows_of(table: Path) -> Rows:
    """The rows of a table of the benchmark by name."""
    with table.open(newline="", encoding="utf-8") as file:
        return {row["regime"]: row for row in csv.DictReader(file)}


def number(row: Mapping[str, str], key: str) -> str:
    """A number in % with its interval; empty if the table does not have it."""
    found = [row.get(f"{key}{end}", "") for end in ("", "_low", "_high")]
    if not all(found):
        return "-"
    mean, low, high = (100 * float(each) for each in found)
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def wins(rows: Rows, name: str, others: Sequence[str]) -> str:
    """Whether a row closes enough of the gap, and its paired differences to others lie above zero with their intervals.

    ``?`` if the table does not have all that is asked, or too few training seeds.
    """
    row = rows.get(name, {})
    above = [row.get(f"dice_less_{other}_low") for other in others]
    share = row.get("gap_share")
    if not share or not all(above) or int(row["seeds"]) < LEAST_SEEDS:
        return "?"
    return "yes" if 100 * float(share) >= LEAST_GAP and all(float(low) > 0 for low in above if low) else "no"


def verdicts(rows: Rows) -> tuple[str, str, str]:
    """Without images of T; with them, against their control; and whether they add anything."""
    return wins(rows, TEACHERS, [BASELINE]), wins(rows, METHOD, [BASELINE, CONTROL]), wins(rows, METHOD, [TEACHERS])


def page_of(pairs: Mapping[str, Rows]) -> list[str]:
    """The lines of claim.md."""
    lines = [
        "# Adaptation of DeepMedic on every pair of scanners (phantom)",
        "",
        "DSC on T in %, with 95 % intervals over training seeds and patients. A row wins if it closes "
        f"{LEAST_GAP} % of the gap or more and its differences to the others named lie above zero, intervals and all. "
        f"?: there are fewer than {LEAST_SEEDS} training seeds, or a row is missing.",
        "",
        "The published numbers (Kamnitsas et al. 2017) are of other patients, another network and another budget. "
        "Populations differ: compare the order of rows, not numbers.",
        "",
        f"| pair | `{TEACHERS}`, which sees no image of T, wins against `{BASELINE}` | `{METHOD}` wins against "
        f"`{BASELINE}` and `{CONTROL}` | and against `{TEACHERS}` |",
        "|---|---|---|---|",
        *(f"| {pair} | {' | '.join(verdicts(rows))} |" for pair, rows in pairs.items()),
    ]
    for pair, rows in pairs.items():
        lines += [
            "",
            f"## {pair}",
            "",
            f"| {' | '.join(HEAD)} |",
            "|---" * len(HEAD) + "|",
            *(_line(name, row) for name, row in rows.items()),
        ]
    return lines


def _line(name: str, row: Mapping[str, str]) -> str:
    differences = [number(row, f"dice_less_{other}") for other in (BASELINE, TEACHERS, CONTROL)]
    cells = [
        f"{row['title']} (`{name}`)",
        row["seeds"],
        number(row, "dice"),
        str(PUBLISHED.get(name, "-")),
        *differences,
    ]
    return f"| {' | '.join([*cells, number(row, 'gap_share'), number(row, 'source_dice')])} |"


def write(out: Path, seed: int, pairs: Sequence[str], page: Path = PAGE) -> None:
    """Copy the tables of the pairs that have one, and write the page."""
    found: dict[str, Rows] = {}
    for pair in pairs:
        study = folder_of(out, pair, seed) / "study"
        if not (study / "benchmark.csv").is_file():
            continue
        found[pair] = rows_of(study / "benchmark.csv")
        for name, end in FILES.items():
            shutil.copyfile(study / name, page / f"study_{pair}{end}")
    if not found:
        raise SystemExit(f"{out} holds no study; run 'run.py study' with this --out first")
    (page / "claim.md").write_text("\n".join(page_of(found)) + "\n")


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="that of run.py study")
    parser.add_argument("--phantom", type=int, default=0, metavar="SEED")
    options = parser.parse_args()
    write(options.out, options.phantom, ACCEPTED)


if __name__ == "__main__":
    main()
