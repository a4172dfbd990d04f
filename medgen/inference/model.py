"""One trained model and one patient: volumes in, a volume on the patient's own grid out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medgen.errors import CasesFailed
from medgen.inference.besides import Besides, OnBounds, require_probabilities
from medgen.inference.ensemble import estimate_mean
from medgen.inference.images import OnUncertainty, unit_of
from medgen.inference.labels import ENTROPY, Found, OnProbability, found_in
from medgen.inference.lesions import Detected, OnDetected
from medgen.inference.loaded import Loaded
from medgen.inference.memory import memory_errors
from medgen.inference.options import NanRule, PredictOptions, ReadOptions
from medgen.inference.reading import MISSING, memory_need, prepare_patient, require_axial
from medgen.inference.sources import Source, by_role, files_in
from medgen.inference.spread import judged, require_chance
from medgen.inference.warnings import class_warnings, image_warnings, require_plausible
from medgen.inference.writing import (
    Files,
    Written,
    bounds_beside,
    files_of,
    kept_beside,
    remove_results,
    require_writable,
    samples_beside,
    write_detected,
)
from medgen.methods.base import Direction
from medgen.training.unfinished import unfinished_note
from medgen.types import Progress
from medgen.volume import Geometry, Volume, write_volume

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Predicted:
    """The result of one patient.

    Attributes:
        volume: see :meth:`LoadedModel.predict`.
        found: of a label map, how much of each class there is.
        warnings: what makes it doubtful.
        measured: of several estimates of an image, ``mean_sd``, and of a calibrated model what its gate says.
    """

    volume: Volume
    found: Mapping[str, Found]
    warnings: tuple[str, ...]
    measured: Mapping[str, float | bool]


class LoadedModel(Loaded):
    """A trained model that predicts; arguments and attributes are those of its base."""

    def predict(
        self,
        source: Source,
        *,
        nan: NanRule | None = None,
        geometry: Geometry | None = None,
        frame: int | None = None,
        allow_missing_channel: bool = False,
        direction: Direction | None = None,
        seed: int | None = None,
        samples: int | None = None,
        dropout: bool = False,
        interval: float | None = None,
        threshold: float | None = None,
        on_probability: OnProbability | None = None,
        on_detected: OnDetected | None = None,
        on_uncertainty: OnUncertainty | None = None,
        on_bounds: OnBounds | None = None,
        progress: Progress | None = None,
    ) -> Volume:
        """Predict one patient.

        Nothing but the images that the model reads is used: a mask that it was trained in is not needed, and ignored
        where there is one. The result fills the body found in the first image, which is the brain where that is
        skull-stripped; around it stand air or background.

        Args:
            source: a NIfTI file or a :class:`Volume` for a model that reads one image; ``{role: file or volume}``; or
                a row of a case table.
            nan: what takes the place of voxels that are NaN or infinite; the model's own rule by default.
            geometry: which one to believe where sform and qform disagree.
            frame: which frame of a 4D file, from 0.
            allow_missing_channel: whether inputs of :attr:`dropped` may be missing, or hold one value throughout;
                their channel is then 0, as it was in training.
            direction: of a model that translates: ``forward``, the default, makes the target from the inputs,
                ``backward`` the inputs from the target.
            seed: of a model with chance, for one draw or those of ``samples``; None: the prediction without chance,
                e.g. the mean.
            samples: draws, whose mean is the result; see :class:`~medgen.inference.options.PredictOptions`.
            dropout: whether dropout layers drop in each draw.
            interval: nominal coverage for ``on_bounds``; with ``samples`` 0.9 by default.
            threshold: of a segmentation, in (0, 1), in place of ``inference.threshold`` of the recipe.
            on_probability: for a segmentation, is called with each class in order and its (1, X, Y, Z) float32 map in
                [0, 1] on the grid of the first image.
            on_detected: for a model that detects lesions (``inference.detection``), is called with them.
            on_uncertainty: is called with each role and its (1, X, Y, Z) float32 standard deviation over flips and
                members, or draws, in the unit of that image, 0 outside the body; for a segmentation with each class
                and that of its probability, and with an empty name and the entropy in nats.
            on_bounds: for a model of images, is called with each role and the two ends of its interval.
            progress: called with (done, total, what).

        Returns:
            (K, X, Y, Z) on the grid of the first image. An image is float32, HU for CT with -1024 outside the body; a
            label map is uint8, n for ``classes[n - 1]`` and 0 elsewhere. K is 1; backward, one channel an input.
            ``notes`` list warnings, which are logged too, and the decisions on the way.

        Raises:
            UsageError: the images do not carry the model's roles, a number is out of its range, or the model makes no
                prediction, none in this direction, no probabilities to decide by, or a single
                estimate where a standard deviation is wanted.
            InputError: an image is missing, damaged, empty or a single slice, its slices lie another way than the
                model reads them, or the images do not fit together.
            ModelError: the network returned NaN or infinity, or a segmentation values that are no probabilities.
            MemoryExhausted: nothing that was tried fits into memory.
        """
        options = PredictOptions(
            ReadOptions(nan, geometry, frame, allow_missing_channel),
            direction,
            seed,
            uncertainty=on_uncertainty is not None or (on_bounds is not None and samples is None),
            samples=samples,
            dropout=dropout,
            interval=interval,
            threshold=threshold,
        )
        result = self.predicted(
            source, options, Besides(on_probability, on_detected, on_uncertainty, on_bounds), progress
        )
        for warning in result.warnings:
            log.warning(warning)
        return replace(result.volume, notes=(*result.warnings, *result.volume.notes))

    def predicted(
        self, source: Source, options: PredictOptions, besides: Besides, progress: Progress | None = None
    ) -> Predicted:
        """The result of one patient, with what stands beside it; arguments and errors as for :meth:`predict`."""
        route, read = self.route(options.direction), options.read
        besides.require(self.task, self.cascades)
        require_chance(self.task, self.cascades, options)
        settings = options.decided(self.cascade.settings)
        if options.threshold is not None:
            require_probabilities(self.task, "--threshold")
        besides = replace(besides, scale=self.scale(options))
        if options.spreads and besides.on_uncertainty is None:
            besides = replace(besides, on_uncertainty=lambda *_: None)
        deviation = besides.on_uncertainty is not None
        dropped = {role: share for role, share in self.dropped.items() if role in route.reads}
        images = by_role(source, route.reads, dropped=dropped, may_lack=read.allow_missing_channel)
        config = self.preparation.config
        read = replace(read, geometry=read.geometry or config.geometry)
        # The running mean and the newest estimate, and of one that is written a copy.
        at_once = min(2, options.samples or self.estimates) + (besides.on_sample is not None)
        outputs = len(self.classes) * at_once + len(route.makes) * (deviation + (1 if self.classes else at_once))
        outputs += self.cascade.first is not None  # its context
        outputs += 2 * len(route.makes) * (besides.scale is not None)  # both ends of the interval
        outputs += len(self.classes) * deviation
        outputs += 2 * len(settings.intensities)  # their maps, and what the intensities make of them
        if self.reads_slices:
            require_axial(images[route.reads[0]], read)
        limits, progress = options.limits, options.limits.watch(progress)
        need = memory_need(images.values(), read, spacing=config.spacing, outputs=outputs, limits=limits)
        detected: list[Detected] = []
        besides = besides.watched(detected.append)
        with memory_errors(need):
            prepared, notes = prepare_patient(
                images, read, self.preparation, dropped, keep_first=bool(settings.intensities)
            )
            warnings = image_warnings(prepared, (member.preparation for member in self.members))
            warnings += self.guard.warnings(images, read, dropped) if self.guard else ()
            require_plausible(warnings, strict=options.strict)
            image = prepared.image if len(prepared.image) else prepared.target
            assert image is not None
            mean = estimate_mean(
                self.cascades,
                image,
                prepared.body,
                route.request(options.seed, dropout=options.dropout),
                progress,
                deviation=deviation,
                seeds=options.seeds,
                on_sample=besides.samples(self.task, prepared, self.preparation, route.makes, self.classes, settings),
            )
            del image
            measured: dict[str, float | bool] = {}
            if mean.sd is not None and not self.task.labels:
                unit, known = unit_of(self.preparation, route.makes[0]), self.calibration(options)
                measured, doubts = judged(mean.sd[0], prepared.body, unit, known.gate if known else None)
                warnings += doubts
            require_plausible(warnings, strict=options.strict)
            prepared = replace(prepared, image=np.empty(0), target=None)  # going back needs the grids alone
            if self.task.labels:
                volume, more = besides.labels(mean, prepared, self.preparation, self.classes, settings)
            else:
                volume, more = besides.images(mean, prepared, self.preparation, route.makes)
        unfinished = [note for member in self.members for note in unfinished_note(member.description)]
        volume = replace(volume, source="", notes=tuple(dict.fromkeys((*unfinished, *notes, *mean.notes, *more))))
        found = found_in(volume, self.classes) if self.classes else {}
        warnings += class_warnings(found, detected, self.known.ranges)
        require_plausible(warnings, strict=options.strict)
        return Predicted(volume, found, warnings, measured)

    def predict_file(
        self,
        source: Source,
        output: str | Path,
        options: PredictOptions | None = None,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Written:
        """Predict one patient into NIfTI files; CT as int16 HU, rounded; a label map as uint8.

        A model that detects lesions also writes ``<case>_detection_map.nii.gz`` and ``<case>_lesions.json``. With
        ``options.uncertainty``, ``<output>_sd.nii.gz`` is the standard deviation of each image, float32 in its unit.
        The result is written last, so where it stands, all files of the case do.

        Args:
            source: as for :meth:`predict`.
            output: a new name ending in ``.nii`` or ``.nii.gz``; of several images, that of the first.
            options: what is predicted, and how.
            overwrite: replace what is there.
            progress: called with (done, total, what).

        Raises:
            UsageError: a file is one of the images, exists and may not be overwritten, or is not named like NIfTI, or
                the model makes no such prediction; raised before the work.
            StorageError: the disk is full or the folder cannot be written; no partial file is left.
            CasesFailed: there are warnings and ``options.strict``; no file of the case is left.
        """
        options = options or PredictOptions()
        files = self.files(Path(output), options)
        require_writable(files, overwrite=overwrite, inputs=files_in(source))
        lesions: list[Detected] = []
        besides = Besides(
            kept_beside(files, files.probabilities, overwrite=overwrite),
            lesions.append if files.lesions else None,
            kept_beside(files, files.uncertainty, overwrite=overwrite),
            bounds_beside(files, overwrite=overwrite),
            samples_beside(files, self.kind_of, overwrite=overwrite),
        )
        try:
            result = self.predicted(source, options, besides, progress)
        except CasesFailed:  # refused by --strict: nothing of the case stays, not even from an earlier run without it
            for file in files.all:
                file.unlink(missing_ok=True)
            raise
        except BaseException:
            for file in () if any(file.exists() for file in files.results.values()) else files.all:
                file.unlink(missing_ok=True)  # maps are written on the way, and without a result they are orphans
            raise
        volume, warnings = result.volume, result.warnings
        if lesions:
            missing = tuple(note for note in volume.notes if MISSING in note)
            lesions = [replace(lesions[0], notes=(*warnings, *missing, *lesions[0].notes))]
            model = {"method": self.description.get("method"), "weights_sha256": self.hashes, **self.notices}
            write_detected(lesions[0], files, model, overwrite=overwrite)
        if len(files.results) > 1:
            remove_results(files)
        for file in files.left_over:
            file.unlink()
        for channel, (role, file) in zip(volume.data, files.results.items(), strict=True):
            write_volume(volume.with_data(channel), file, kind=self.kind_of(role), overwrite=overwrite)
        return Written(volume.notes, result.found, lesions[0] if lesions else None, warnings, result.measured)

    def files(self, output: Path, options: PredictOptions) -> Files:
        """The files that :meth:`predict_file` writes: see :func:`~medgen.inference.writing.files_of`.

        Raises:
            UsageError: the model makes no prediction, none in this direction, no probabilities, or a single estimate
                where the standard deviation is wanted.
        """
        require_chance(self.task, self.cascades, options)
        for option, given in (("--probabilities", options.probabilities), ("--threshold", options.threshold)):
            if given:
                require_probabilities(self.task, option)
        classes = self.classes if options.probabilities else ()
        lesions = self.cascade.settings.detection is not None
        return files_of(
            output,
            self.route(options.direction).makes,
            probabilities=classes,
            lesions=lesions,
            uncertainty=options.spreads and not self.task.labels,
            spread=(*self.classes, ENTROPY) if options.spreads and self.task.labels else (),
            interval=self.scale(options) is not None,
            samples=options.samples or 0 if options.keep_samples else 0,
        )
