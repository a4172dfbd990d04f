"""The exported class, loaded as SlicerModalityConverter loads it, with stand-ins for Slicer's modules."""

import importlib.util
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from small_models import AFFINE, image, save_small

from medgen import export_model, load_model
from medgen.errors import UsageError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FCN = {"generator": "fcn", "width": 0.125, "context": "none"}


class Node:
    """A scalar volume: voxels in the order k, j, i, and the matrix from i, j, k to RAS."""

    def __init__(self, array: np.ndarray | None = None) -> None:
        self.array, self.placed_as = array, None

    def GetIJKToRASMatrix(self, matrix) -> None:
        matrix.values = AFFINE

    def CopyOrientation(self, other) -> None:
        self.placed_as = other


class Matrix:
    values = np.eye(4)

    def GetElement(self, row: int, column: int) -> float:
        return float(self.values[row, column])


class BaseModel:
    """As in ModalityConverterLib.ModelBase, without the download."""

    models = ""

    def __init__(self, key: str, device: str = "cpu") -> None:
        self.modelKey, self.device, self.baseModelsDir = key, device, str(self.models)

    def loadModel(self) -> None:
        (file,) = [each for each in self.models.iterdir() if each.name.startswith(self.modelKey)]
        self.model = self._loadModelFromPath(str(file))


@pytest.fixture
def registry(monkeypatch):
    """The models that registered themselves."""
    found = {}

    def module(name: str, **content):
        made = ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    def set_array(node, array):
        node.array = array

    util = SimpleNamespace(
        arrayFromVolume=lambda node: node.array, updateVolumeFromArray=set_array, resetSliceViews=lambda: None
    )
    module("slicer", util=util)
    module("vtk", vtkMatrix4x4=Matrix)
    module("ModalityConverterLib")
    module(
        "ModalityConverterLib.ModelBase",
        BaseModel=BaseModel,
        register_model=lambda key: lambda kind: found.setdefault(key, kind),
    )
    return found


def test_it_gives_what_medgen_gives(registry, tmp_path, monkeypatch):
    run = save_small(tmp_path / "run", FCN, size=32)
    (folder,) = export_model(run, tmp_path / "slicer", "slicer")
    monkeypatch.setattr(BaseModel, "models", folder / "Resources/Models")
    ((key, entry),) = json.loads((folder / "Resources/Models/metadata.json").read_text()).items()
    assert "Not for clinical use" in entry["description"]
    file = folder / "ModalityConverterLib/ModelsImpl" / f"{entry['module_name']}.py"
    spec = importlib.util.spec_from_file_location("exported_class", file)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    kind = registry[key]
    assert kind.__name__ == entry["module_name"]

    model = kind(key, "cpu")
    model.loadModel()
    source, result = Node(image().data[0].transpose(2, 1, 0)), Node()
    model.runInference(source, result)
    expected = load_model(run, device="cpu").predict(image())
    np.testing.assert_allclose(result.array.transpose(2, 1, 0) / 1512, expected.data[0] / 1512, atol=1e-4)
    assert result.placed_as is source
    with pytest.raises(RuntimeError, match="without their size"):
        model.runInference(SimpleNamespace(array=source.array), result)


def test_a_cascade_is_refused_before_anything_is_written(tmp_path):
    run = save_small(tmp_path / "run", {**FCN, "stages": 2}, size=32)
    with pytest.raises(UsageError, match="cascade of 2 networks"):
        export_model(run, tmp_path / "slicer", "slicer")
    assert not (tmp_path / "slicer").exists()
