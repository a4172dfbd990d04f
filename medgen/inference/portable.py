"""A network for programs other than medgen: an ONNX file or a ``torch.export`` program, checked before it is kept.

ONNX is written by tracing. On the same networks torch's newer exporter takes ten to fifty times as long (DeepMedic:
minutes) and, where a network branches on the size of its input, gives a graph for some sizes alone. A trace can be
silently wrong for another size, so every file is run on tiles of two sizes and compared with the network.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medgen.errors import UsageError
from medgen.methods.base import Method, Predicts, Translates, abilities_of
from medgen.recipe.prediction import fitting_edge

if TYPE_CHECKING:
    from types import ModuleType

TOLERANCE = 1e-4
"""Largest difference of a voxel that an exported network may show, in the unit of the network's output."""
CONTENT = "model.json"
"""Name of the text in an ONNX file or a program that says what the model reads, makes and prepares."""
FIX = "export a MONAI bundle (--as bundle), which runs with medgen, or predict without --engine"


class _Forward(nn.Module):
    """The prediction of a method as a module; of one that translates, forward.

    Args:
        stage: in evaluation mode.
    """

    def __init__(self, stage: Method) -> None:
        super().__init__()
        self.stage = stage
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, ...)`` to ``(B, K, ...)``."""
        if isinstance(self.stage, Translates):
            return self.stage.predict(image, "forward")
        assert isinstance(self.stage, Predicts)
        return self.stage.predict(image)


class OnnxNetwork:
    """An ONNX file as a function of a batch of tiles.

    Args:
        path: of the file, which is not needed afterwards.
        device: where it runs: ``cpu``, or a CUDA device for which onnxruntime is made.

    Raises:
        UsageError: onnxruntime is not installed, or not made for the device.
    """

    def __init__(self, path: str | Path, device: torch.device | str = "cpu") -> None:
        runtime, device = require_onnx()[1], torch.device(device)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(str(path), options, providers=_providers(runtime, device))
        self._name = self._session.get_inputs()[0].name

    def __call__(self, tiles: Tensor) -> Tensor:
        """``(B, C, ...)`` float32 to ``(B, K, ...)``, on the device of ``tiles``."""
        (result,) = self._session.run(None, {self._name: tiles.contiguous().numpy(force=True)})
        return torch.from_numpy(result).to(tiles.device)


def require_onnx() -> tuple[ModuleType, ModuleType]:
    """The packages onnx and onnxruntime.

    Raises:
        UsageError: they are not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UsageError("ONNX needs two packages that are not installed", fix="pip install 'medgen[onnx]'") from None
    onnxruntime.disable_telemetry_events()
    return onnx, onnxruntime


