"""``medgen latent traverse``, ``interpolate`` and ``map``: pictures of what codes hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output
from medgen.types import Checkpoint


def traverse(
    run: Path,
    /,
    *,
    output: Output,
    codes: Path | None = None,
    along: Literal["numbers", "components"] | None = None,
    factor: str | None = None,
    table: Path | None = None,
    case: str | None = None,
    count: int = 8,
    reach: float = 2.0,
    steps: int = 13,
    overwrite: bool = False,
    checkpoint: Checkpoint | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Change one thing of the code at a time, and see what changes in the image.

    traversal.png has a row for each direction, and where the image changes in
    the last column. Each direction also has a strip, a GIF with the value in
    it, and the images as values. Of volumes three orthogonal views are shown.

    A direction is a single number of the code (those that vary most over the
    codes; without --codes those that the decoder answers most to), a principal
    component of the codes, or the way that codes take with more of a known
    factor, such as the volume of lesions. Values are standard deviations over
    the codes, or the factor in its unit as a linear probe tells it.

    For example:

        medgen latent traverse run -o numbers
        medgen latent traverse run -o parts --codes codes.csv --along components
        medgen latent traverse run -o own --codes codes.csv --case head_003
        medgen latent traverse run -o age --codes c.csv --factor age --table t.csv

    Args:
        run: the run folder, or its 'model' folder.
        output: the folder to make.
        codes: the codes of some cases, from 'medgen latent encode'.
        along: single 'numbers' of the code, or principal 'components' of --codes; by default numbers.
        factor: column of --table; the direction is that of this factor.
        table: CSV file with a column 'case', such as factors.csv of a phantom.
        case: walk around the code of this case, not around the mean code.
        count: directions at most.
        reach: standard deviations on either side.
        steps: images of a direction, an odd number.
        overwrite: replace an earlier traversal; a folder that holds anything else is refused.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far; what is made says so.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.inference.traversal import traverse as walk

    with progress_display() as progress:
        folder = walk(
            run,
            output,
            codes=codes,
            along=along,
            factor=factor,
            table=table,
            case=case,
            count=count,
            reach=reach,
            steps=steps,
            device=device,
            overwrite=overwrite,
            allow_modules=allow_module,
            checkpoint=checkpoint,
            progress=progress,
        )
    say(str(folder))


def interpolate(
    run: Path,
    /,
    *,
    cases: Annotated[Path, Parameter(name=["--input", "-i"])],
    output: Output,
    first: Annotated[str, Parameter(name="--from", metavar="CASE")],
    last: Annotated[str, Parameter(name="--to", metavar="CASE")],
    steps: int = 24,
    overwrite: bool = False,
    checkpoint: Checkpoint | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Go from the code of one patient to that of another, beside their real images.

    interpolation.png is a strip between the two real images, and
    interpolation.gif a film there and back. The first and the last image are
    the reconstructions of the two; the values of all images are written too.
    Codes lie on the arc between the two. The patch is the one in the middle of
    the mask, as 'medgen latent encode' takes it.

    For example:

        medgen latent interpolate run -i cases.csv --from p01 --to p07 -o way

    Args:
        run: the run folder, or its 'model' folder.
        cases: the case table.
        output: the folder to make.
        first: the case to begin with.
        last: the case to end with.
        steps: images, both reconstructions among them.
        overwrite: replace an earlier interpolation; a folder that holds anything else is refused.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far; what is made says so.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.inference.traversal import interpolate as go

    folder = go(
        run,
        cases,
        output,
        first,
        last,
        steps=steps,
        device=device,
        overwrite=overwrite,
        allow_modules=allow_module,
        checkpoint=checkpoint,
    )
    say(str(folder))


def map_codes(
    run: Path,
    codes: Path,
    /,
    *,
    output: Output,
    by: Literal["pca", "tsne"] = "pca",
    colour: str | None = None,
    table: Path | None = None,
    thumbnails: int = 40,
    seed: int = 0,
    overwrite: bool = False,
    checkpoint: Checkpoint | None = None,
    device: str = "auto",
    allow_module: AllowModule = (),
) -> None:
    """Draw all codes as a map with thumbnails: which patients are alike to the model?

    A point is a patch; thumbnails are its code, decoded. Axes are the first
    two principal components with their shares of the variance, or those of
    t-SNE, where neighbours are alike and distances between groups mean nothing.

    For example:

        medgen latent map run codes.csv -o map.png
        medgen latent map run codes.csv -o a.png --colour domain --table cases.csv
        medgen latent map run codes.csv -o b.png --by tsne --thumbnails 80

    Args:
        run: the run folder, or its 'model' folder.
        codes: the codes of some cases, from 'medgen latent encode'.
        output: the .png to write.
        by: 'pca' or 'tsne'.
        colour: column of --table by which points are coloured.
        table: CSV file with a column 'case', such as the case table.
        thumbnails: at most; they are spread over the map.
        seed: of t-SNE.
        overwrite: replace what is there.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.inference.code_map import write_code_map

    written = write_code_map(
        run,
        codes,
        output,
        by=by,
        colour=colour,
        table=table,
        thumbnails=thumbnails,
        seed=seed,
        device=device,
        overwrite=overwrite,
        allow_modules=allow_module,
        checkpoint=checkpoint,
    )
    say(str(written))
