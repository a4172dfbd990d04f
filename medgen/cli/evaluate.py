"""``medgen evaluate synthesis``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cyclopts import App

from medgen.cli.parameters import DEFAULTS, Output

app = App(
    name="evaluate", help="Score a folder of predictions against references.", sort_key=8, default_parameter=DEFAULTS
)


@app.command
def synthesis(
    predictions: Path,
    references: Path,
    /,
    *,
    output: Output = Path("scores.json"),
    role: str = "ct",
    mask_role: str = "mask",
    split: Literal["train", "val", "test", "all"] | None = None,
) -> None:
    """Score synthetic CT: error in HU by tissue, PSNR and SSIM.

    For each case, and in summary with 95 % intervals. A case without a
    usable prediction is named and counted, and the command exits 4.

    For example:

        medgen evaluate synthesis predictions cases.csv -o scores.json

    Args:
        predictions: the folder that 'medgen predict' wrote.
        references: the case table with the true images and masks, or a folder laid out like the predictions.
        output: the file of scores to write.
        role: column or name of the true image.
        mask_role: column or name of the region that is scored; without one it is the body.
        split: which cases of the table; 'test' by default, or all where there is none.
    """
    from medgen.cli.output import note, say, show_table
    from medgen.cli.progress import progress_display
    from medgen.errors import CasesFailed
    from medgen.evaluation import evaluate

    with progress_display() as progress:
        scores = evaluate(
            "synthesis", predictions, references, role=role, mask_role=mask_role, split=split, progress=progress
        )
    scores.write(output)
    heading, *rows = scores.table()
    show_table(heading, rows)
    for text in scores.notes:
        note(text)
    say(str(output))
    if scores.failed:
        first = scores.failed[0]
        raise CasesFailed(
            f"{len(scores.failed)} of {len(scores.cases)} cases have no score; {first['case']}: {first['reason']}",
            where=output,
            fix="the file names each with its reason; predict them again",
        )
