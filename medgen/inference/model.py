"""One trained model and one patient: volumes in, a volume on the patient's own grid out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen.errors import UsageError
from medgen.inference.channels import dropped_in_training
from medgen.inference.description import Description
from medgen.inference.ensemble import Member, estimate_mean, require_alike
from medgen.inference.images import clipped_note, image_on_own_grid
from medgen.inference.labels import OnProbability, found_in, label_map
from medgen.inference.lesions import Detected, OnDetected
from medgen.inference.memory import memory_errors
from medgen.inference.reading import MISSING, NanRule, Reading, memory_need, prepare_patient, require_axial
from medgen.inference.sources import Image, Source, by_role
from medgen.inference.writing import Files, Written, files_of, require_writable, write_detected
from medgen.methods.base import Method
from medgen.preparation import Prepared
from medgen.training.checkpoint import load_stages
from medgen.training.engine import parse_device
from medgen.types import Progress
from medgen.volume import Geometry, Kind, Volume, write_volume

log = logging.getLogger(__name__)


class LoadedModel:
    """The networks of a cascade with everything that prediction needs besides an image.

    Args:
        stages: networks in their order, in evaluation mode on ``device``.
        description: the content of ``model.json``.
        device: where they are.
        source: where the model came from, for messages.

    Attributes:
        task: what the model makes.
        classes: names of the classes of a segmentation, without the background: label n is ``classes[n - 1]``.
        members: the models whose results are averaged: this one, and those of :meth:`joined`.

    Raises:
        ModelError: the description lacks something or contradicts the networks.
    """

    def __init__(
        self, stages: Sequence[Method], description: Mapping[str, Any], device: torch.device, *, source: str = ""
    ) -> None:
        self.stages = tuple(stages)
        self.description = dict(description)
        self.device = device
        self.source = source
        self.members: tuple[LoadedModel, ...] = (self,)
        known = Description.parse(description, self.stages[0].shape.outputs)
        self.task, self.classes = known.task, known.classes
        self.preparation, self.settings, self.patch = known.preparation, known.settings, known.patch

    def joined(self, others: Sequence[LoadedModel]) -> LoadedModel:
        """This model and others as one: the voxel-wise mean of their images or probabilities, before the arg-max.

        Everything else, such as how lesions are found, is this model's.

        Raises:
            UsageError: they differ in what they read, make or prepare, or one is there twice.
        """
        model = LoadedModel(self.stages, self.description, self.device, source=self.source)
        model.members = (model, *others)
        require_alike(model.members)
        return model

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """SHA-256 of the weights of every member."""
        return tuple(member.description.get("weights_sha256") for member in self.members)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the images that the model reads, e.g. ``("t1", "ge|swi")``."""
        return self.preparation.roles.inputs

    @property
    def target(self) -> str:
        """Role of what the model makes, e.g. ``"ct"``, or ``"label"`` for a segmentation."""
        return self.task.made(self.preparation.roles)[0]

    @property
    def kind(self) -> Kind:
        """How a result is written: ``label`` as uint8, ``hu`` as int16, anything without a unit as float32."""
        return self.task.kind(self.preparation, self.target)

    @property
    def dropped(self) -> dict[str, float]:
        """By role, inputs that may be missing: the share of training patches without them, least of the members."""
        shares = [dropped_in_training(member.description, self.inputs) for member in self.members]
        return {role: min(each[role] for each in shares) for role in shares[0] if all(role in each for each in shares)}

    @property
    def reads_slices(self) -> bool:
        """Whether a network of it was made for slices across Z, which are thick or apart."""
        windows = (stage.window.smallest() for member in self.members for stage in member.stages)
        return any(z < x for x, _, z in windows)

    def predict(
        self,
        source: Source,
        *,
        nan: NanRule | None = None,
        geometry: Geometry | None = None,
        frame: int | None = None,
        allow_missing_channel: bool = False,
        on_probability: OnProbability | None = None,
        on_detected: OnDetected | None = None,
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
            allow_missing_channel: whether inputs of :attr:`dropped` may be missing, or hold one value throughout;
                their channel is then 0, as it was in training.
            on_probability: for a segmentation, is given each class in order and its (1, X, Y, Z) float32 map in
                [0, 1] on the grid of the first input.
            on_detected: for a model that looks for lesions (``inference.detection``), is given what was found.
            progress: called with (done, total, what).

        Returns:
            (1, X, Y, Z) on the grid of the first input. An image is float32, HU for CT with -1024 outside the body; a
            label map is uint8, n for ``classes[n - 1]`` and 0 elsewhere. ``notes`` say what was decided on the way.

        Raises:
            UsageError: the images do not carry the model's roles, or the model makes no probabilities.
            InputError: an image is missing, damaged, empty or a single slice, its slices lie another way than the
                model reads them, or the images do not fit together.
            ModelError: the network returned NaN or infinity, or a segmentation what are no probabilities.
            MemoryExhausted: nothing that was tried fits into memory.
        """
        if on_probability is not None:
            self._require_probabilities()
        if on_detected is not None:
            self._require_detection()
        images = by_role(source, self.inputs, dropped=self.dropped, may_lack=allow_missing_channel)
        config = self.preparation.config
        reading = Reading(nan, geometry or config.geometry, frame, allow_missing_channel)
        outputs = 1 + len(self.classes) * min(2, len(self.members))
        if self.reads_slices:
            require_axial(images[self.inputs[0]], reading)
        need = memory_need(images.values(), reading, spacing=config.spacing, outputs=outputs)
        with memory_errors(need):
            prepared, notes = self._prepare(images, reading)
            members = [Member(each.stages, each.settings, each.patch, each.device) for each in self.members]
            estimate, more = estimate_mean(members, prepared, self.task.values, progress)
            prepared = replace(prepared, image=np.empty(0))  # frees it: going back needs the grids alone
            if self.task.labels:
                volume, sentences = label_map(
                    estimate.data, prepared, self.preparation, self.classes, self.settings, on_probability, on_detected
                )
                more += sentences
            else:
                more += clipped_note(estimate)
                data = self.preparation.target_from_network(estimate.data)
                del estimate
                volume = image_on_own_grid(data, prepared, self.preparation, hounsfield=self.kind == "hu")
        return replace(volume, source="", notes=tuple(dict.fromkeys((*notes, *more))))

    def predict_file(
        self,
        source: Source,
        output: str | Path,
        *,
        probabilities: bool = False,
        overwrite: bool = False,
        **options: Any,
    ) -> Written:
        """Predict one patient into a NIfTI file; CT as int16 HU, rounded; a label map as uint8.

        A model that looks for lesions also writes ``<case>_detection_map.nii.gz`` and ``<case>_lesions.json``. The
        label map is written last, so where it stands, all files of the case do.

        Args:
            source: as for :meth:`predict`.
            output: a new name ending in ``.nii`` or ``.nii.gz``.
            probabilities: of a segmentation, also write each class's map as float32, under the names of
                :meth:`files`.
            overwrite: replace what is there.
            **options: ``nan``, ``geometry``, ``frame``, ``allow_missing_channel`` and ``progress``, as for
                :meth:`predict`.

        Returns:
            The notes, and what was found.

        Raises:
            UsageError: a file exists and may not be overwritten, or is not named like NIfTI, or the model makes no
                probabilities; said before the work.
            StorageError: the disk is full or the folder cannot be written; no partial file is left.
        """
        files = self.files(Path(output), probabilities=probabilities)
        require_writable(files, overwrite=overwrite)
        lesions: list[Detected] = []

        def keep(name: str, volume: Volume) -> None:
            # The label map says that a case is whole: none may stand there beside the maps of another run.
            files.result.unlink(missing_ok=True)
            write_volume(volume, files.probabilities[name], kind="scalar", overwrite=overwrite)

        if files.probabilities:
            options["on_probability"] = keep
        if files.lesions:
            options["on_detected"] = lesions.append
        volume = self.predict(source, **options)
        if lesions:
            missing = tuple(note for note in volume.notes if MISSING in note)
            lesions = [replace(lesions[0], notes=(*missing, *lesions[0].notes))]
            model = {"method": self.description.get("method"), "weights_sha256": self.hashes}
            write_detected(lesions[0], files, model, overwrite=overwrite)
        write_volume(volume, files.result, kind=self.kind, overwrite=overwrite)
        found = found_in(volume, self.classes) if self.classes else {}
        return Written(volume.notes, found, lesions[0] if lesions else None)

    def files(self, output: Path, *, probabilities: bool = False) -> Files:
        """What :meth:`predict_file` writes: see :func:`~medgen.inference.writing.files_of`.

        Raises:
            UsageError: probabilities are wanted and the model makes none.
        """
        if probabilities:
            self._require_probabilities()
        classes = self.classes if probabilities else ()
        return files_of(output, self.target, probabilities=classes, lesions=self.settings.detection is not None)

    def _require_probabilities(self) -> None:
        if not self.task.labels:
            raise UsageError("the model makes an image, not probabilities of classes", fix="leave out --probabilities")

    def _require_detection(self) -> None:
        if self.settings.detection is None:
            raise UsageError("the model looks for no lesions", fix="train it with inference.detection in its recipe")

    def _prepare(self, images: Mapping[str, Image], reading: Reading) -> tuple[Prepared, tuple[str, ...]]:
        others = [member.preparation for member in self.members[1:]]
        return prepare_patient(images, reading, self.preparation, others, self.dropped)


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
    return LoadedModel(stages, description, place, source=str(run))