def onnx_engines(stages: Sequence[Method], device: torch.device) -> tuple[OnnxNetwork, ...]:
    """Each network of a cascade, run by onnxruntime; arguments and errors as for :func:`write_onnx`."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.onnx" for number, _ in enumerate(stages)]
        for stage, file in zip(stages, files, strict=True):
            write_onnx(deepcopy(stage).cpu(), file)
        return tuple(OnnxNetwork(file, device) for file in files)


def require_prediction(stage: Method) -> None:
    """Refuse what makes no prediction from an image.

    Raises:
        UsageError: says what to do.
    """
    if not isinstance(stage, Predicts | Translates):
        can = ", ".join(abilities_of(type(stage))) or "nothing"
        raise UsageError(f"a model that makes no prediction has no such file; it can: {can}", fix=FIX)


def write_onnx(stage: Method, path: Path, content: Mapping[str, Any] | None = None) -> None:
    """Write the prediction of one network as ONNX, for any number of tiles and every size that the network takes.

    Args:
        stage: on the CPU, in evaluation mode.
        path: the file.
        content: of ``model.json``, which the file shall carry.

    Raises:
        UsageError: the network has no form in ONNX, or the file gives other values; or a package is not installed.
    """
    onnx, _ = require_onnx()
    require_prediction(stage)
    network, (first, second) = _Forward(stage), _tiles(stage)
    free = () if stage.window.exact else tuple(range(2, first.dim()))
    axes = {name: {0: "batch", **{axis: f"{name}_{axis - 2}" for axis in free}} for name in ("image", "prediction")}
    with _refused("as ONNX"), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # of tracing: what it may miss is checked below
        torch.onnx.export(
            network,
            (first,),
            str(path),
            dynamo=False,
            input_names=["image"],
            output_names=["prediction"],
            dynamic_axes=axes,
        )
        if content is not None:
            graph = onnx.load(str(path))
            onnx.helper.set_model_props(graph, {CONTENT: json.dumps(content)})
            onnx.save(graph, str(path))
        written = OnnxNetwork(path)
    _compare(network, written, (first, second), "as ONNX")


def write_program(stage: Method, path: Path, tile: Sequence[int], content: Mapping[str, Any] | None = None) -> None:
    """Write the prediction of one network as a ``torch.export`` program (``.pt2``).

    It takes any number of tiles, and every size that the network takes; of a network whose steps depend on the size,
    such as DeepMedic, the size ``tile`` alone.

    Args:
        stage: on the CPU, in evaluation mode.
        path: the file.
        tile: edges of the tiles of the model.
        content: of ``model.json``, which the file shall carry.

    Raises:
        UsageError: the network cannot be exported, or the program gives other values.
    """
    require_prediction(stage)
    network, window = _Forward(stage), stage.window
    free = not window.exact and window.align == 1 and (window.multiple > 1 or window.margin > 0)
    tiles = _tiles(stage) if free else tuple(_tile(stage, tile, count) for count in (2, 1))
    axes = range(2, tiles[0].dim()) if free else ()
    shapes = {"image": dict.fromkeys((0, *axes), torch.export.Dim.DYNAMIC)}
    with _refused("as a torch.export program"), torch.no_grad():
        program = torch.export.export(network, (tiles[0],), dynamic_shapes=shapes)
        torch.export.save(program, str(path), extra_files={CONTENT: json.dumps(content)} if content else None)
        written = torch.export.load(str(path)).module()
    _compare(network, written, tiles, "as a torch.export program")


def _tiles(stage: Method) -> tuple[Tensor, Tensor]:
    """Two batches that the network can take, of other counts and sizes where it takes several."""
    window, patch = stage.window, stage.shape.size
    if window.exact:
        return _tile(stage, patch, 2), _tile(stage, patch, 1)
    least = [max(each, 2 * window.multiple) for each in window.smallest(len(patch))]
    step = math.lcm(window.multiple, window.align)
    # Odd where the network pads by itself: a trace of a size that needs no padding would have none.
    first = [fitting_edge(edge + 1 + (edge % 2) + 2 * axis, window) for axis, edge in enumerate(least)]
    second = [fitting_edge(edge + (3 - axis) * step, window) for axis, edge in enumerate(first)]
    return _tile(stage, first, 2), _tile(stage, second, 1)


def _tile(stage: Method, size: Sequence[int], count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, stage.shape.inputs, *size, generator=generator).clamp(-1, 1)


def _compare(network: nn.Module, written: Callable[[Tensor], Tensor], tiles: Sequence[Tensor], how: str) -> None:
    """Refuse a file that gives other values than the network."""
    for tile in tiles:
        with torch.no_grad(), _refused(how):
            expected, found = network(tile).float(), written(tile)
        same = found.shape == expected.shape
        difference = float((found - expected).abs().max()) if same else math.inf
        if not difference <= TOLERANCE:
            text = f"values that differ by {difference:.2g}" if same else "another size"
            raise UsageError(f"the network cannot be written {how}: for {tuple(tile.shape)} it gave {text}", fix=FIX)


@contextmanager
def _refused(how: str) -> Iterator[None]:
    """Whatever an exporter cannot do, as an error that says what can be done."""
    try:
        yield
    except (UsageError, OSError, MemoryError):
        raise
    except Exception as error:  # each library has its own
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"the network cannot be written {how}: {reason}", fix=FIX) from error


def _providers(runtime: ModuleType, device: torch.device) -> list[Any]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type != "cuda" or "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise UsageError(
            f"the onnxruntime that is installed does not run on {device.type}",
            fix="leave --device out, or for an NVIDIA GPU: pip install onnxruntime-gpu",
        )
    return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]
