"""NIfTI files and grids made by nibabel and by hand."""

import nibabel
import numpy as np


def turned(angle: float, axis=(1.0, 2.0, 3.0)) -> np.ndarray:
    """Rotation by ``angle`` degrees about ``axis``, by Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    radians = np.radians(angle)
    return np.eye(3) + np.sin(radians) * cross + (1 - np.cos(radians)) * cross @ cross


def affine_of(axes=(0, 1, 2), signs=(1, 1, 1), angle=0.0, spacing=(0.7, 1.3, 2.5), origin=(-90.3, 20.1, 5.5)):
    matrix = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, column] = sign * spacing[column]
    affine = np.eye(4)
    affine[:3, :3] = turned(angle) @ matrix
    affine[:3, 3] = origin
    return affine.astype(np.float32).astype(float)


def save(path, data, affine=None, *, qform=None, codes=(1, 1), kind=nibabel.Nifti1Image, unit="mm", slope=None):
    """A NIfTI file made by nibabel alone."""
    affine = np.eye(4) if affine is None else affine
    image = kind(data, affine)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine, codes[1])
    image.set_qform(affine if qform is None else qform, codes[0])
    if slope:
        image.header.set_slope_inter(*slope)
    nibabel.save(image, path)
    return path


def noise(shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
