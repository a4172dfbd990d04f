"""One trained model and one patient: volumes in, a volume on the patient's own grid out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medgen.checkpoint import load_stages
from medgen.config import build
from medgen.engine import parse_device
from medgen.errors import InputError, ModelError, UsageError
from medgen.inference.memory import Plan, expected_need, free_bytes, memory_errors, within_memory
from medgen.inference.settings import InferenceConfig
from medgen.inference.sources import Image, Source, by_role
from medgen.inference.stages import LOW, Estimate, first_plan, run_stages
from medgen.method import Method
from medgen.preparation import Preparation, Prepared
from medgen.volume import Geometry, Grid, Kind, Volume, read_header, read_volume, write_volume

Progress = Callable[[int, int, str], None]
NanRule = Literal["error", "zero", "min", "median"]

AIR = -1024.0
"""HU outside the body."""
_STALE_SECONDS = 3600.0
"""A temporary file next to a single output that is older than this was left by a killed process."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What the user overrides about reading images; None leaves the model's own rule.

    Attributes:
        nan: what takes the place of voxels that are NaN or infinite.
        geometry: which one to believe where sform and qform disagree.
        frame: which frame of a 4D file, from 0.
    """

    nan: NanRule | None = None
    geometry: Geometry | None = None
    frame: int | None = None


class LoadedModel:
    """The networks of a cascade with everything that prediction needs besides an image.

    Args:
        stages: networks in their order, in evaluation mode on ``device``.
        description: the content of ``model.json``.
        device: where they are.
    """

    def __init__(self, stages: Sequence[Method], description: Mapping[str, Any], device: torch.device) -> None:
        self.stages = tuple(stages)
        self.description = dict(description)
        self.device = device
        try:
            self.preparation = Preparation.from_dict(description["preparation"])
            self.settings = build(InferenceConfig, description["inference"])
            self.patch = tuple(int(edge) for edge in description["patches"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"model.json lacks {error}", fix="copy the model folder again") from None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the images that the model reads, e.g. ``("t1", "ge|swi")``."""
        return self.preparation.roles.inputs

    @property
    def target(self) -> str:
        """Role of the image that the model makes, e.g. ``"ct"``."""
        role = self.preparation.roles.target
        if role is None:
            raise ModelError("the model makes no image: its recipe names no target", fix="use another model")
        return role

    @property
    def kind(self) -> Kind:
        """How a result is written: ``hu`` as int16, anything without a unit as float32."""
        return "hu" if self.preparation.intensity(self.target).hounsfield else "scalar"

    def predict(
        self,
        source: Source,
        *,
        nan: NanRule | None = None,
        geometry: Geometry | None = None,
        frame: int | None = None,
        progress: Progress | None = None,
    ) -> Volume:
        """Predict one patient.

        Args:
            source: a NIfTI file or a :class:`Volume` for a model with one input; ``{role: file or volume}``; or a
                row of a case table.
            nan: what takes the place of voxels that are NaN or infinite; the model's own rule by default.
            geometry: which one to believe where sform and qform disagree.
            frame: which frame of a 4D file, from 0.
            progress: called with (done, total, what).

        Returns:
            (1, X, Y, Z) float32 on the grid of the first input: HU for CT, -1024 outside the body. ``notes`` say
            what was decided on the way.

        Raises:
            UsageError: the images do not carry the model's roles.
            InputError: an image is missing, damaged, empty or a single slice, or the images do not fit together.
            ModelError: the network returned NaN or infinity.
            MemoryExhausted: nothing that was tried fits into memory.
        """
        images = by_role(source, self.inputs)
        with memory_errors(self._expect(images, Reading(nan, geometry, frame))):
            prepared, notes = self._prepare(images, Reading(nan, geometry, frame))
            estimate, more = self._estimate(prepared, progress)
            prepared = replace(prepared, image=np.empty(0))  # frees it: going back needs the grids alone
            if estimate.clipped:
                share = estimate.clipped / max(1, estimate.voxels)
                more += (f"{estimate.clipped} voxels ({share:.2%} of the body) outside the model's range, clipped",)
            data = self.preparation.target_from_network(estimate.data)
            del estimate
            volume = self.preparation.restore(self._with_air(data, prepared), prepared, fill=self._outside)
        return replace(volume, source="", notes=tuple(dict.fromkeys((*notes, *more))))

    def predict_file(
        self,
        source: Source,
        output: str | Path,
        *,
        overwrite: bool = False,
        nan: NanRule | None = None,
        geometry: Geometry | None = None,
        frame: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[str, ...]:
        """Predict one patient into a NIfTI file; CT as int16 HU, rounded.

        Args:
            source: as for :meth:`predict`.
            output: a new name ending in ``.nii`` or ``.nii.gz``.
            overwrite: replace what is there.
            nan: as for :meth:`predict`.
            geometry: as for :meth:`predict`.
            frame: as for :meth:`predict`.
            progress: as for :meth:`predict`.

        Returns:
            The notes.

        Raises:
            UsageError: the file exists and may not be overwritten, or is not named like NIfTI; said before the work.
            StorageError: the disk is full or the folder cannot be written; no partial file is left.
        """
        output = Path(output)
        _require_writable(output, overwrite=overwrite)
        volume = self.predict(source, nan=nan, geometry=geometry, frame=frame, progress=progress)
        write_volume(volume, output, kind=self.kind, overwrite=overwrite)
        return volume.notes

    def _expect(self, images: Mapping[str, Image], reading: Reading) -> str:
        """Look at the headers: refuse a single slice, and say what memory the largest volume will need."""
        grids = [self._grid(image, reading) for image in images.values()]
        for grid in grids:
            if min(grid.shape) < 2:
                raise InputError(
                    f"the image has {_size(grid.shape)} voxels: a single slice, and the model needs a volume",
                    where=grid.source or None,
                    fix="give all slices of the series",
                )
        spacing = self.preparation.config.spacing
        finer = max(1.0, math.prod(grids[0].spacing) / math.prod(spacing)) if spacing else 1.0
        voxels = max(math.prod(grid.shape) for grid in grids) * finer
        need, free = expected_need(voxels, len(grids)), free_bytes()
        text = f"a volume of {_size(grids[0].shape)} voxels needs about {need / 1e9:.1f} GB of memory"
        if free is not None:
            text += f", {free / 1e9:.1f} GB were free"
            if need > free:
                log.warning(text)
        return text

    def _prepare(self, images: Mapping[str, Image], reading: Reading) -> tuple[Prepared, tuple[str, ...]]:
        preparation = self.preparation
        if reading.nan is not None:
            preparation = replace(preparation, config=preparation.config.model_copy(update={"nan": reading.nan}))
        volumes = {role: self._read(image, reading) for role, image in images.items()}
        prepared = preparation.prepare_inputs(volumes)
        notes = (note for volume in volumes.values() for note in volume.notes)
        return prepared, (*notes, *prepared.notes, *preparation.unlike_training(prepared))

    def _grid(self, image: Image, reading: Reading) -> Grid:
        if isinstance(image, Volume):
            return image.grid
        return read_header(image, geometry=self._geometry(reading), frame=reading.frame)

    def _read(self, image: Image, reading: Reading) -> Volume:
        if isinstance(image, Volume):
            return image
        return read_volume(image, geometry=self._geometry(reading), frame=reading.frame)

    def _geometry(self, reading: Reading) -> Geometry | None:
        return reading.geometry or self.preparation.config.geometry

    def _estimate(self, prepared: Prepared, progress: Progress | None) -> tuple[Estimate, tuple[str, ...]]:
        first = first_plan(self.stages, self.settings, self.patch, self.device)
        bytes_needed = prepared.body.size * 4 * (len(prepared.image) + 2 * self.stages[0].channels.outputs)

        def attempt(plan: Plan) -> Estimate:
            for stage in self.stages:
                stage.to(plan.device)
            return run_stages(self.stages, prepared.image, prepared.body, plan, self.settings, progress=progress)

        try:
            return within_memory(
                attempt,
                first,
                margin=self.stages[0].margin,
                multiple=self.stages[0].multiple,
                need=f"{_size(prepared.body.shape)} voxels take {bytes_needed / 1e9:.2f} GB besides the network",
            )
        finally:
            for stage in self.stages:
                stage.to(self.device)

    @property
    def _outside(self) -> float:
        """Value outside the body, in the unit of the target."""
        return AIR if self.kind == "hu" else float(self.preparation.target_from_network(np.full(1, LOW))[0])

    def _with_air(self, data: np.ndarray[Any, Any], prepared: Prepared) -> np.ndarray[Any, Any]:
        for x in range(data.shape[1]):
            np.copyto(data[:, x], np.float32(self._outside), where=~prepared.body[x][None])
        return data


def load_model(run: str | Path, *, device: str = "auto", allow_modules: Sequence[str] = ()) -> LoadedModel:
    """Load what ``medgen train`` wrote.

    Args:
        run: the run folder, or its ``model`` folder.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        allow_modules: modules outside medgen that the model may name as its method.

    Raises:
        UsageError: there is no such device here; the message names those that there are.
        ModelError: something is missing, damaged, of a newer format, or names a module that was not allowed.
    """
    kind, index = parse_device(device)
    place = torch.device(kind if index is None else f"{kind}:{index}")
    if device == "auto":
        log.info("predicting on %s", place)
    stages, description = load_stages(Path(run), place, allow_modules=allow_modules)
    return LoadedModel(stages, description, place)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _require_writable(output: Path, *, overwrite: bool) -> None:
    """Refuse before the work what writing would refuse after it, and remove what a killed process left here."""
    if not output.name.endswith((".nii", ".nii.gz")):
        raise UsageError("one volume is written as NIfTI", where=output, fix="end the output's name in .nii.gz")
    if output.exists() and not overwrite:
        raise UsageError("the output exists", where=output, fix="choose another name, or --overwrite")
    for left in output.parent.glob(".partial-*") if output.parent.is_dir() else ():
        if time.time() - left.stat().st_mtime > _STALE_SECONDS:
            left.unlink(missing_ok=True)
