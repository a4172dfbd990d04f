"""What the reader of a how-to page has: images, tables and trained runs, made once from phantoms."""

import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import yaml

from medgen import make_head_phantom, make_prostate_phantom, train
from medgen.cases import Case, read_cases, write_cases
from medgen.volume import read_volume, write_volume

TRAIN, VALIDATION, TEST = 3, 3, 2
COMMON: dict[str, Any] = {
    "config": {"width": 0.1},
    "preparation": {"spacing": None},
    "patches": {"size": [16, 16, 16]},
    "schedule": {"steps": 2, "batch": 2, "validate_every": 2, "save_every": 2, "precision": "32"},
    "inference": {"size": [32, 32, 32], "overlap": 0},
}
MADE_OF_T1 = {"data": {"inputs": ["t1"], "mask": "mask"}, "patches": {"size": [16, 16], "sampling": "centred"}}
RECIPES: dict[str, dict[str, Any]] = {
    "ct": {"method": "supervised", "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"}},
    "ct to export": {
        "method": "supervised",
        "config": {"generator": "fcn", "width": 0.1},
        "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
        "patches": {"size": [24, 24, 24]},
    },
    "ct of two": {"method": "supervised", "data": {"inputs": ["t1", "flair"], "target": "ct", "mask": "mask"}},
    "cvae": {
        "method": "cvae",
        "data": {"inputs": ["t1"], "target": "ct", "mask": "mask"},
        "patches": {"size": [32, 32, 32]},
        "inference": {},
    },
    "translator": {
        "method": "cyclegan",
        "config": {"width": 0.1, "blocks": 1},
        "data": {"inputs": ["t1"], "target": "flair", "mask": "mask"},
        "preparation": {"spacing": None, "intensity": {"flair": {"percentiles": [0.5, 99.5]}}},
        "inference": {},
    },
    "lesions": {
        "method": "segmentation",
        "data": {"inputs": ["flair", "t2"], "labels": "label", "classes": {"tumour": [1]}, "mask": "mask"},
    },
    "detector": {
        "method": "adversarial_detector",
        "data": {
            "inputs": ["t2w", "adc", "hbv"],
            "labels": "label",
            "classes": {"peripheral zone": [1], "transition zone": [2], "tumour": [3]},
        },
        "preparation": {"spacing": None, "body_margin": 0},
        "patches": {"size": [32, 32, 8], "augmentation": {"channel_dropout": {2: 0.5}}},
        "inference": {"detection": {"class": "tumour"}},
    },
    "cancer": {
        "method": "adversarial_detector",
        "data": {"inputs": ["t2w", "adc", "hbv"], "labels": "lesion", "classes": {"tumour": [2, 3, 4, 5]}},
        "patches": {"size": [32, 32, 8]},
        "inference": {"detection": {"class": "tumour"}},
    },
    "vae": {"method": "vae", "config": {"width": 0.1, "latent": 4, "levels": 2}, **MADE_OF_T1, "inference": {}},
    "gan": {"method": "gan", **MADE_OF_T1, "inference": {}},
    "encoder": {"method": "vicreg", "config": {"width": 0.1, "levels": 2}, **MADE_OF_T1, "inference": {}},
    "gan of volumes": {"method": "gan", "data": {"inputs": ["t1"], "mask": "mask"}, "inference": {}},
    "segmenter": {
        "method": "segmentation",
        "data": {"inputs": ["t1"], "labels": "pieces", "classes": {"core": [1], "rim": [2]}, "mask": "mask"},
    },
}
"""Small runs by name; a block that one lacks is that of ``COMMON``."""


Thing = Callable[["Reader", Path], object]
"""Puts what a reader has at a path."""


class Reader:
    """Makes what readers have, each thing only once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def heads(self) -> list[Case]:
        """Eight heads with lesions; the role ``pieces`` has two values where ``label`` has one."""
        place, splits = self.folder / "heads", (TRAIN, VALIDATION, TEST)
        make_head_phantom(place, subjects=sum(splits), splits=splits, spacing=8.0, lesions=True, workers=1)
        found = []
        for case in read_cases(place / "cases.csv").cases:
            label = read_volume(case.images["label"])
            upper = np.arange(label.data.shape[-1]) % 2
            path = case.images["label"].with_name(f"{case.name}_pieces.nii.gz")
            write_volume(label.with_data(label.data * (1 + upper)), path, kind="label")
            found.append(Case(case.name, case.split, case.domain, {**case.images, "pieces": path}))
        return found

    @cached_property
    def prostates(self) -> list[Case]:
        """Five prostates, some of them with an aggressive tumour."""
        splits = {"train": 2, "validation": 1, "test": TEST}
        table = make_prostate_phantom(self.folder / "prostates", **splits, spacing=(4.0, 4.0, 4.0), workers=1)
        return list(read_cases(table).cases)

    def cases(self, role: str) -> list[Case]:
        return self.prostates if role in {"t2w", "adc", "hbv", "lesion"} else self.heads

    @staticmethod
    def recipe(name: str) -> dict[str, Any]:
        """A number behind the name is the seed."""
        kind, _, seed = name.partition(" seed ")
        return {**COMMON, **RECIPES[kind], "seed": int(seed or 0)}

    def run(self, name: str) -> Path:
        """The trained run of that name."""
        place = self.folder / "runs" / name.replace(" ", "_")
        if not place.exists():
            recipe = self.recipe(name)
            cases = self.cases(recipe["data"]["inputs"][0])
            place.parent.mkdir(exist_ok=True)
            train(recipe, write_cases(cases, place.with_suffix(".csv")), place, device="cpu")
        return place


def run(name: str) -> Thing:
    return lambda reader, path: shutil.copytree(reader.run(name), path)


def image(role: str) -> Thing:
    return lambda reader, path: shutil.copy(reader.cases(role)[0].images[role], path)


def piece(role: str) -> Thing:
    """The middle of an image, for models whose voxels are much smaller than those of the phantom."""

    def put(reader: Reader, path: Path) -> None:
        whole = nibabel.load(reader.cases(role)[0].images[role])
        first = [(side - 8) // 2 for side in whole.shape]
        nibabel.save(whole.slicer[tuple(slice(at, at + 8) for at in first)], path)

    return put


def table(*roles: str, only: str = "", **named: str) -> Thing:
    """A case table with these columns; ``label="pieces"`` is another image under that name.

    Args:
        roles: columns.
        only: the one split that it has.
        named: other columns.
    """
    columns = {**dict(zip(roles, roles, strict=True)), **named}

    def put(reader: Reader, path: Path) -> None:
        cases = [case for case in reader.cases(next(iter(columns.values()))) if only in ("", case.split)]
        images = [{role: case.images[name] for role, name in columns.items()} for case in cases]
        rows = zip(cases, images, strict=True)
        write_cases([Case(case.name, case.split, case.domain, of_case) for case, of_case in rows], path)

    return put


def recipe(name: str) -> Thing:
    return lambda reader, path: path.write_text(yaml.safe_dump(reader.recipe(name)))


def text(content: str) -> Thing:
    return lambda reader, path: path.write_text(content)
