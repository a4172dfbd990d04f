"""``medgen evaluate``: ``synthesis``, ``segmentation``, ``detection``; the others are in files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from medgen.cli.judging import samples
from medgen.cli.likelihood import likelihood
from medgen.cli.parameters import DEFAULTS, Output
from medgen.types import SplitOrAll

if TYPE_CHECKING:
    from medgen.evaluation import Scores

BaselineRun = Annotated[Path | None, Parameter(metavar="RUN")]

app = App(
    name="evaluate", help="Score a folder of predictions against the truth.", sort_key=8, default_parameter=DEFAULTS
)
app.command(samples)
app.command(likelihood)


@app.command
def synthesis(
    predictions: Path,
    references: Path,
    /,
    *,
    output: Output = Path("scores.json"),
    role: str = "ct",
    mask_role: str = "mask",
    split: SplitOrAll | None = None,
    resample_to_reference: bool = False,
    baselines: BaselineRun = None,
    store: Path | None = None,
) -> None:
    """Score synthetic CT: error in HU by tissue, PSNR and SSIM.

    Scores of each case, and means with 95 % intervals. A case without a
    usable prediction is listed and counted; the exit code is then 4.

    A prediction with a standard deviation beside it ('medgen predict
    --uncertainty') is also scored by its rank correlation with the error,
    and by the share of voxels with an error of at most two standard
    deviations, overall and by tissue. If 'medgen predict' had a gate,
    a note gives the error of the cases that it accepted and rejected.

    For example:

        medgen evaluate synthesis predictions cases.csv -o scores.json

    Args:
        predictions: the folder that 'medgen predict' wrote.
        references: case table with the true images and masks, or a folder of files <case>_<role>.nii.gz.
        output: the JSON file of scores to write.
        role: role of the true image: its column in the table, or its name in the files.
        mask_role: role of the mask to score in; for a case without one, the body is found by a threshold.
        split: cases to score; by default 'test', or all if the table has no test cases.
        resample_to_reference: resample a prediction that is on another grid than its reference, by linear
            interpolation, and record this in the scores; without this option another grid is an error.
        baselines: a finished run; baselines without a network learn from its training cases and are scored beside the
            predictions, with paired differences.
        store: folder of the run's prepared cases, if 'medgen train --store' named one.
    """
    from medgen.cli.beside import scores_of
    from medgen.cli.progress import progress_display
    from medgen.evaluation.scores import require_scores

    require_scores(output)
    with progress_display() as progress:
        scores = scores_of(
            "synthesis",
            predictions,
            references,
            role=role,
            mask_role=mask_role,
            split=split,
            resample_to_reference=resample_to_reference,
            progress=progress,
            baselines=baselines,
            store=store,
        )
    _show(scores, output)


@app.command
def segmentation(
    predictions: Path,
    references: Path,
    /,
    *,
    output: Output = Path("scores.json"),
    role: str = "label",
    classes: Annotated[tuple[str, ...], Parameter(metavar="NAME:VALUES")] = (),
    group_predictions: bool = False,
    split: SplitOrAll | None = None,
    domain: Literal["source", "target"] | None = None,
    mask_role: str | None = None,
    resample_to_reference: bool = False,
    tolerance: float = 2.0,
    lesion_overlap: float = 0.1,
    lesion_minimum_ml: float = 0.0,
    baselines: BaselineRun = None,
    store: Path | None = None,
) -> None:
    """Score label maps: Dice, HD95, surface Dice, lesion detection.

    Scores of each case, and means with 95 % intervals. A structure that the
    prediction misses counts with Dice 0 and, as HD95, the diagonal of the
    image; the column 'missed' counts these cases. If a structure is neither
    in the reference nor predicted, the case has no score for it; the column
    'not applicable' counts these cases.

    Predictions hold class numbers (1 is the first class), as 'medgen
    predict' writes them. If the model's recipe groups label values into
    classes, give the same groups: '--classes tumour:1,2,3,4'. Without
    --classes each label value is a class of its own.

    With probabilities beside the label maps ('medgen predict
    --probabilities'), 'ece' is their expected calibration error, and the
    file has a table of probability and frequency.

    For example:

        medgen evaluate segmentation predictions cases.csv -o scores.json
        medgen evaluate segmentation predictions cases.csv --classes core:1,4 --classes oedema:2

    Args:
        predictions: the folder that 'medgen predict' wrote, or <case>_<role>.nii.gz files of another tool.
        references: case table with the true label maps, or a folder of files <case>_<role>.nii.gz.
        output: the JSON file of scores to write.
        role: role of the true label map: its column in the table, or its name in the files.
        classes: a class and its label values in the references, as name:1,2; repeat in the order of the model's
            classes. All other values are background.
        group_predictions: the predictions hold label values, not class numbers; group them by --classes too.
        split: cases to score; by default 'test', or all if the table has no test cases.
        domain: score only this domain; both by default.
        mask_role: role of a mask; voxels outside it are ignored. By default the whole image is scored.
        resample_to_reference: resample a prediction that is on another grid than its reference, by nearest
            neighbour, and record this in the scores; without this option another grid is an error.
        tolerance: distance in mm up to which two surfaces agree, for the surface Dice (nsd).
        lesion_overlap: smallest intersection over union at which a predicted lesion matches a true one; each matches
            one at most.
        lesion_minimum_ml: ignore lesions smaller than this volume.
        baselines: a finished run; baselines without a network learn from its training cases and are scored beside the
            predictions, with paired differences.
        store: folder of the run's prepared cases, if 'medgen train --store' named one.
    """
    from medgen.cli.beside import scores_of
    from medgen.cli.progress import progress_display
    from medgen.evaluation.scores import require_scores

    require_scores(output)
    with progress_display() as progress:
        scores = scores_of(
            "segmentation",
            predictions,
            references,
            role=role,
            mask_role=mask_role,
            classes=_classes(classes),
            group_predictions=group_predictions,
            split=split,
            domain=domain,
            resample_to_reference=resample_to_reference,
            tolerance=tolerance,
            lesion_overlap=lesion_overlap,
            lesion_minimum_ml=lesion_minimum_ml,
            progress=progress,
            baselines=baselines,
            store=store,
        )
    _show(scores, output)


@app.command
def detection(
    predictions: Path,
    references: Path,
    /,
    *,
    output: Output = Path("scores.json"),
    compare: Path | None = None,
    role: str | None = None,
    least_grade: int | None = None,
    tumour: Annotated[str | None, Parameter(metavar="CLASS")] = None,
    split: SplitOrAll | None = None,
    mask_role: str = "mask",
    overlap: float = 0.1,
    seed: int = 0,
    baselines: BaselineRun = None,
    store: Path | None = None,
) -> None:
    """Score detection maps as the PI-CAI challenge does.

    AUROC of cases, average precision of lesions, their mean (the PI-CAI
    score), and sensitivity at given numbers of false positives per case,
    each with a 95 % interval over patients. If the predictions include
    label maps: also Dice, sensitivity and specificity of voxels. A lesion
    is detected if a candidate overlaps it enough (--overlap); a second
    candidate on the same lesion is not a false positive. A score that is
    undefined, such as the AUROC if all cases have a tumour, is shown as a
    dash, with a note that gives the reason.

    For example:

        medgen evaluate detection predictions cases.csv -o scores.json
        medgen evaluate detection adversarial cases.csv --compare cross_entropy

    Args:
        predictions: the folder that 'medgen predict' wrote, or <case>_detection_map.nii.gz files of another tool.
        references: case table with the true lesions, or a folder of files <case>_lesion.nii.gz, <case>_label.nii.gz
            or <case>.nii.gz.
        output: the JSON file of scores to write.
        compare: folder of a second model's predictions for the same cases; its difference gets a permutation test.
        role: role of the true lesions: their column in the table, or their name in the files. 'lesion' by default; in
            a folder the first of the three names above that exists.
        least_grade: lowest value of the truth that counts as a lesion: by default ISUP grade 2; give 1 if the truth
            is 0 or 1. Default for the role 'label': exactly the class of the detection maps, if the predictions
            name it.
        tumour: name or number of the class whose voxels are scored in predicted label maps; by default the class of
            the detection maps.
        split: cases to score; by default 'test', or all if the table has no test cases.
        mask_role: role of the mask inside which voxel specificity is computed; the whole image for a case without it.
        overlap: smallest intersection over union at which a candidate detects a lesion.
        seed: random seed of the bootstrap and the permutation test.
        baselines: a finished run; baselines without a network learn from its training cases and are scored beside the
            predictions, with paired differences.
        store: folder of the run's prepared cases, if 'medgen train --store' named one.
    """
    from medgen.cli.beside import scores_of
    from medgen.cli.progress import progress_display
    from medgen.evaluation.scores import require_scores

    require_scores(output)
    with progress_display() as progress:
        scores = scores_of(
            "detection",
            predictions,
            references,
            role=role,
            mask_role=mask_role,
            least_grade=least_grade,
            overlap=overlap,
            tumour=tumour,
            split=split,
            compare=compare,
            seed=seed,
            progress=progress,
            baselines=baselines,
            store=store,
        )
    if compare is not None:
        _show_comparison(scores.details["comparison"])
    _show(scores, output)


def _show_comparison(comparison: dict[str, Any]) -> None:
    """Show the difference of each score, first model minus second model."""
    from medgen.cli.output import note, show_table
    from medgen.evaluation.scores import number_text

    rows = [
        (name, *(number_text(x) for x in (each["difference"], *each["ci95"], each["p"])))
        for name, each in comparison["metrics"].items()
    ]
    show_table(("difference", "mean", "low", "high", "p"), rows, title="first model minus second model")
    if count := len(comparison["left_out"]):
        cases = f"{count} cases are" if count > 1 else "1 case is"
        note(f"{cases} not in the comparison, because at least one of the models has no usable prediction")


def _classes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Parse classes such as ``tumour:1,2`` into names and label values."""
    from medgen.errors import UsageError

    classes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, values = text.partition(":")
        numbers = values.split(",")
        if not name or not all(number.strip().isdecimal() for number in numbers):
            raise UsageError(f"--classes '{text}' is not of the form name:1,2", fix="write for example tumour:1,2,4")
        if name in classes:
            raise UsageError(f"the class '{name}' is given twice", fix=f"list all its values once: {name}:1,2")
        classes[name] = tuple(int(number) for number in numbers)
    return classes


def _show(scores: Scores, output: Path) -> None:
    """Write the scores and show their table and notes.

    Raises:
        CasesFailed: cases have no score.
    """
    from medgen.cli.beside import show_baselines
    from medgen.cli.output import answer_file, note, say, show_table
    from medgen.errors import CasesFailed

    scores.write(output)
    answer_file(output)
    heading, *rows = scores.table()
    show_table(heading, rows)
    show_baselines(scores)
    for text in scores.notes:
        note(text)
    say(str(output))
    if scores.failed:
        first, have = scores.failed[0], "have" if len(scores.failed) > 1 else "has"
        raise CasesFailed(
            f"{len(scores.failed)} of {len(scores.cases)} cases {have} no score; {first['case']}: {first['reason']}",
            where=output,
            fix="predict these cases again; the file lists each with the reason",
        )
