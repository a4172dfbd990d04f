"""``medgen calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule


def calibrate(
    run: Path,
    /,
    *,
    cases: Annotated[Path, Parameter(name=["--input", "-i"], metavar="CASES.csv")],
    split: Literal["val", "test"] = "val",
    samples: Annotated[int | None, Parameter(metavar="N")] = None,
    dropout: bool = False,
    seed: Annotated[int | None, Parameter(metavar="S")] = None,
    coverage: float = 0.9,
    by_tissue: bool = False,
    guaranteed: bool = False,
    accept: Annotated[float, Parameter(metavar="SHARE")] = 0.95,
    max_mae: Annotated[float | None, Parameter(metavar="HU")] = None,
    mask_role: str = "mask",
    ensemble: Annotated[tuple[Path, ...], Parameter(name="--ensemble", metavar="RUN")] = (),
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Make the intervals of 'medgen predict' hold the share that they promise.

    Predicts the validation cases, measures how many standard deviations hold
    90 % of the errors, and stores the number with the model, together with a
    gate that rejects a case whose mean standard deviation is too large.
    'medgen predict' with the same options then uses both.

    For example:

        medgen calibrate cvae -i cases.csv --samples 16
        medgen calibrate fold0 --ensemble fold1 -i cases.csv

    Args:
        run: the run folder, or its 'model' folder, where intervals.json goes.
        cases: the case table.
        split: the cases to use; report scores of others ('medgen evaluate synthesis' says so if they are the same).
        samples: draws a case, as predict will make; without it the flips of the recipe and --ensemble count.
        dropout: in each sample the dropout layers of the network drop.
        seed: of the samples.
        coverage: share of the voxels that the interval shall hold.
        by_tissue: air, soft tissue and bone of the prediction get intervals of their own.
        guaranteed: wider intervals, which hold the share also where validation cases are few; needs 9 cases for 0.9.
        accept: share of cases like these that the gate accepts.
        max_mae: instead, the gate accepts a case whose expected mean absolute error is at most this.
        mask_role: column of the masks to measure in; without a mask it is the body in the true CT.
        ensemble: a further run, as for predict; repeatable.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import answer_file, say
    from medgen.cli.progress import progress_display
    from medgen.inference.calibrating import CalibrateOptions
    from medgen.inference.calibrating import calibrate as calibrate_model
    from medgen.inference.intervals import FILE
    from medgen.training.model_folder import model_folder

    with progress_display() as progress:
        result = calibrate_model(
            run,
            cases,
            split=split,
            samples=samples,
            dropout=dropout,
            seed=seed,
            options=CalibrateOptions(coverage, by_tissue, guaranteed, accept, max_mae, mask_role),
            ensemble=ensemble,
            device=device,
            allow_modules=allow_module,
            progress=progress,
        )
    answer_file(model_folder(run) / FILE)
    half = ", ".join(f"{name} {value:.3g}" for name, value in result.scale.quantiles.items())
    say(f"half width of the {result.scale.coverage:.0%} interval in standard deviations: {half}")
    if result.left_out:
        mean, least, largest = result.left_out
        say(f"coverage of a case by the other {result.patients - 1}: mean {mean:.1%}, {least:.1%} to {largest:.1%}")
    gate = result.gate
    accepted = f"the gate accepts a mean standard deviation up to {gate.threshold:.4g}"
    say(f"{accepted}, expected error {gate.expected:.4g} (in the unit of the image, HU for CT)")
    say(str(model_folder(run) / FILE))
