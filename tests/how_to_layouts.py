"""Folders that a reader has from elsewhere: data sets in known layouts, DICOM series, studies of readers."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from dicom_files import write_series
from documents import ROOT, blocks
from how_to_things import Reader, Thing
from pydicom.uid import CTImageStorage, generate_uid
from reader.small_studies import small_study

from medgen import sample
from medgen.cases import Case, write_cases
from medgen.reader.answers import Journal
from medgen.reader.study import read_study
from medgen.volume import read_volume

LOOKS = {
    "t1": {"EchoTime": 4, "RepetitionTime": 600},
    "t2w": {"EchoTime": 100, "RepetitionTime": 4000},
    "adc": {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]},
    "hbv": {"DiffusionBValue": 1400, "EchoTime": 80},
    "ct": {},
}
"""Elements that tell what a series is."""


def series(role: str, *, number: int = 4, **options: Any) -> Thing:
    """One of the images as a DICOM series, on a grid of its own."""

    def put(reader: Reader, path: Path) -> None:
        uid = generate_uid()

        def change(_: int, header: Any) -> None:
            header.SeriesInstanceUID, header.SeriesNumber = uid, number
            for name, value in LOOKS[role].items():
                setattr(header, name, value)

        data = read_volume(reader.cases(role)[0].images[role]).data[0].astype(np.int16)
        kind = {"kind": CTImageStorage} if role == "ct" else {}
        names = [f"{number}_{n:02d}.dcm" for n in range(data.shape[2])]
        heights = options.pop("heights", None)
        if heights:
            data = data[:, :, : len(heights)]
        write_series(path, data, change=change, names=names, heights=heights, **kind, **options)

    return put


def study(*roles: str) -> Thing:
    """A folder with one folder for each series; with the ending ``.zip``, in a zip file."""

    def put(reader: Reader, path: Path) -> None:
        for role in roles:
            series(role)(reader, path.with_suffix("") / role.upper())
        if path.suffix:
            shutil.make_archive(str(path.with_suffix("")), "zip", path.with_suffix(""))
            shutil.rmtree(path.with_suffix(""))

    return put


def both(*things: Thing) -> Thing:
    """Several in one folder."""

    def put(reader: Reader, path: Path) -> None:
        for thing in things:
            thing(reader, path)

    return put


def sheared(role: str, *, qform: bool) -> Thing:
    """An image whose sform is sheared; a qform, which cannot say so, disagrees."""

    def put(reader: Reader, path: Path) -> None:
        picture = nibabel.load(reader.cases(role)[0].images[role])
        affine = picture.affine.copy()
        affine[1, 2] += 2.0
        made = nibabel.Nifti1Image(np.asarray(picture.dataobj), None, picture.header)
        made.set_sform(affine, 1)
        made.header["qform_code"] = int(qform)
        nibabel.save(made, path)

    return put


def picai(*, labels: bool) -> Thing:
    """Images in the layout of PI-CAI, or their label maps."""

    def put(reader: Reader, path: Path) -> None:
        for number, case in enumerate(reader.prostates):
            for role in ("lesion",) if labels else ("t2w", "adc", "hbv"):
                name = f"{10000 + number}_{1000000 + number}"
                place = path / f"{name}.nii.gz" if labels else path / str(10000 + number) / f"{name}_{role}.mha"
                place.parent.mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(SimpleITK.ReadImage(case.images[role]), place)

    return put


def two_domains(reader: Reader, path: Path) -> None:
    """A table whose first patients are of the source, with GE, and whose last are of the target, with SWI."""
    half = len(reader.heads) // 2
    found = []
    for number, case in enumerate(reader.heads):
        domain, role = ("source", "ge") if number < half else ("target", "swi")
        images = {name: case.images[name] for name in ("t1", "flair", "label", "mask")}
        split = ("train", "train", "val", "test")[number % half]
        found.append(Case(case.name, split, domain, {**images, role: case.images["ge"]}))
    write_cases(found, path)


def some_odd(reader: Reader, path: Path) -> None:
    """A table with the column ``is_odd``: every second patient has a T2 for a T1."""
    cases = [
        Case(case.name, case.split, case.domain, {"t1": case.images["t2" if n % 2 else "t1"]})
        for n, case in enumerate(reader.heads)
    ]
    lines = write_cases(cases, path).read_text().splitlines()
    odd = ["is_odd", *(str(n % 2) for n in range(len(cases)))]
    path.write_text("".join(f"{line},{value}\n" for line, value in zip(lines, odd, strict=True)))


def factors(reader: Reader, path: Path) -> None:
    shutil.copy(reader.heads[0].images["t1"].parents[1] / "factors.csv", path)


def answered_study(reader: Reader, path: Path) -> None:
    """A study with the answers of one reader."""
    made = small_study(path.with_name("for_study"))
    study = read_study(made)
    journal = Journal(study, "r1")
    for position, shown in enumerate(journal.order):
        journal.record(position, study.correct(shown.images), 2.0)
    made.rename(path)


def nnunet(*roles: str, label: str = "label", test: int = 1) -> Thing:
    """A folder in the layout of nnU-Net, of which ``test`` patients are for the test."""

    def put(reader: Reader, path: Path) -> None:
        for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (path / folder).mkdir(parents=True)
        cases = reader.cases(roles[0])
        for number, case in enumerate(cases):
            end = "Ts" if number >= len(cases) - test else "Tr"
            for channel, role in enumerate(roles):
                shutil.copy(case.images[role], path / f"images{end}" / f"{case.name}_{channel:04d}.nii.gz")
            shutil.copy(case.images[label], path / f"labels{end}" / f"{case.name}.nii.gz")
        names = {str(number): role for number, role in enumerate(roles)}
        description = {"channel_names": names, "labels": {"background": 0, "core": 1, "rim": 2}}
        (path / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nii.gz"}))

    return put


def decathlon(*roles: str) -> Thing:
    """A folder in the layout of the Medical Segmentation Decathlon, its images in four dimensions."""

    def put(reader: Reader, path: Path) -> None:
        for folder in ("imagesTr", "labelsTr"):
            (path / folder).mkdir(parents=True)
        listed = []
        for case in reader.cases(roles[0]):
            image, label = (f"./{folder}/{case.name}.nii.gz" for folder in ("imagesTr", "labelsTr"))
            channels = [nibabel.load(case.images[role]) for role in roles]
            data = np.stack([np.asarray(each.dataobj, np.float32) for each in channels], -1)
            nibabel.save(nibabel.Nifti1Image(data, channels[0].affine, channels[0].header), path / image)
            shutil.copy(case.images["label"], path / label)
            listed.append({"image": image, "label": label})
        modality = {str(number): role for number, role in enumerate(roles)}
        (path / "dataset.json").write_text(json.dumps({"modality": modality, "training": listed, "test": []}))

    return put


def bids(**suffixes: str) -> Thing:
    """A folder in the layout of BIDS: for each role the last word of its files."""

    def put(reader: Reader, path: Path) -> None:
        for number, case in enumerate(reader.heads):
            subject = f"sub-{number:02d}"
            (path / subject / "anat").mkdir(parents=True)
            for role, suffix in suffixes.items():
                shutil.copy(case.images[role], path / subject / "anat" / f"{subject}_{suffix}.nii.gz")
        described = {"Name": "phantom", "BIDSVersion": "1.10.0"}
        (path / "dataset_description.json").write_text(json.dumps(described))

    return put


def each_case(name: str, role: str) -> Thing:
    """A folder with one image of each patient, such as the output of another program."""

    def put(reader: Reader, path: Path) -> None:
        for case in reader.cases(role):
            place = path / name.format(case=case.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(case.images[role], place)

    return put


def predicted(reader: Reader, path: Path) -> None:
    """The predictions of an earlier block, under another name."""
    shutil.copytree(path.with_name("predictions"), path)


def sampled(reader: Reader, path: Path) -> None:
    sample(path.with_name("run"), path, count=4, device="cpu")


def method(reader: Reader, path: Path) -> None:
    """The method that its page shows, as a module of the user's own."""
    (block,) = (block for block in blocks(ROOT / "docs/how-to/add-a-method.md") if block.language == "python")
    path.write_text(block.text)
