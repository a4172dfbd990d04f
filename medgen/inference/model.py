"""One trained model and one patient: volumes in, a volume on the patient's own grid out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medgen.checkpoint import load_stages
from medgen.config import build
from medgen.engine import parse_device
from medgen.errors import ModelError, UsageError
from medgen.inference.labels import OnProbability, classes_of, found_in, restore_label, without_small
from medgen.inference.memory import Plan, memory_errors, within_memory
from medgen.inference.reading import NanRule, Reading, memory_need, read_image, size_text
from medgen.inference.settings import InferenceConfig
from medgen.inference.sources import Image, Source, by_role
from medgen.inference.stages import IMAGE, VALUES, Estimate, first_plan, run_stages
from medgen.inference.writing import Written, probability_file, require_writable
from medgen.method import Method
from medgen.preparation import Preparation, Prepared
from medgen.volume import Geometry, Kind, Volume, write_volume

Progress = Callable[[int, int, str], None]
Task = Literal["synthesis", "segmentation"]

AIR = -1024.0
"""HU outside the body."""

log = logging.getLogger(__name__)


class LoadedModel:
    """The networks of a cascade with everything that prediction needs besides an image.

    Args:
        stages: networks in their order, in evaluation mode on ``device``.
        description: the content of ``model.json``.
        device: where they are.

    Attributes:
        task: what the model makes: an image (``synthesis``) or a label map (``segmentation``).
        classes: names of the classes of a segmentation, without the background: label n is ``classes[n - 1]``.

    Raises:
        ModelError: the description lacks something or contradicts the networks.
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
        # Models from before there were segmentations do not say what they are.
        task = description.get("task", "synthesis")
        if task not in VALUES:
            raise ModelError(f"the model's task is {task!r}, which cannot be predicted", fix="use a newer medgen")
        self.task: Task = task
        self.classes = classes_of(description, self.stages[0].channels.outputs) if task == "segmentation" else ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the images that the model reads, e.g. ``("t1", "ge|swi")``."""
        return self.preparation.roles.inputs

    @property
    def target(self) -> str:
        """Role of what the model makes, e.g. ``"ct"``, or ``"label"`` for a segmentation."""
        roles = self.preparation.roles
        role = roles.labels if self.task == "segmentation" else roles.target
        if role is None:
            what = "label map: its recipe names no labels" if self.classes else "image: its recipe names no target"
            raise ModelError(f"the model makes no {what}", fix="use another model")
        return role

    @property
    def kind(self) -> Kind:
        """How a result is written: ``label`` as uint8, ``hu`` as int16, anything without a unit as float32."""
        if self.task == "segmentation":
            return "label"
        return "hu" if self.preparation.intensity(self.target).hounsfield else "scalar"

    def predict(
        self,
        source: Source,
        *,
        nan: NanRule | None = None,
        geometry: Geometry | None = None,
        frame: int | None = None,
        on_probability: OnProbability | None = None,
        progress: Progress | None = None,
    ) -> Volume:
        """Predict one patient.

        Nothing but the inputs is used: a mask that the model was trained in is not needed, and not looked at where
        there is one. The result fills the body found in the first input, which is the brain where that is
        skull-stripped; around it stand air or background.

        Args:
            source: a NIfTI file or a :class:`Volume` for a model with one input; ``{role: file or volume}``; or a
                row of a case table.
            nan: what takes the place of voxels that are NaN or infinite; the model's own rule by default.
            geometry: which one to believe where sform and qform disagree.
            frame: which frame of a 4D file, from 0.
            on_probability: for a segmentation, is given each class in order and its (1, X, Y, Z) float32 map in
                [0, 1] on the grid of the first input.
            progress: called with (done, total, what).

        Returns:
            (1, X, Y, Z) on the grid of the first input. An image is float32, HU for CT with -1024 outside the body; a
            label map is uint8, n for ``classes[n - 1]`` and 0 elsewhere. ``notes`` say what was decided on the way.

        Raises:
            UsageError: the images do not carry the model's roles, or the model makes no probabilities.
            InputError: an image is missing, damaged, empty or a single slice, or the images do not fit together.
            ModelError: the network returned NaN or infinity, or a segmentation what are no probabilities.
            MemoryExhausted: nothing that was tried fits into memory.
        """
        if on_probability is not None:
            self._require_probabilities()
        images = by_role(source, self.inputs)
        config = self.preparation.config
        reading = Reading(nan, geometry or config.geometry, frame)
        need = memory_need(images.values(), reading, spacing=config.spacing, outputs=1 + len(self.classes))
        with memory_errors(need):
            prepared, notes = self._prepare(images, reading)
            estimate, more = self._estimate(prepared, progress)
            prepared = replace(prepared, image=np.empty(0))  # frees it: going back needs the grids alone
            if self.task == "segmentation":
                volume = restore_label(estimate.data, prepared, self.preparation, self.classes, on_probability)
                if self.settings.minimum_ml:
                    volume = without_small(volume, self.settings.minimum_ml)
                more += () if volume.data.any() else (f"nothing found: no voxel of {', '.join(self.classes)}",)
            else:
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
        probabilities: bool = False,
        overwrite: bool = False,
        nan: NanRule | None = None,
        geometry: Geometry | None = None,
        frame: int | None = None,
        progress: Progress | None = None,
    ) -> Written:
        """Predict one patient into a NIfTI file; CT as int16 HU, rounded; a label map as uint8.

        Args:
            source: as for :meth:`predict`.
            output: a new name ending in ``.nii`` or ``.nii.gz``.
            probabilities: of a segmentation, also write each class's map as float32, under the names of
                :meth:`files`.
            overwrite: replace what is there.
            nan: as for :meth:`predict`.
            geometry: as for :meth:`predict`.
            frame: as for :meth:`predict`.
            progress: as for :meth:`predict`.

        Returns:
            The notes, and what was found.

        Raises:
            UsageError: a file exists and may not be overwritten, or is not named like NIfTI, or the model makes no
                probabilities; said before the work.
            StorageError: the disk is full or the folder cannot be written; no partial file is left.
        """
        output = Path(output)
        _, *maps = files = self.files(output, probabilities=probabilities)
        for file in files:
            require_writable(file, overwrite=overwrite)
        options: dict[str, Any] = {"nan": nan, "geometry": geometry, "frame": frame, "progress": progress}
        if maps:
            place = dict(zip(self.classes, maps, strict=True))

            def keep(name: str, volume: Volume) -> None:
                # The label map says that a case is whole: none may stand there beside the maps of another run.
                output.unlink(missing_ok=True)
                write_volume(volume, place[name], kind="scalar", overwrite=overwrite)

            options["on_probability"] = keep
        volume = self.predict(source, **options)
        write_volume(volume, output, kind=self.kind, overwrite=overwrite)
        return Written(volume.notes, found_in(volume, self.classes) if self.classes else {})

    def files(self, output: Path, *, probabilities: bool = False) -> tuple[Path, ...]:
        """What :meth:`predict_file` writes: ``output``, and ``<case>_probability_<class>.nii.gz`` for each class.

        Raises:
            UsageError: probabilities are wanted and the model makes none.
        """
        if not probabilities:
            return (output,)
        self._require_probabilities()
        return (output, *(probability_file(output, self.target, name) for name in self.classes))

    def _require_probabilities(self) -> None:
        if self.task != "segmentation":
            raise UsageError("the model makes an image, not probabilities of classes", fix="leave out --probabilities")

    def _prepare(self, images: Mapping[str, Image], reading: Reading) -> tuple[Prepared, tuple[str, ...]]:
        preparation = self.preparation
        if reading.nan is not None:
            preparation = replace(preparation, config=preparation.config.model_copy(update={"nan": reading.nan}))
        volumes = {role: read_image(image, reading) for role, image in images.items()}
        prepared = preparation.prepare_inputs(volumes)
        notes = (note for volume in volumes.values() for note in volume.notes)
        return prepared, (*notes, *prepared.notes, *preparation.unlike_training(prepared))

    def _estimate(self, prepared: Prepared, progress: Progress | None) -> tuple[Estimate, tuple[str, ...]]:
        first = first_plan(self.stages, self.settings, self.patch, self.device)
        bytes_needed = prepared.body.size * 4 * (len(prepared.image) + 2 * self.stages[0].channels.outputs)

        values = VALUES[self.task]

        def attempt(plan: Plan) -> Estimate:
            for stage in self.stages:
                stage.to(plan.device)
            image, body = prepared.image, prepared.body
            return run_stages(self.stages, image, body, plan, self.settings, values=values, progress=progress)

        try:
            return within_memory(
                attempt,
                first,
                margin=self.stages[0].margin,
                multiple=self.stages[0].multiple,
                need=f"{size_text(prepared.body.shape)} voxels take {bytes_needed / 1e9:.2f} GB besides the network",
            )
        finally:
            for stage in self.stages:
                stage.to(self.device)

    @property
    def _outside(self) -> float:
        """Value outside the body, in the unit of the target."""
        return AIR if self.kind == "hu" else float(self.preparation.target_from_network(np.full(1, IMAGE.low))[0])

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
