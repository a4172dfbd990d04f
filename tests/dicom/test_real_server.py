"""An archive takes what medgen writes, over the network of its own machine, and gives it back as it was."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile

import numpy as np
import orthanc
import pydicom
import pytest
from dicom_files import SHAPE, write_frames, write_series

from medgen.dicom import read_source, write_contours, write_ct_series, write_parametric_maps, write_segmentations
from medgen.dicom.studies import list_studies
from medgen.volume import read_volume

pytestmark = pytest.mark.skipif(not orthanc.PROGRAM, reason="Orthanc is not installed")
no_highdicom = pytest.mark.skipif(sys.version_info >= (3, 14), reason="highdicom cannot be installed")
no_storescu = pytest.mark.skipif(not orthanc.STORESCU, reason="dcmtk is not installed")
no_dicomweb = pytest.mark.skipif(not orthanc.DICOMWEB.exists(), reason="Orthanc's DICOMweb is not installed")


@pytest.fixture
def archive(tmp_path):
    with orthanc.running(tmp_path / "archive") as started:
        yield started


def made(folder):
    """A CT series, segmentations, contours and maps of one study."""
    write_series(folder / "mr")
    source, volume = read_source(folder / "mr"), read_volume(folder / "mr")
    random = np.random.default_rng(1)
    ct = volume.with_data(random.integers(-1024, 3000, (1, *SHAPE)).astype(np.float32))
    write_ct_series(ct, source, folder / "ct")
    labels = volume.with_data(random.integers(0, 3, (1, *SHAPE)).astype(np.uint8))
    write_segmentations(labels, source, folder / "seg", classes=["contusion", "oedème"])
    write_contours(labels, source, folder / "rt", classes=["contusion", "oedème"])
    chance = volume.with_data(random.random((1, *SHAPE)).astype(np.float32))
    write_parametric_maps({"chance": chance, "none": chance.with_data(chance.data * 0)}, source, folder / "pm")
    return sorted(path for path in folder.rglob("*.dcm") if path.parent.name != "mr")


def require_equal(sent, held):
    """Every element of every object, pixels too; what stands before them is the archive's own."""
    assert {pydicom.dcmread(path).SOPInstanceUID for path in sent} == set(held)
    for path in sent:
        mine = pydicom.dcmread(path)
        theirs = pydicom.dcmread(io.BytesIO(held[mine.SOPInstanceUID]))
        assert theirs == mine
        assert [str(element) for element in theirs.iterall()] == [str(element) for element in mine.iterall()]
        assert theirs.file_meta.TransferSyntaxUID == mine.file_meta.TransferSyntaxUID


@no_highdicom
@no_storescu
def test_what_is_sent_by_c_store_comes_back_equal(archive, tmp_path):
    sent = made(tmp_path)
    archive.send(*sent)
    require_equal(sent, archive.objects())
    (study,) = archive.json("/studies?expand")
    kinds = sorted(archive.json(f"/series/{each}")["MainDicomTags"]["Modality"] for each in study["Series"])
    assert kinds == ["CT", "OT", "OT", "RTSTRUCT", "SEG"]  # each map is a series, and both classes are one
    assert study["MainDicomTags"]["StudyInstanceUID"] == pydicom.dcmread(sent[0]).StudyInstanceUID


@no_highdicom
@no_dicomweb
def test_what_is_sent_by_dicomweb_comes_back_equal(archive, tmp_path):
    sent = made(tmp_path)
    archive.post(*sent)
    require_equal(sent, archive.objects())


@no_storescu
def test_a_study_goes_out_of_the_archive_and_its_result_goes_in(archive, tmp_path):
    """The way of the how-to: the study as a zip file, the result computed from it, and both in one study."""
    archive.send(*write_series(tmp_path / "scanner"))
    (study,) = archive.json("/studies")
    (tmp_path / "study.zip").write_bytes(archive.ask(f"/studies/{study}/archive"))
    (found,) = list_studies(tmp_path / "study.zip")
    assert (found.modality, found.images) == ("MR", SHAPE[2])
    zipfile.ZipFile(tmp_path / "study.zip").extractall(tmp_path / "study")
    (folder,) = {path.parent for path in (tmp_path / "study").rglob("*.dcm")}
    source, volume = read_source(folder), read_volume(folder)
    ct = volume.with_data(np.random.default_rng(1).integers(-1024, 3000, (1, *SHAPE)).astype(np.float32))
    write_ct_series(ct, source, tmp_path / "ct")
    archive.send(*(tmp_path / "ct").iterdir())
    assert archive.json("/studies") == [study]
    assert len(archive.json(f"/studies/{study}/series")) == 2
    (tmp_path / "back").mkdir()
    for uid, content in archive.objects().items():
        if pydicom.dcmread(io.BytesIO(content)).Modality == "CT":
            (tmp_path / "back" / f"{uid}.dcm").write_bytes(content)
    back = read_volume(tmp_path / "back")
    assert np.array_equal(back.data, ct.data)
    assert np.abs(back.affine - volume.affine).max() < 1e-3


@no_highdicom
@no_storescu
def test_a_segmentation_of_frames_comes_back_equal(archive, tmp_path):
    write_frames(tmp_path / "mr.dcm")
    source, volume = read_source(tmp_path / "mr.dcm"), read_volume(tmp_path / "mr.dcm")
    write_segmentations(volume.with_data((volume.data > 500).astype(np.uint8)), source, tmp_path / "seg", classes=["a"])
    archive.send(tmp_path / "seg" / "SEG_0001.dcm")
    require_equal([tmp_path / "seg" / "SEG_0001.dcm"], archive.objects())


@pytest.mark.skipif(not shutil.which("setpriv"), reason="Linux alone can end a process with its parent")
def test_the_archive_ends_with_the_tests_even_if_they_are_killed(tmp_path):
    script = f"""
import time
from pathlib import Path
import orthanc
with orthanc.running(Path({str(tmp_path / "archive")!r})) as started:
    print(started.port, flush=True)
    time.sleep(60)
"""
    words = [sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(orthanc.__file__)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment, text=True)
    port = int(process.stdout.readline())
    assert listens(port)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)
    end = time.monotonic() + 10
    while listens(port) and time.monotonic() < end:
        time.sleep(0.05)
    assert not listens(port)


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
