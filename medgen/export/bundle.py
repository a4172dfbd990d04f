"""A MONAI bundle: the model folder as it is, and the configurations with which MONAI runs it.

Preparation, tiles, cascade and the way back onto the patient's grid have no equal among MONAI's transforms, so
``inference.json`` names :func:`medgen.predict`, and ``python -m monai.bundle run`` gives what ``medgen predict`` gives.
medgen itself reads the folder ``model`` of a bundle and none of its configurations, which can run any code.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import medgen
from medgen.errors import UsageError
from medgen.export.folder import copy_model, export_folder, require_replaceable
from medgen.files import write_json
from medgen.inference.opened import Opened, open_model
from medgen.methods.base import Method, Predicts, Samples, Shape, Translates
from medgen.preparation.settings import Roles
from medgen.report.card import Card, as_markdown, as_monai, read_card

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""MONAI's JSON Schema of ``metadata.json``; ``monai.bundle verify_metadata`` downloads it, medgen does not."""


class BundleNetwork(nn.Module):
    """The networks of a bundle, as MONAI's tools see them: ``forward`` is the prediction of the first for a tile.

    Args:
        bundle: the folder of the bundle.
        device: where the networks are.
    """

    def __init__(self, bundle: str, device: str = "cpu") -> None:
        from medgen.training.model_folder import load_stages

        super().__init__()
        stages, _ = load_stages(Path(bundle), device)
        for number, stage in enumerate(stages):
            self.add_module(f"stage{number}", stage)
        self._first = (stages[0],)  # in a tuple: once among the modules is enough

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, X, Y, Z)``, prepared, to ``(B, K, X - 2 margin, ...)``."""
        (first,) = self._first
        if isinstance(first, Translates):
            return first.predict(image, "forward")
        if not isinstance(first, Predicts):
            raise UsageError("this model makes no prediction", fix="run 'medgen sample' with the bundle")
        return first.predict(image)


def write_bundle(
    run: Path, output: Path, *, scores: Sequence[str | Path], overwrite: bool, allow_modules: Sequence[str]
) -> Path:
    """Write a bundle; arguments and errors as for :func:`~medgen.export.export_model`."""
    require_replaceable(output, overwrite=overwrite)
    card, model = read_card(run, scores), open_model(run, "cpu", allow_modules)
    if "." in str(card.content["method"]):
        raise UsageError(
            f"the method '{card.content['method']}' is no part of medgen, so a bundle would not run elsewhere",
            where=run,
            fix="export the network: -o model.onnx or -o model.pt2",
        )
    with export_folder(output, overwrite=overwrite) as folder:
        copy_model(run, folder / "model", card)
        for name in ("models", "docs"):
            (folder / name).mkdir()
        network = BundleNetwork(str(folder))
        kept = {name: tensor for name, tensor in network.state_dict().items() if _exported(network, name)}
        torch.save(kept, folder / "models" / "model.pt")
        write_json(folder / "configs" / "metadata.json", _metadata(card, model))
        write_json(folder / "configs" / "inference.json", _inference(model.method))
        (folder / "docs" / "README.md").write_text(as_markdown(card) + _README, encoding="utf-8")
        (folder / "LICENSE").write_text(licence_text(card), encoding="utf-8")
    return output


def licence_text(card: Card) -> str:
    """The terms of the weights, and of the code that runs them."""
    terms = f"The weights: {card.licence}."
    if card.licence == "not stated":
        terms = "The licence of the weights is not stated: ask those who trained them before you pass them on."
    return f"{terms}\nmedgen, which runs them: Apache-2.0.\n\nResearch use only, not for clinical use.\n"


def _exported(network: BundleNetwork, name: str) -> bool:
    stage, part = name.split(".")[:2]
    method = network.get_submodule(stage)
    assert isinstance(method, Method)
    return part in method.exported()


def _metadata(card: Card, model: Opened) -> dict[str, Any]:
    """What MONAI's schema asks for, and the card."""
    stated = as_monai(card)
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in ("monai", "torch", "numpy")}
    return {
        "schema": SCHEMA,
        **stated,
        "changelog": {stated["version"]: "exported by medgen"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"medgen": medgen.__version__},
        "authors": "not stated",
        "network_data_format": _data_format(card.content, model),
    }


