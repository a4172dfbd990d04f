"""An exported network gives what the network gives, on the same tiles; what cannot be exported is refused."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from small_models import image, save_small
from torch import Tensor

from medgen import export_model, load_model
from medgen.errors import UsageError
from medgen.inference.portable import CONTENT, write_onnx, write_program
from medgen.methods.base import Method, Predicts, Shape, Update
from medgen.methods.catalogue import create
from medgen.sampling.batches import Paired

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIDES = {"deepmedic": (16, 12, 10)}
"""Of the image, where it shall be small."""
NETWORKS = {
    "unet": ({"generator": "unet", "width": 0.125, "context": "none"}, {"size": 16}),
    "cascade": ({"generator": "fcn", "width": 0.125, "context": "none", "stages": 2}, {"size": 32}),
    "deepmedic": ({"preset": "small"}, {"patch": 57, "size": 64}),
}


def probabilities_or_image(model, sides=(40, 20, 19)) -> np.ndarray:
    """What the networks made: probabilities, or HU in the range [-1, 1] of the window of 3024 HU."""
    if not model.classes:
        return model.predict(image(sides)).data / 1512
    found: list[np.ndarray] = []
    model.predict(image(sides), on_probability=lambda _, each: found.append(each.data))
    return found[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_what_torch_gives(name, tmp_path):
    (config, options), sides = NETWORKS[name], SIDES.get(name, (40, 20, 19))
    run = save_small(tmp_path / "run", config, **options)
    expected = probabilities_or_image(load_model(run, device="cpu"), sides)
    model = load_model(run, engine="onnx")
    assert len(model.cascade.engines) == len(model.stages)
    for stage in model.stages:  # only the exported networks are asked
        stage.predict = None
    found = probabilities_or_image(model, sides)
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_program_gives_what_torch_gives(tmp_path):
    config, options = {**NETWORKS["cascade"][0], "stages": 1}, NETWORKS["cascade"][1]
    run = save_small(tmp_path / "run", config, **options)
    (file,) = export_model(run, tmp_path / "network.pt2")
    model = load_model(run, device="cpu")
    expected = probabilities_or_image(model)
    extra = {CONTENT: ""}
    program = torch.export.load(str(file), extra_files=extra).module()
    assert json.loads(extra[CONTENT])["weights_sha256"] == model.hashes[0]
    object.__setattr__(model.cascade, "engines", (program,))
    np.testing.assert_allclose(probabilities_or_image(model), expected, atol=1e-4)


def test_onnx_files_say_what_they_read_and_take_any_size(tmp_path):
    run = save_small(tmp_path / "run", NETWORKS["cascade"][0], size=32)
    files = export_model(run, tmp_path / "network.onnx")
    assert [file.name for file in files] == ["network_1.onnx", "network_2.onnx"]
    for number, file in enumerate(files, start=1):
        graph = onnx.load(str(file))
        content = json.loads({each.key: each.value for each in graph.metadata_props}[CONTENT])
        assert (content["network"], content["networks"]) == (number, 2)
        assert content["preparation"]["roles"]["inputs"] == ["t1"]
        sides = graph.graph.input[0].type.tensor_type.shape.dim
        assert [bool(side.dim_param) for side in sides] == [True, False, True, True, True]
    with pytest.raises(UsageError, match="there already"):
        export_model(run, tmp_path / "network.onnx")
    assert export_model(run, tmp_path / "network.onnx", overwrite=True) == files


def test_what_only_torch_can_do_is_refused(tmp_path):
    run = save_small(tmp_path / "run", {"generator": "unet", "width": 0.125, "context": "none", "dropout": 0.1})
    model = load_model(run, engine="onnx")
    with pytest.raises(UsageError, match="without chance alone"):
        model.predict(image(), samples=2, dropout=True)


@pytest.mark.parametrize("write", [write_onnx, lambda stage, path: write_program(stage, path, (16, 16, 16))])
def test_a_model_without_a_prediction_is_refused(write, tmp_path):
    with pytest.raises(UsageError, match=r"makes no prediction.*sample"):
        write(create("nice", {}, Shape(1, 1, (8, 8, 8))).eval(), tmp_path / "network")


class Brightness(Method, Predicts):
    """Computes outside of torch, or with the number of voxels as a constant: what a trace cannot see."""

    batch_class = Paired

    def optimizers(self) -> dict[str, Any]:
        return {}

    def updates(self, batch: Any, progress: float) -> Iterator[Update]:
        yield from ()

    def predict(self, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if self.config == "constant":
            return image / float(image.shape[2])
        raise RuntimeError("no graph of this")


@pytest.mark.parametrize(("config", "reason"), [("constant", "values that differ"), ("other", "no graph of this")])
def test_a_wrong_or_impossible_file_is_refused_with_what_to_do(config, reason, tmp_path):
    with pytest.raises(UsageError, match=reason) as caught:
        write_onnx(Brightness(config, Shape(1, 1)).eval(), tmp_path / "network.onnx")
    assert "--as bundle" in caught.value.fix


def test_a_teacher_or_statistics_of_a_domain_are_exported(tmp_path):
    """Methods that predict with other weights than those in training."""
    stage = create("mean_teacher", {"network": "unet", "width": 0.125}, Shape(1, 2, (16, 16, 16))).eval()
    write_onnx(stage, tmp_path / "network.onnx")
