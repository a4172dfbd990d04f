"""A trained model for other programs: a MONAI bundle, ONNX, a torch.export program, or a folder for 3D Slicer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from medgen.errors import UsageError
from medgen.export.folder import require_outside
from medgen.files import atomic_path, require_output
from medgen.inference.loading import load_model
from medgen.inference.portable import require_onnx, write_onnx, write_program
from medgen.types import Export

SUFFIXES: dict[str, Export] = {".onnx": "onnx", ".pt2": "torch"}
"""What is written where no kind is named; without such a suffix it is a bundle."""


def export_model(
    run: str | Path,
    output: str | Path,
    kind: Export | None = None,
    *,
    scores: Sequence[str | Path] = (),
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
) -> list[Path]:
    """Write a trained model in a form that other programs read.

    ``bundle``: a folder that ``python -m monai.bundle run`` and :func:`medgen.predict` take. ``onnx`` and ``torch``:
    the networks alone, tile in and tile out, each compared with the network before it is kept; preparation, tiles and
    the way back onto the patient's grid are those that the text ``model.json`` in the file describes. ``slicer``: what
    the extension SlicerModalityConverter of 3D Slicer loads.

    Args:
        run: the run folder, or its ``model`` folder.
        output: the file or the folder. A cascade of several networks is several files, ``<name>_1.onnx`` and so on.
        kind: by default ``onnx`` for a name ending in ``.onnx``, ``torch`` for ``.pt2``, and else ``bundle``.
        scores: files of ``medgen evaluate`` for the card; by default those named ``scores*.json`` in the model folder,
            or else in the run folder. Their means, without the cases, go with a bundle and a folder for 3D Slicer.
        overwrite: replace a file, or a folder that an earlier export made.
        allow_modules: modules outside medgen that the model may name as its method.

    Returns:
        The files, or the folder, that were written.

    Raises:
        UsageError: the output is there, lies in the model or the export that it is made from, or its name does not fit
            the kind; or the model has no such form, and then the message says what to do.
        ModelError: the model is missing or damaged.
        StorageError: the disk is full or the folder cannot be written; nothing is left.
    """
    run, output = Path(run), Path(output)
    named = SUFFIXES.get(output.suffix)
    kind = kind or named or "bundle"
    suffix = next((each for each, name in SUFFIXES.items() if name == kind), "")
    if (named or "") != (kind if suffix else ""):
        needed = f"a name that ends in {suffix}" if suffix else "the name of a folder"
        raise UsageError(f"'{kind}' is written to {needed}", where=output, fix="choose another name, or another --as")
    require_outside(run, output)
    if kind == "bundle":
        from medgen.export.bundle import write_bundle

        return [write_bundle(run, output, scores=scores, overwrite=overwrite, allow_modules=allow_modules)]
    if kind == "slicer":
        from medgen.export.slicer import write_slicer_folder

        return [write_slicer_folder(run, output, scores=scores, overwrite=overwrite, allow_modules=allow_modules)]
    return _write_networks(run, output, kind, overwrite=overwrite, allow_modules=allow_modules)


def _write_networks(
    run: Path, output: Path, kind: Export, *, overwrite: bool, allow_modules: Sequence[str]
) -> list[Path]:
    if kind == "onnx":
        require_onnx()
    model = load_model(run, device="cpu", allow_modules=allow_modules)
    stages = model.stages
    files = [output]
    if len(stages) > 1:
        files = [output.with_stem(f"{output.stem}_{number}") for number in range(1, len(stages) + 1)]
    for file in files:
        require_output(file)
        if file.exists() and not overwrite:
            raise UsageError("the file is there already", where=file, fix="choose another name, or --overwrite")
    tile = [edge for axis, edge in enumerate(model.cascade.plan().size) if axis != model.cascade.across]
    with ExitStack() as written:  # all or none
        for number, (stage, file) in enumerate(zip(stages, files, strict=True), start=1):
            temporary = written.enter_context(atomic_path(file))
            content = {**model.description, "network": number, "networks": len(stages)}
            if kind == "onnx":
                write_onnx(stage, temporary, content)
            else:
                write_program(stage, temporary, tile, content)
    return files
