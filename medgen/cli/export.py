"""``medgen export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output
from medgen.types import Export


def export(
    run: Path,
    /,
    *,
    output: Output,
    kind: Annotated[Export | None, Parameter(name="--as")] = None,
    scores: Annotated[tuple[Path, ...], Parameter(metavar="FILE")] = (),
    overwrite: bool = False,
    allow_module: AllowModule = (),
) -> None:
    """Write a trained model in a form that other programs read.

    A MONAI bundle holds all of the model: 'python -m monai.bundle run' and
    'medgen predict BUNDLE' give the same result. ONNX and torch.export hold
    the networks alone, tile in and tile out; each is compared with the
    network before it is kept.

    For example:

        medgen export run -o bundle
        medgen export run -o model.onnx
        medgen export run -o model.pt2
        medgen export run -o for_slicer --as slicer

    Args:
        run: the run folder, or its 'model' folder.
        output: the folder, or the file. A cascade of several networks is several files, NAME_1.onnx and so on.
        kind: bundle: for MONAI, the default. onnx: the default for names ending in .onnx. torch: a torch.export
            program, the default for .pt2. slicer: what the extension SlicerModalityConverter of 3D Slicer loads, for
            its versions that tell a model the grid of an image; the newer ones do not, and the model refuses there.
        scores: a file of 'medgen evaluate' for the card; repeatable; by default scores*.json in the model folder, or
            else in the run folder.
        overwrite: replace a file, or a folder that an earlier export made.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.export import export_model

    for path in export_model(run, output, kind, scores=scores, overwrite=overwrite, allow_modules=allow_module):
        say(f"written: {path}")
