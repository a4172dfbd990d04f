"""Label maps."""

import nibabel
import numpy as np
import pytest
from nifti_files import save

from medgen.errors import InputError
from medgen.volume import (
    read_label,
)


def test_label_values(tmp_path):
    data = np.zeros((3, 3, 3), np.float32)
    data[0, 0] = 1.00003
    data[1, 1] = 2
    path = tmp_path / "label.nii.gz"
    label = read_label(save(path, data), [1, 2])
    assert label.data.dtype == np.uint8
    assert np.unique(label.data).tolist() == [0, 1, 2]
    assert "rounded" in label.notes[-1]
    with pytest.raises(InputError, match=r"2 \(3 voxels\); expected 0, 1"):
        read_label(path, [1])
    data[1, 1] = 1.3
    with pytest.raises(InputError, match=r"no integers: 1\.3 \(3 voxels\)"):
        read_label(save(path, data))
    data[1, 1] = np.nan
    with pytest.raises(InputError, match="no integers"):
        read_label(save(path, data))
    with pytest.raises(InputError, match=r"-1 \(1 voxels\); expected integers >= 0"):
        read_label(save(path, np.pad(np.full((1, 1, 1), -1, np.int16), 1)))
    with pytest.raises(InputError, match=r"255 \(1 voxels\); expected 0, 1"):
        read_label(save(path, np.pad(np.full((1, 1, 1), 255, np.uint8), 1)), [1])
    large = nibabel.Nifti1Image(np.full((2, 2, 2), 3, np.int64), np.eye(4), dtype=np.int64)
    nibabel.save(large, path)
    assert read_label(path).data.dtype == np.uint8
    assert not read_label(save(path, np.zeros((2, 2, 2), np.uint8)), [1]).data.any()