def _data_format(content: Mapping[str, Any], model: Opened) -> dict[str, Any]:
    """What the first network reads and makes: training patches of prepared images, and of what is made from them."""
    known, method = model.known, model.method
    roles: Roles = known.preparation.roles
    made = list(known.classes) or list(known.task.made(roles))
    outputs = ["background", *known.classes] if known.classes else made
    shape = _first_shape(content)
    context = [f"estimate of {name} by boosted trees" for name in made][: shape.context]
    values = [known.task.values.low, known.task.values.high]
    return (
        {
            "inputs": {"image": _tensor(shape, shape.inputs, "magnitude", [], [*roles.inputs, *context])},
            "outputs": {
                "pred": _tensor(
                    shape, shape.outputs, "labels" if known.task.labels else "magnitude", _finite(values), outputs
                )
            },
        }
        if isinstance(method, Predicts | Translates)
        else {"inputs": {}, "outputs": {}}
    )


def _tensor(shape: Shape, channels: int, form: str, values: list[float], names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "image",
        "format": form,
        "modality": "n/a",
        "num_channels": channels,
        "spatial_shape": list(shape.size),
        "dtype": "float32",
        "value_range": values,
        "is_patch_data": True,
        "channel_def": {str(number): name for number, name in enumerate(names)},
    }


def _finite(values: list[float]) -> list[float]:
    return values if all(abs(each) < float("inf") for each in values) else []


def _first_shape(content: Mapping[str, Any]) -> Shape:
    size = content["shape"]
    return Shape(size["inputs"], size["outputs"], tuple(size["size"]), size.get("context", 0))


def _inference(method: Method) -> dict[str, Any]:
    """The configuration for ``python -m monai.bundle run``."""
    shared: dict[str, Any] = {
        "bundle_root": ".",
        "device": "auto",
        "network_def": {"_target_": "medgen.export.bundle.BundleNetwork", "bundle": "@bundle_root"},
    }
    task: dict[str, Any] = {"_mode_": "callable", "run": "@bundle_root", "output": "@output", "device": "@device"}
    if isinstance(method, Predicts | Translates):
        found = {
            "inputs": "$@bundle_root + '/cases.csv'",
            "output": "$@bundle_root + '/eval'",
            "overwrite": False,
            "evaluator": {"_target_": "medgen.predict", **task, "inputs": "@inputs", "overwrite": "@overwrite"},
        }
    elif isinstance(method, Samples):
        found = {
            "output": "$@bundle_root + '/samples'",
            "count": 8,
            "seed": 0,
            "evaluator": {"_target_": "medgen.sample", **task, "count": "@count", "seed": "@seed"},
        }
    else:
        raise UsageError(
            "a bundle predicts or samples, and this model does neither", fix="use the run folder, which has all of it"
        )
    return {**shared, **found, "run": ["$@evaluator()"]}


_README = """
## As a MONAI bundle

`python -m monai.bundle run` gives what `medgen predict` gives: both run medgen (`pip install medgen`).

```bash
python -m monai.bundle run --config_file BUNDLE/configs/inference.json --bundle_root BUNDLE \\
  --inputs t1.nii.gz --output ct.nii.gz
medgen predict BUNDLE -i t1.nii.gz -o ct.nii.gz
```

Of several images, `--inputs "['t1=t1.nii.gz', 't2=t2.nii.gz']"`; of a cohort, a case table. medgen reads the folder
`model` alone. `models/model.pt` holds the same weights for MONAI's own tools. MONAI runs whatever code a
configuration names: run bundles of people whom you trust.
"""
