"""``medgen evaluate synthesis``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="evaluate", help="Score a folder of predictions against references.", sort_key=8)


@app.command
def synthesis(
    predictions: Path,
    references: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("scores.json"),
) -> None:
    """Score synthetic CT: error in HU by tissue, PSNR and SSIM.

    For each case, and in summary with 95 % intervals.

    For example:

        medgen evaluate synthesis predictions cases.csv -o scores.json

    Args:
        predictions: the folder that 'medgen predict' wrote.
        references: the case table with the true images and masks, or a folder laid out like the predictions.
        output: the file of scores to write.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.evaluation import evaluate

    with progress_display() as progress:
        scores = evaluate("synthesis", predictions, references, progress=progress)
    scores.write(output)
    say(str(output))
