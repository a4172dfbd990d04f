"""``medgen latent``: ``encode``, ``reconstruct`` and ``probe``; the pictures of codes are in a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from medgen.cli.latent_views import interpolate, map_codes, traverse
from medgen.cli.parameters import DEFAULTS, AllowModule, Output
from medgen.types import Checkpoint, Split

app = App(name="latent", help="Read the latent codes of images.", sort_key=7.6, default_parameter=DEFAULTS)
app.command(traverse, sort_key=2)
app.command(interpolate, sort_key=3)
app.command(map_codes, name="map", sort_key=4)


@app.command(sort_key=1)
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


@app.command(sort_key=5)
def reconstruct(
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
    """Encode and decode patches of the cases, and say what is lost.

    reconstruction.png shows originals, reconstructions and errors. scores.json
    and scores.csv have the mean absolute error, SSIM, PSNR and the gradient
    energy ratio (below 1 is blurred) of each case and patch. Patches are those
    of 'medgen latent encode', scored in normalised units as the network sees
    them, on the prepared grid. Values are written too: of volumes as NIfTI
    files that lie where the patch lies in the patient.

    For example:

        medgen latent reconstruct run -i cases.csv -o reconstructed --split test
        medgen latent reconstruct run -i cases.csv -o reconstructed --patches 10

    Args:
        run: the run folder, or its 'model' folder.
        cases: the case table.
        output: the folder to make.
        patches: how many to draw from each case, uniformly in its mask; by default one in the middle.
        seed: of the places of --patches.
        split: only the cases of this split.
        overwrite: replace an earlier reconstruction; a folder that holds anything else is refused.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far; what is made says so.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say, show_table
    from medgen.cli.progress import progress_display
    from medgen.evaluation.reconstruction import reconstruct as reconstruct_cases
    from medgen.evaluation.reconstruction import reconstruction_table

    with progress_display() as progress:
        scores = reconstruct_cases(
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
    heading, *rows = reconstruction_table(scores)
    show_table(heading, rows)
    say(str(output))


@app.command(sort_key=6)
def probe(
    codes: Path,
    /,
    *,
    table: Path,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("probes.json"),
    factor: Annotated[tuple[str, ...], Parameter(name="--factor", metavar="COLUMN")] = (),
    run: Path | None = None,
    cases: Annotated[Path | None, Parameter(name=["--input", "-i"])] = None,
    seed: int = 0,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Say how well known factors can be told from codes, by a linear model.

    For each column of the table: R2 of a number (0 is the mean of all, 1 is
    perfect), or the area under the ROC curve of two classes (0.5 is chance),
    with a 95 % interval over patients. No patient is told by a probe that has
    seen them. With --run and --input the same is asked of the pixels and of
    the same network without training: codes that know no more than these have
    learnt nothing of the factor.

    For example:

        medgen latent probe codes.csv --table factors.csv
        medgen latent probe codes.csv --table factors.csv --run run -i cases.csv

    Args:
        codes: the codes of some cases, from 'medgen latent encode'.
        table: CSV file with a column 'case' and the factors, such as factors.csv of a phantom; a column 'patient'
            says which cases are one person.
        output: the JSON file to write.
        factor: probe this column only; repeatable.
        run: the run that the codes are of, for the two baselines.
        cases: the case table of the codes, for the two baselines.
        seed: of the folds, of the bootstrap, and of the weights without training.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import answer, say, show_table
    from medgen.cli.progress import progress_display
    from medgen.evaluation.factor_probes import KEYS, probe_codes, probe_table
    from medgen.files import require_result, write_json

    require_result(output, KEYS)
    with progress_display() as progress:
        probes = probe_codes(
            codes,
            table,
            factors=factor,
            run=run,
            cases=cases,
            seed=seed,
            device=device,
            allow_modules=allow_module,
            progress=progress,
        )
    write_json(output, probes.as_dict())
    answer(probes.as_dict())
    heading, *rows = probe_table(probes)
    show_table(heading, rows)
    say(str(output))
