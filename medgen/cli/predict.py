"""``medgen predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output, Split


def predict(
    run: Path,
    /,
    *,
    inputs: Annotated[tuple[str, ...], Parameter(name=["--input", "-i"], metavar="INPUT", required=True)] = (),
    output: Output,
    overwrite: bool = False,
    resume: bool = False,
    nan: Literal["error", "zero", "min", "median"] | None = None,
    geometry: Literal["sform", "qform"] | None = None,
    frame: int | None = None,
    split: Split | None = None,
    probabilities: bool = False,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Predict one patient or a whole cohort, each on the patient's own grid.

    A case of a cohort that fails is reported, the others finish, and the
    command exits 4.

    For example:

        medgen predict run -i t1.nii.gz -o ct.nii.gz
        medgen predict run -i t1=t1.nii.gz -i flair=flair.nii.gz -o ct.nii.gz
        medgen predict run -i cases.csv --split test -o predictions
        medgen predict run -i cases.csv -o predictions --probabilities

    Args:
        run: the run folder, or its 'model' folder.
        inputs: a volume, role=volume (repeatable), or a case table.
        output: the volume to write; for a table the folder, which gets <case>/<case>_<role>.nii.gz.
        overwrite: replace what is there.
        resume: keep the cases that are done and predict the rest.
        nan: what to do with voxels that are not numbers; the model's own rule by default.
        geometry: which transform to believe where a file holds two that disagree.
        frame: which volume of a 4D file, from 0.
        split: only the cases of this split; for a table alone.
        probabilities: of a segmentation, also write <case>_probability_<class>.nii.gz for each class.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.inference.cohort import predict as predict_inputs

    with progress_display() as progress:
        predict_inputs(
            run,
            inputs,
            output,
            overwrite=overwrite,
            resume=resume,
            nan=nan,
            geometry=geometry,
            frame=frame,
            split=split,
            probabilities=probabilities,
            device=device,
            allow_modules=allow_module,
            progress=progress,
        )
    say(str(output))
