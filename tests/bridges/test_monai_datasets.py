"""A case table and a prepared store as datasets of MONAI."""

import numpy as np
import pytest
import tiny
import torch
from monai.data import CacheDataset, MetaTensor
from monai.data import DataLoader as MonaiLoader
from monai.transforms import CenterSpatialCropd, EnsureChannelFirst, LoadImage

import medgen
from medgen.errors import InputError, UsageError
from medgen.volume import Volume, read_volume, write_volume

RECIPE = {**tiny.recipe(), "method": "supervised"}


@pytest.fixture
def table(tmp_path):
    return tiny.write_cases(tmp_path, train=2, val=1, test=1, side=12)


def test_items_are_what_monai_reads(table):
    made = medgen.monai.dataset(table, RECIPE, split="train")
    assert [item["case"] for item in made] == ["case0", "case1"]
    for role, path in (("t1", "case0_t1.nii.gz"), ("ct", "case0_ct.nii.gz"), ("mask", "case0_mask.nii.gz")):
        expected = LoadImage(ensure_channel_first=True)(table.parent / path)
        found = made[0][role]
        assert isinstance(found, MetaTensor)
        assert torch.equal(found.as_tensor().float(), expected.as_tensor())
        assert torch.equal(found.affine, expected.affine)
        for key in ("filename_or_obj", "space"):
            assert found.meta[key] == expected.meta[key]
        assert EnsureChannelFirst()(found).shape == found.shape
        assert np.array_equal(found.meta["spatial_shape"], expected.meta["spatial_shape"])
    assert made[0]["t1"].dtype == torch.float32
    assert made[0]["mask"].dtype == torch.uint8


def test_transforms_workers_and_caches_of_monai_take_it(table):
    crop = CenterSpatialCropd(["t1", "ct"], (4, 4, 4))
    made = medgen.monai.dataset(table, RECIPE, transform=crop)
    assert len(made) == 4
    (batch,) = MonaiLoader(made, batch_size=4, num_workers=2)
    assert batch["t1"].shape == (4, 1, 4, 4, 4)
    cached = CacheDataset(made.data, made.transform, progress=False)
    assert torch.equal(cached[3]["ct"].as_tensor(), batch["ct"][3].as_tensor())


def test_a_store_has_what_training_sees(table, tmp_path):
    made = medgen.monai.store(table, RECIPE, tmp_path / "store", split="val", workers=1)
    (stored,) = medgen.prepare(RECIPE, table, tmp_path / "store", workers=1).select(split="val")
    (item,) = list(made)
    assert item.keys() == {"case", "image", "target", "mask", "body"}
    assert item["case"] == "case2"
    assert np.array_equal(item["image"], stored.image)
    assert np.array_equal(item["target"], stored.target)
    assert np.array_equal(item["mask"][0], stored.mask)
    assert np.array_equal(item["image"].affine, stored.affine)
    assert -1 <= item["target"].min() < item["target"].max() <= 1
    with pytest.raises(UsageError, match="no split 'vall'"):
        medgen.monai.dataset(table, RECIPE, split="vall")


def test_images_on_another_grid_are_refused_before_a_voxel_is_read(table):
    path = table.parent / "case1_ct.nii.gz"
    volume = read_volume(path)
    path.unlink()
    moved = volume.affine.copy()
    moved[0, 3] += 1
    write_volume(Volume(volume.data, moved), path, kind="hu")
    with pytest.raises(InputError, match="case 'case1': 'ct' lies on another grid") as caught:
        medgen.monai.dataset(table, RECIPE)
    assert "case1_ct" in str(caught.value)
    medgen.monai.dataset(table, RECIPE, split="val")  # nothing is wrong with these


def test_labels_that_the_method_may_not_see_are_left_out(table):
    lines = table.read_text().replace("ct", "label").splitlines()
    domains = ["domain", "source", "target", "source", "target"]
    table.write_text("\n".join(f"{line},{domain}" for line, domain in zip(lines, domains, strict=True)) + "\n")
    for each in table.parent.glob("*_mask.nii.gz"):
        each.with_name(each.name.replace("_mask", "_label")).write_bytes(each.read_bytes())
    recipe = {"method": "mean_teacher", "data": {"inputs": ["t1"], "labels": "label"}, "preparation": {"spacing": None}}
    made = medgen.monai.dataset(table, {**recipe, "patches": {"size": [16, 16, 16]}, "seed": 0})
    assert [("label" in item) for item in made] == [True, False, True, False]
    alone = {**recipe, "method": "segmentation", "patches": {"size": [16, 16, 16]}, "seed": 0}
    alone["data"] = {**recipe["data"], "domains": ["source"]}
    stored = medgen.monai.store(table, alone, table.parent / "store", workers=1)
    for learnt in (medgen.monai.dataset(table, alone), stored):
        assert [item["case"] for item in learnt.data] == ["case0", "case2", "case3"]  # the last is a test
