"""A case table as subjects of TorchIO 1; skipped where TorchIO is not installed."""

import numpy as np
import pytest
import tiny
import torch

import medgen
from medgen.errors import InputError

torchio = pytest.importorskip("torchio", minversion="1.0")
RECIPE = {**tiny.recipe(), "method": "supervised"}


@pytest.fixture
def table(tmp_path):
    return tiny.write_cases(tmp_path, train=2, val=1, test=0, side=12)


def test_subjects_are_what_torchio_reads(table):
    first, second = medgen.torchio.subjects(table, RECIPE, split="train")
    assert [each["case"] for each in (first, second)] == ["case0", "case1"]
    assert isinstance(first["mask"], torchio.LabelMap)
    assert isinstance(first["ct"], torchio.ScalarImage)
    for role in ("t1", "ct", "mask"):
        expected = torchio.ScalarImage(table.parent / f"case0_{role}.nii.gz")
        assert torch.equal(first[role].data.float(), expected.data.float())
        assert np.allclose(first[role].affine, expected.affine, atol=1e-6)


def test_its_transforms_and_datasets_take_them(table):
    flip = torchio.RandomFlip(axes=("L",), flip_probability=1)
    made = torchio.SubjectsDataset(medgen.torchio.subjects(table, RECIPE), transform=flip)
    assert len(made) == 3
    plain = medgen.torchio.subjects(table, RECIPE)[1]
    assert torch.equal(made[1]["ct"].data, plain["ct"].data.flip(1))
    assert torch.equal(made[1]["mask"].data, plain["mask"].data.flip(1))


def test_a_damaged_file_is_refused_in_the_words_of_medgen(table):
    path = table.parent / "case0_ct.nii.gz"
    subject = medgen.torchio.subjects(table, RECIPE)[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="case0_ct"):
        _ = subject["ct"].data
