"""The folder that SlicerModalityConverter, an extension of 3D Slicer, loads: a class, ``metadata.json`` and ONNX.

The extension keeps a class in ``ModalityConverterLib/ModelsImpl``, and in ``Resources/Models`` the ONNX file and the
table ``metadata.json`` of all models. Its classes do their own preparation; ours gives the work to medgen, which has to
be installed in Slicer's Python, and so gives what ``medgen predict --engine onnx`` gives.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from medgen.errors import UsageError
from medgen.export.bundle import licence_text
from medgen.export.folder import copy_model, export_folder, require_replaceable
from medgen.files import write_json
from medgen.inference.loading import load_model
from medgen.inference.model import LoadedModel
from medgen.inference.portable import OnnxNetwork, require_onnx, write_onnx
from medgen.report.card import Card, as_markdown, read_card

MODELS = "Resources/Models"
CLASSES = "ModalityConverterLib/ModelsImpl"
TEMPLATE = Path(__file__).with_name("slicer_class.txt")


def write_slicer_folder(
    run: Path, output: Path, *, scores: Sequence[str | Path], overwrite: bool, allow_modules: Sequence[str]
) -> Path:
    """Write the folder; arguments and errors as for :func:`~medgen.export.export_model`.

    Raises:
        UsageError: the model reads several images, or has several networks; or what that function names.
    """
    require_replaceable(output, overwrite=overwrite)
    require_onnx()
    card, model = read_card(run, scores), load_model(run, device="cpu", allow_modules=allow_modules)
    _require_one(model)
    word = re.sub(r"\W+", "_", card.name, flags=re.ASCII).strip("_").lower() or "model"
    key = f"medgen_{word}_{card.sha256[:8]}"  # the extension takes the first file whose name begins with it
    name = f"Medgen{word.title().replace('_', '')}{card.sha256[:8].title()}"
    with export_folder(output, overwrite=overwrite) as folder:
        for each in (MODELS, CLASSES):
            (folder / each).mkdir(parents=True)
        copy_model(run, folder / MODELS / f"files_of_{key}", card)
        write_onnx(model.stages[0], folder / MODELS / f"{key}.onnx", model.description)
        write_json(folder / MODELS / "metadata.json", {key: _entry(card, model, name)})
        code = TEMPLATE.read_text(encoding="utf-8").replace("MODEL_KEY", key).replace("ModelClass", name)
        (folder / CLASSES / f"{name}.py").write_text(code, encoding="utf-8")
        (folder / "README.md").write_text(as_markdown(card) + _readme(key, name), encoding="utf-8")
        (folder / "LICENSE").write_text(licence_text(card), encoding="utf-8")
    return output


def open_slicer_model(folder: str, onnx: str, device: str) -> LoadedModel:
    """The model of an exported folder, for the class in it.

    Args:
        folder: with ``model.json``.
        onnx: the file that computes the network.
        device: ``cpu``, or a CUDA device for which onnxruntime is made.
    """
    from dataclasses import replace

    model = load_model(folder, device="cpu")
    model.cascade = replace(model.cascade, engines=(OnnxNetwork(onnx, device),))
    return model


def _require_one(model: LoadedModel) -> None:
    reads = model.route().reads
    if len(reads) > 1 or len(model.stages) > 1:
        what = f"reads {', '.join(reads)}" if len(reads) > 1 else f"is a cascade of {len(model.stages)} networks"
        raise UsageError(
            f"the extension of 3D Slicer gives a model one image and one ONNX file; this one {what}",
            fix="use 'medgen predict' and load its result into 3D Slicer, or export a bundle",
        )


def _entry(card: Card, model: LoadedModel, name: str) -> dict[str, object]:
    reads, makes = model.inputs[0], model.classes or (model.target,)
    lines = [
        html.escape(card.summary),
        f"<b>Input</b>: {html.escape(reads)}",
        "<b>Preprocess</b>: by medgen, as in its training",
        f"<b>Output</b>: {html.escape(', '.join(makes))}, on the grid of the input",
        *(f"<b>Note</b>: {html.escape(each)}" for each in card.limits),
    ]
    return {
        "url": "",
        "display_name": f"[medgen] {reads} to {', '.join(makes)}: {card.name}",
        "description": "<br>".join(lines),
        "module_name": name,
        "mask_required": False,
    }


def _readme(key: str, name: str) -> str:
    return f"""
## In 3D Slicer

In the folder `ModalityConverter` of the extension SlicerModalityConverter, where `ModalityConverter.py` lies:

1. Copy `{CLASSES}/{name}.py`, `{MODELS}/{key}.onnx` and the folder `{MODELS}/files_of_{key}` to the same places.
2. Add the entry of `{MODELS}/metadata.json` to the file of that name. Do not replace the file: it lists all models.
3. In Slicer's Python console: `slicer.util.pip_install("medgen[onnx]")`, or the path of a wheel. It needs Python 3.11.

The class needs the grid of the image. Versions of the extension that compute in a process of their own hand over bare
voxels; there it refuses, and `medgen predict` is the way.
"""
