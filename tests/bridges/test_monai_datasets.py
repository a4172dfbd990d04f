"""A case table and a prepared store as datasets of MONAI."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from monai.data import CacheDataset, MetaTensor
from monai.data import DataLoader as MonaiLoader
from monai.transforms import CenterSpatialCropd, EnsureChannelFirst, LoadImage

import medgen
from medgen.errors import InputError, StorageError, UsageError
from medgen.preparation.store import facts_of
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


@pytest.mark.parametrize("loaded", ["here", "transformed", "workers", "cached"])
@pytest.mark.parametrize("fault", ["folder", "image", "half", "empty", "facts"])
def test_a_store_that_was_damaged_since_names_the_file(table, tmp_path, fault, loaded):
    """An item without one of its arrays would pass for a case that has none."""
    crop = CenterSpatialCropd(["image"], (4, 4, 4)) if loaded == "transformed" else None
    made = medgen.monai.store(table, RECIPE, tmp_path / "store", split="val", transform=crop, workers=1)
    folder = Path(made.data[0]["folder"])
    broken = folder / ("case.json" if fault == "facts" else "image.npy")
    if fault == "folder":
        shutil.rmtree(folder)
    elif fault == "image":
        broken.unlink()
    else:
        content = broken.read_bytes()
        broken.write_bytes(b"" if fault == "empty" else content[: len(content) // 2])
    if fault in ("folder", "facts"):
        facts_of.cache_clear()
        broken = folder / "case.json"
    load = {
        "workers": lambda: list(MonaiLoader(made, num_workers=1)),
        "cached": lambda: CacheDataset(made.data, made.transform, progress=False),
    }.get(loaded, lambda: made[0])
    with pytest.raises(StorageError, match="the store is damaged") as caught:
        load()
    assert str(broken) in str(caught.value)
    assert "delete this folder of the store" in str(caught.value)


def test_a_folder_that_vanished_is_not_an_item_without_images(table, tmp_path):
    """Facts of a case are kept in memory; what was prepared is in them."""
    made = medgen.monai.store(table, RECIPE, tmp_path / "store", split="val", workers=1)
    assert "image" in made[0]
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(StorageError, match="it is missing") as caught:
        made[0]
    assert Path(caught.value.where).name == "image.npy"


def test_a_fault_of_a_transform_is_told_as_monai_tells_it(table):
    made = medgen.monai.dataset(table, RECIPE, transform=CenterSpatialCropd(["absent"], (4, 4, 4)))
    with pytest.raises(RuntimeError, match="applying transform"):
        made[0]


def test_a_volume_that_was_damaged_since_names_the_file(table):
    made = medgen.monai.dataset(table, RECIPE, split="val")
    path = Path(made.data[0]["t1"])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError) as caught:
        made[0]
    assert str(path) in str(caught.value)
