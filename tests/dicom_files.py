"""DICOM series written with pydicom, slice by slice."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

PERSON, NUMBER = "LOVELACE^ADA", "PATIENT-1815"
SERIES, FRAME, STUDY = generate_uid(), generate_uid(), generate_uid()
SHAPE = (6, 5, 7)
SPACING = (0.5, 0.75, 3.0)
ORIGIN = (12.5, -20.25, 30.0)


def voxels(shape=SHAPE, seed=0):
    """Stored numbers (X, Y, Z), no two slices alike."""
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(np.int16)


def dataset(kind, *, series=SERIES, person=NUMBER):
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = kind
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.SeriesInstanceUID, header.SeriesNumber, header.FrameOfReferenceUID = series, 4, FRAME
    header.StudyInstanceUID = STUDY
    header.PatientName, header.PatientID, header.PatientBirthDate = PERSON, person, "18151210"
    header.PatientSex, header.StudyDate, header.StudyTime, header.PatientOrientation = "F", "", "", ""
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.Modality = "CT" if kind == CTImageStorage else "MR"
    return header


def add_pixels(header, frames):
    """``frames``: (rows, columns) or (frames, rows, columns), int16."""
    header.Rows, header.Columns = frames.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 1
    header.PixelData = np.ascontiguousarray(frames, "<i2").tobytes()


def position(index, step=None, *, turn=None, origin=ORIGIN, spacing=SPACING):
    """LPS+ mm of the first voxel of a slice; ``step`` is the way from slice to slice, else along the normal."""
    turn = np.eye(3) if turn is None else turn
    way = turn[:, 2] * spacing[2] if step is None else np.asarray(step)
    return np.array(origin) + index * way


def numbers(values):
    return [f"{value:.9f}"[:16] for value in values]


def write_series(folder, data=None, *, turn=None, step=None, rescale=None, names=None, heights=None, **options):
    """A series of single slices (X, Y, Z) whose axes are the columns of the rotation ``turn``, in LPS+.

    Args:
        folder: is made.
        data: stored numbers.
        turn: (3, 3).
        step: as for :func:`position`.
        rescale: of a slice's index, its (slope, intercept).
        names: of the files, by slice.
        heights: index along the normal of each slice, where they are not 0, 1, 2, ...
        **options: for :func:`dataset`; ``kind``, ``change`` (called with index and header before it is saved).
    """
    data = voxels() if data is None else data
    turn = np.eye(3) if turn is None else turn
    folder.mkdir(parents=True, exist_ok=True)
    kind, change = options.pop("kind", MRImageStorage), options.pop("change", None)
    paths = []
    for index in range(data.shape[2]):
        header = dataset(kind, **options)
        header.InstanceNumber = index + 1
        where = position(index if heights is None else heights[index], step, turn=turn)
        header.ImagePositionPatient = numbers(where)
        header.ImageOrientationPatient = numbers([*turn[:, 0], *turn[:, 1]])
        header.PixelSpacing = [SPACING[1], SPACING[0]]
        if rescale:
            header.RescaleSlope, header.RescaleIntercept = (str(value) for value in rescale(index))
        add_pixels(header, data[:, :, index].T)
        if change:
            change(index, header)
        paths.append(folder / (names[index] if names else f"slice{index:02d}.dcm"))
        header.save_as(paths[-1], enforce_file_format=True)
    return paths


def item(**values):
    """A sequence of one item."""
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return Sequence([made])


def write_frames(path, data=None, *, order=None, slopes=None):
    """One file whose frames are the slices, each with its own slope, in an order of their own."""
    data = voxels() if data is None else data
    order = list(range(data.shape[2])) if order is None else order
    header = dataset(EnhancedMRImageStorage)
    add_pixels(header, data[:, :, order].transpose(2, 1, 0))
    header.NumberOfFrames = len(order)
    header.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=item(PixelSpacing=[SPACING[1], SPACING[0]]),
    )
    frames = []
    for index in order:
        groups = Dataset()
        groups.PlanePositionSequence = item(ImagePositionPatient=numbers(position(index)))
        if slopes is not None:
            groups.PixelValueTransformationSequence = item(RescaleSlope=str(slopes[index]), RescaleIntercept="0")
        frames.append(groups)
    header.PerFrameFunctionalGroupsSequence = Sequence(frames)
    header.save_as(path, enforce_file_format=True)
    return path
