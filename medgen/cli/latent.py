"""``medgen latent encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS, AllowModule, Output
from medgen.types import Checkpoint, Split

app = App(name="latent", help="Turn images into latent codes.", sort_key=7.6, default_parameter=DEFAULTS)


@app.command
def encode(
    run: Path,
    /,
    *,
    cases: Annotated[Path, Parameter(name=["--input", "-i"])],
    output: Output,
    patches: int | None = None,
    seed: int = 0,
    split: Split | None = None,
    overwrite: bool = False,
    checkpoint: Checkpoint | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Encode the cases of a table: one row of numbers for each patch.

    Cases are prepared as in training, and patches have the size of training;
    for a model of slices they are slices. By default one patch a case, centred
    on the middle of the mask (of the body where the recipe names no mask).

    A row holds case, patch, the centre of the patch in mm (RAS+), and code_0,
    code_1, ... Codes of more than 4096 numbers go into codes.npz (arrays case,
    patch, centre_mm, code). Beside the codes, codes.json says which model,
    cases and seed they come from. A case that fails is reported, the others
    finish, and the command exits 4.

    For example:

        medgen latent encode run -i cases.csv -o codes.csv
        medgen latent encode run -i cases.csv -o codes.csv --split test
        medgen latent encode run -i cases.csv -o codes.npz --patches 20 --seed 7

    Args:
        run: the run folder, or its 'model' folder.
        cases: the case table.
        output: the file to write, named .csv or .npz.
        patches: how many to draw from each case, uniformly in its mask; patch n depends on case, seed and n alone.
        seed: of the places of --patches.
        split: only the cases of this split.
        overwrite: replace what is there.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far; what is made says so.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.inference.encoding import encode as encode_cases

    with progress_display() as progress:
        written = encode_cases(
            run,
            cases,
            output,
            patches=patches,
            seed=seed,
            split=split,
            device=device,
            overwrite=overwrite,
            allow_modules=allow_module,
            checkpoint=checkpoint,
            progress=progress,
        )
    say(str(written))
