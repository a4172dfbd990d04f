"""``medgen evaluate likelihood``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output
from medgen.types import SplitOrAll


def likelihood(
    run: Path,
    /,
    *,
    cases: Annotated[Path, Parameter(name=["--input", "-i"])],
    output: Output = Path("scores.json"),
    odd: Annotated[str | None, Parameter(metavar="COLUMN")] = None,
    split: SplitOrAll | None = None,
    patches: int | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Score cases by a generative model: likelihood, and how odd they are.

    Of each case the log-likelihood of a patch in nats and bits a voxel,
    both of the density in normalised units (so they may have either sign)
    and of the images without the noise that trains a flow, and whether they
    are exact or a bound. After 'medgen novelty fit' also the scores that tell odd images, each with the share of
    held-out cases that are as odd. A case that fails is listed, the others
    finish, and the command exits 4.

    For example:

        medgen evaluate likelihood vae -i cases.csv -o scores.json
        medgen evaluate likelihood vae -i mixed.csv --odd is_odd --split all

    Args:
        run: the run folder of the generative model, or its 'model' folder.
        cases: the case table.
        output: the JSON file of scores to write.
        odd: a column that says which cases are odd (1 or 0, yes or no), or 'domain' (target cases are odd): adds the
            area under the ROC curve of each score.
        split: cases to score; by default 'test', or all if the table has no test cases.
        patches: how many of each case, by default 16; after 'medgen novelty fit' as many as there, and no other number.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import answer_file, note, say, show_table
    from medgen.cli.progress import progress_display
    from medgen.errors import CasesFailed
    from medgen.evaluation.likelihood import auroc_table, evaluate_likelihood
    from medgen.evaluation.scores import require_scores

    require_scores(output)
    with progress_display() as progress:
        scores = evaluate_likelihood(
            run,
            cases,
            odd=odd,
            split=split,
            patches=patches,
            device=device,
            allow_modules=allow_module,
            progress=progress,
        )
    scores.write(output)
    answer_file(output)
    heading, *rows = scores.table()
    show_table(heading, rows)
    if areas := auroc_table(scores):
        show_table(*areas)
    for text in scores.notes:
        note(text)
    say(str(output))
    if scores.failed:
        first, count = scores.failed[0], len(scores.failed) + len(scores.cases)
        raise CasesFailed(
            f"{len(scores.failed)} of {count} cases failed; {first['case']}: {first['reason']}",
            where=output,
            fix="mend these cases ('medgen check' lists their faults) and run again",
        )
