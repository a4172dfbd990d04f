"""Real files of every kind."""

import numpy as np
import pytest

from medgen.errors import InputError
from medgen.volume import (
    read_volume,
    require_same_grid,
    to_ras,
)


@pytest.mark.real_data
def test_real_orientations_show_one_brain(real_data):
    files = sorted((real_data / "nifti" / "orientations").glob("*.nii.gz"))
    assert len(files) == 10
    reference = to_ras(read_volume(real_data / "nifti" / "orientations" / "RAS.nii.gz"))
    for path in files:
        volume = read_volume(path)
        assert "".join(volume.axis_codes) == path.name.split(".")[0]
        turned_volume = to_ras(volume)
        require_same_grid(turned_volume, reference, tolerance=0.001)
        assert np.abs(turned_volume.data - reference.data).max() < 1e-4


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shear.nii.gz", r"sform and qform disagree by 35\.75 mm"),
        ("ct_perfusion.nii.gz", "colour"),
        ("example4d.nii.gz", "4D with 2 frames"),
        ("example_nifti2.nii.gz", "4D with 2 frames"),
        ("nifti1.hdr", r"nifti1\.img is missing"),
    ],
)
def test_real_files_that_need_a_decision(real_data, name, message):
    with pytest.raises(InputError, match=message) as error:
        read_volume(real_data / "nifti" / name)
    assert str(error.value).count("\n") == 2


@pytest.mark.real_data
def test_real_files_that_can_be_read(real_data):
    folder = real_data / "nifti"
    tilted = read_volume(folder / "shear.nii.gz", geometry="qform")
    assert (tilted.data.min(), tilted.data.max()) == (-1024, pytest.approx(789))
    with pytest.raises(InputError, match=r"sheared: two axes are 18\.50 degrees"):
        read_volume(folder / "shear.nii.gz", geometry="sform")
    left = read_volume(folder / "avg152T1_RL_nifti.nii.gz")
    assert left.shape == (91, 109, 91)
    assert left.affine[:3, 3].tolist() == [-90, -126, -72]
    bare = read_volume(folder / "minimal.nii.gz")
    assert not bare.has_world_position
    assert bare.spacing == (3, 3, 3)
    second = read_volume(folder / "example_nifti2.nii.gz", frame=1)
    assert second.shape == (32, 20, 12)
    assert read_volume(folder / "low_res.nii.gz").shape == (7, 5, 3)
