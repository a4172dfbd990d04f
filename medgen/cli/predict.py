"""``medgen predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from medgen.cli.parameters import AllowModule, Output
from medgen.types import Checkpoint, Engine, Split

if TYPE_CHECKING:
    from medgen.inference.lesions import Detected


def predict(
    run: Path,
    /,
    *,
    inputs: Annotated[tuple[str, ...], Parameter(name=["--input", "-i"], metavar="INPUT", required=True)] = (),
    output: Output,
    overwrite: bool = False,
    resume: bool = False,
    nan: Literal["error", "zero", "min", "median"] | None = None,
    geometry: Literal["sform", "qform"] | None = None,
    frame: int | None = None,
    split: Split | None = None,
    probabilities: bool = False,
    threshold: Annotated[float | None, Parameter(metavar="P")] = None,
    uncertainty: bool = False,
    samples: Annotated[int | None, Parameter(metavar="N")] = None,
    dropout: bool = False,
    interval: Annotated[float | None, Parameter(metavar="SHARE")] = None,
    keep_samples: bool = False,
    allow_missing_channel: bool = False,
    direction: Literal["forward", "backward"] | None = None,
    seed: Annotated[int | None, Parameter(metavar="S")] = None,
    max_memory: Annotated[float | None, Parameter(metavar="GB")] = None,
    max_minutes: Annotated[float | None, Parameter(metavar="M")] = None,
    strict: bool = False,
    ensemble: Annotated[tuple[Path, ...], Parameter(name="--ensemble", metavar="RUN")] = (),
    guard: Annotated[Path | None, Parameter(metavar="RUN")] = None,
    checkpoint: Checkpoint | None = None,
    dicom: bool = False,
    contours: bool = False,
    anonymize: bool = False,
    bids: Annotated[Path | None, Parameter(metavar="FOLDER")] = None,
    device: str = "auto",
    engine: Engine = "torch",
    allow_module: AllowModule = (),
) -> None:
    """Predict one patient or a whole cohort, each on the patient's own grid.

    A case of a cohort that fails is reported, the others finish, and the
    command exits 4. A model that detects lesions (inference.detection in its
    recipe) also writes a detection map and a list of lesions: beside
    p_label.nii.gz stand p_detection_map.nii.gz and p_lesions.json. Of one
    patient the list is shown.

    For example:

        medgen predict run -i t1.nii.gz -o ct.nii.gz
        medgen predict run -i T1_FOLDER -o ct.nii.gz --dicom
        medgen predict run -i STUDY -o p_label.nii.gz
        medgen predict run -i t1=t1.nii.gz -i flair=flair.nii.gz -o ct.nii.gz
        medgen predict run -i t2w=T2W -i adc=ADC -i hbv=HBV -o p_label.nii.gz
        medgen predict run -i cases.csv --split test -o predictions
        medgen predict run -i cases.csv -o predictions --probabilities --bids bids
        medgen predict run -i cases.csv -o predictions --threshold 0.35
        medgen predict fold0 --ensemble fold1 -i cases.csv -o predictions
        medgen predict run -i cases.csv -o predictions --guard vae
        medgen predict run -i cases.csv -o predictions --uncertainty
        medgen predict cvae -i cases.csv -o predictions --samples 16
        medgen predict translator --direction backward -i ct.nii.gz -o t1.nii.gz

    Args:
        run: the run folder, its 'model' folder, or a bundle of 'medgen export'.
        inputs: a volume, role=volume (repeatable), or a case table; a volume is a file or the folder of a DICOM
            series. Or the folder of a DICOM study, with each series in a folder of its own: series are taken where
            only one looks like t1, t2w, adc and so on ('medgen dicom list' shows what they look like).
        output: the volume to write; for a table the folder, which gets <case>/<case>_<role>.nii.gz.
        overwrite: replace what is there.
        resume: keep the cases that are done and predict the rest.
        nan: what to do with voxels that are not numbers; the model's own rule by default.
        geometry: which transform to believe where a file holds two that disagree.
        frame: which volume of a 4D file, from 0.
        split: only the cases of this split; for a table alone.
        probabilities: of a segmentation, also write <case>_probability_<class>.nii.gz for each class.
        threshold: of a segmentation with one class, the probability, in (0, 1), above which a voxel is of the class;
            less finds more. With several it decides between a class and background, not between classes: the
            background's probability counts P / (1 - P) times. That of the recipe by default (inference.threshold,
            0.5). Detected lesions have a threshold of their own (inference.detection.threshold).
        uncertainty: of an image, also write <case>_<role>_sd.nii.gz: the standard deviation of each voxel in
            its unit (HU for CT) over --ensemble and the flips of the recipe (inference.flips); of a segmentation
            <case>_sd_<class>.nii.gz of each probability and <case>_entropy.nii.gz.
        samples: of a model that draws at random, or with --dropout: the mean of N draws, their standard deviation as
            for --uncertainty, and of an image <case>_<role>_lower.nii.gz and _upper.nii.gz, the ends of an interval.
        dropout: in each sample the dropout layers of the network drop, as in training.
        interval: share of the voxels that the interval shall hold, 0.9 by default with --samples; with --uncertainty
            an interval is written too. 'medgen calibrate' makes it hold that share.
        keep_samples: also write each sample, <case>_<role>_sample_01.nii.gz and so on.
        allow_missing_channel: predict also without an image that the model was
            trained to do without (channel dropout), or with an empty one.
        direction: of a model that translates both ways: forward makes the target
            from the inputs (default), backward the inputs from the target.
        seed: of a model that can draw a result at random, the seed of the draw, or of all samples;
            by default the prediction is made without chance.
        max_memory: a case fails that needs more memory by its size; by default more than the machine has.
        max_minutes: a case fails that takes longer.
        strict: a case with a warning fails (exit code 4), and no file of it is kept: an image that is
            unlike those of the training, an implausible amount of a class, or a mean standard deviation
            that the gate of a calibrated model rejects.
        ensemble: a further run, such as another fold: probabilities or images
            are averaged; repeatable.
        guard: run of a generative model after 'medgen novelty fit': warn of a patient that is unlike those it
            was trained on.
        checkpoint: of a run that has not ended, take its last weights, or those of the best validation so
            far; what is made says so.
        dicom: also write DICOM into the study of the first image, which must be a DICOM series: of ct.nii.gz the
            series ct_dicom, of p_label.nii.gz segmentations in p_label_dicom, and of all maps beside them
            parametric maps in <case>_<role>_dicom_maps (the last two need the extra 'dicom'). All say that they are
            not for clinical use.
        contours: of a segmentation, with --dicom: also the outlines of its classes, as an RT structure set in
            p_label_dicom_contours.
        anonymize: with --dicom: nothing in it tells who the patient is; it has a study of its own.
        bids: of a table, a folder for label maps, probabilities and images of all cases once more, as BIDS
            derivatives: sub-X/anat/sub-X_desc-medgen_dseg.nii.gz and so on, with sidecars.
        device: 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.
        engine: onnx: the networks are exported and run by onnxruntime, which needs the extra 'onnx' and by default
            the CPU; the result is that of torch to 1e-4 of what a network makes.
        allow_module: a module outside medgen that the model may name as its method; repeatable.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.inference.cohort import predict as predict_inputs
    from medgen.inference.limits import Limits

    detected: list[Detected] = []
    with progress_display() as progress:
        predict_inputs(
            run,
            inputs,
            output,
            overwrite=overwrite,
            resume=resume,
            nan=nan,
            geometry=geometry,
            frame=frame,
            split=split,
            probabilities=probabilities,
            threshold=threshold,
            uncertainty=uncertainty,
            samples=samples,
            dropout=dropout,
            interval=interval,
            keep_samples=keep_samples,
            allow_missing_channel=allow_missing_channel,
            direction=direction,
            seed=seed,
            limits=Limits(max_memory, max_minutes),
            strict=strict,
            ensemble=ensemble,
            guard=guard,
            device=device,
            allow_modules=allow_module,
            checkpoint=checkpoint,
            dicom=dicom,
            contours=contours,
            anonymize=anonymize,
            bids=bids,
            engine=engine,
            on_detected=detected.append,
            progress=progress,
        )
    for each in detected:
        _show(each)
    say(str(output))


def _show(detected: Detected) -> None:
    """The lesions of one patient, the most confident first."""
    from medgen.cli.output import show_table

    name = detected.settings.target_class
    rows = [
        [
            str(row["number"]),
            f"{row['confidence']:.3f}",
            f"{row['volume_mm3']:.0f}",
            " ".join(f"{each:.1f}" for each in row["centre_mm"]),
            str(row["slice"]),
            " x ".join(f"{each:.1f}" for each in row["extent_mm"]),
            row["region"] or "–",
        ]
        for row in detected.rows()
    ]
    columns = [name, "confidence", "mm^3", "centre RAS mm", "slice from 0", "extent mm", "in"]
    show_table(columns, rows, title=f"{detected.sentence} (research use only)")
