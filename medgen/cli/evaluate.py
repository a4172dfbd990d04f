"""``medgen evaluate synthesis``, ``medgen evaluate segmentation`` and ``medgen evaluate detection``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS, Output
from medgen.types import SplitOrAll

if TYPE_CHECKING:
    from medgen.evaluation import Scores


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
    split: SplitOrAll | None = None,
    resample_to_reference: bool = False,
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
        resample_to_reference: bring a prediction on another grid to that of its reference, by linear interpolation,
            and say so in the scores; else it is an error.
    """
    from medgen.cli.progress import progress_display
    from medgen.evaluation import evaluate

    with progress_display() as progress:
        scores = evaluate(
            "synthesis",
            predictions,
            references,
            role=role,
            mask_role=mask_role,
            split=split,
            resample_to_reference=resample_to_reference,
            progress=progress,
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
    lesion_share: float = 0.0,
    lesion_minimum_ml: float = 0.0,
) -> None:
    """Score label maps: Dice, HD95 and surface Dice in mm, lesions.

    For each case, and in summary with 95 % intervals. Nothing drops out of
    a mean unseen: a structure that the prediction misses has Dice 0 and the
    diagonal of the image as HD95 ('missed' counts it); where a structure is
    neither there nor predicted no score applies ('not applicable').

    Predictions hold class numbers, 1 for the first class, as 'medgen
    predict' writes them. If the model's recipe groups label values, name
    the same groups: '--classes tumour:1,2,3,4'. Without, each value is a
    class, the same one in predictions and references.

    For example:

        medgen evaluate segmentation predictions cases.csv -o scores.json
        medgen evaluate segmentation predictions cases.csv --classes core:1,4 --classes oedema:2

    Args:
        predictions: the folder that 'medgen predict' wrote, or one with <case>_<role>.nii.gz of another tool.
        references: the case table with the true label maps, or a folder laid out like the predictions.
        output: the file of scores to write.
        role: column or name of the true label map.
        classes: a class and its values in the references, as name:1,2; repeat it in the order of the model's classes.
            Values in no class are background.
        group_predictions: the predictions hold the references' values, not class numbers: group them too.
        split: which cases of the table; 'test' by default, or all where there is none.
        domain: which of these; both by default.
        mask_role: column or name of a region outside of which nothing counts; by default the whole image counts.
        resample_to_reference: bring a prediction on another grid to that of its reference, by nearest neighbour, and
            say so in the scores; else it is an error.
        tolerance: how far apart in mm two surfaces may lie to count as equal in the surface Dice (nsd).
        lesion_share: part of a lesion, 0 to 1, that must be covered to count it as found; 0 takes any voxel.
        lesion_minimum_ml: lesions smaller than this are not counted.
    """
    from medgen.cli.progress import progress_display
    from medgen.evaluation import evaluate

    with progress_display() as progress:
        scores = evaluate(
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
            lesion_share=lesion_share,
            lesion_minimum_ml=lesion_minimum_ml,
            progress=progress,
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
) -> None:
    """Score detection maps as the PI-CAI challenge does.

    AUROC of cases, average precision of lesions, their mean (the PI-CAI
    score), sensitivity at numbers of false positives a case, each with a
    95 % interval over patients; Dice, sensitivity and specificity of voxels
    where the predictions have label maps. A lesion is found by a candidate
    that overlaps it enough (--overlap); a second candidate on it is no
    false positive. Where a number does not exist, such as the AUROC of
    cases that all have a tumour, the table has a dash, and a note why.

    For example:

        medgen evaluate detection predictions cases.csv -o scores.json
        medgen evaluate detection adversarial cases.csv --compare cross_entropy

    Args:
        predictions: the folder that 'medgen predict' wrote, or one with <case>_detection_map.nii.gz of another tool.
        references: the case table with the true lesions, or a folder with <case>_lesion.nii.gz, <case>_label.nii.gz
            or <case>.nii.gz.
        output: the file of scores to write.
        compare: predictions of a second model for the same cases; differences with a permutation test.
        role: column or name of the true lesions; 'lesion' by default, in a folder whichever of the three is there.
        least_grade: values of the truth from here on are lesions: ISUP grade 2 by default; 1 for a truth of 0 and 1.
            Of the role 'label' by default exactly the class that the detection maps are of, if the predictions tell it.
        tumour: class of the predicted label maps whose voxels are scored, by name or number; by default the one that
            the detection maps are of.
        split: which cases of the table; 'test' by default, or all where there is none.
        mask_role: column or name of the region in which voxel specificity is told; the whole image where there is none.
        overlap: least intersection over union of a candidate and a lesion that it finds.
        seed: of the bootstrap and the permutations.
    """
    from medgen.cli.progress import progress_display
    from medgen.evaluation import evaluate

    with progress_display() as progress:
        scores = evaluate(
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
        )
    if compare is not None:
        _show_comparison(scores.details["comparison"])
    _show(scores, output)


def _show_comparison(comparison: dict[str, Any]) -> None:
    """What the first model has more than the second."""
    from medgen.cli.output import note, show_table
    from medgen.evaluation.scores import number_text

    rows = [
        (name, *(number_text(x) for x in (each["difference"], *each["ci95"], each["p"])))
        for name, each in comparison["metrics"].items()
    ]
    show_table(("difference", "mean", "low", "high", "p"), rows, title="less the other")
    if count := len(comparison["left_out"]):
        cases = f"{count} cases are" if count > 1 else "1 case is"
        note(f"{cases} not in the comparison: no usable prediction of both models")


def _classes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``tumour:1,2`` as a class and its values."""
    from medgen.errors import UsageError

    classes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, values = text.partition(":")
        numbers = values.split(",")
        if not name or not all(number.strip().isdecimal() for number in numbers):
            raise UsageError(f"'{text}' is no class with its label values", fix="write it like tumour:1,2,4")
        if name in classes:
            raise UsageError(f"the class '{name}' is given twice", fix=f"give all its values at once: {name}:1,2")
        classes[name] = tuple(int(number) for number in numbers)
    return classes


def _show(scores: Scores, output: Path) -> None:
    """Write the scores and show their table and notes; cases without a score end the command with exit code 4."""
    from medgen.cli.output import note, say, show_table
    from medgen.errors import CasesFailed

    scores.write(output)
    heading, *rows = scores.table()
    show_table(heading, rows)
    for text in scores.notes:
        note(text)
    say(str(output))
    if scores.failed:
        first, have = scores.failed[0], "have" if len(scores.failed) > 1 else "has"
        raise CasesFailed(
            f"{len(scores.failed)} of {len(scores.cases)} cases {have} no score; {first['case']}: {first['reason']}",
            where=output,
            fix="the file names each with its reason; predict them again",
        )
