"""Which training images samples are near to, so that a copy of a patient is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medgen.cases import read_cases
from medgen.errors import InputError
from medgen.files import sha256, write_json
from medgen.inference.features import FeatureNetwork, require_fit
from medgen.inference.mirroring import flip_axes, flips_of, mirrored, mirrorings
from medgen.inference.neighbour_sheet import Row, write_neighbour_sheet
from medgen.inference.opened import Opened
from medgen.inference.references import References, reference_patches
from medgen.inference.sample_folder import NEIGHBOUR_SHEET, NEIGHBOURS
from medgen.inference.sample_views import views_of
from medgen.inference.sample_writing import Limits
from medgen.metrics.memorisation import Near, expected_nearer, memorisation, near_of, nearer, varied
from medgen.types import Array, Progress, Split

NEAREST = 3
"""Training patches beside each sample."""
SHOWN = 12
"""Samples in the picture."""
_TRAINING, _HELD_OUT, _FEWEST, _BYTES = 1024, 256, 64, 2**28
"""Real patches of a split; of large ones only as many as have so many bytes (float32), but not fewer than 64."""
_HOLDS = (
    "names of cases and, in the picture, images of patients of the case table: handle both files as you handle "
    "the table, and do not publish them with the samples"
)

_SMOOTH = (
    "of voxels a statistic below 0 shows copies or smooth samples, which are near to every image: look at the picture, "
    "and use --features"
)

Measure = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class RealPatches:
    """Real patches that samples are compared with.

    Attributes:
        training: of the patients that the model learnt from.
        held_out: of others; None where the table has none.
        split: of those.
        network: whose features say what is near; None for voxels.
        table_sha256: of the case table.
    """

    training: References
    held_out: References | None
    split: Split | None
    network: FeatureNetwork | None
    table_sha256: str


def real_patches(
    model: Opened,
    cases: str | Path,
    network: FeatureNetwork | None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> RealPatches:
    """Training patches, and those of test patients, or else of validation patients, as the model sees them.

    Raises:
        InputError: the table is wrong, or has no training case or other roles than the model; or the network is for
            other images.
    """
    if network is not None:
        require_fit(
            network.model, "feature network", model.known.preparation, model.method.shape.size, model.patches.plane
        )
    table = read_cases(cases)
    voxels = model.method.shape.outputs * int(np.prod(model.method.shape.size))
    known, others = (int(np.clip(_BYTES // (4 * voxels), _FEWEST, most)) for most in (_TRAINING, _HELD_OUT))
    training = reference_patches(model, table, split="train", count=known, seed=seed, progress=progress)
    unseen: tuple[Split, ...] = ("test", "val")
    split = next((each for each in unseen if table.select(split=each)), None)
    held_out = None
    if split is not None:
        held_out = reference_patches(model, table, split=split, count=others, seed=seed, progress=progress)
        held_out = _not_flat(held_out)
    return RealPatches(_not_flat(training) or training, held_out, split, network, sha256(table.path))


def _not_flat(real: References) -> References | None:
    """Without patches of one value, such as air: two of them are equal, and neither is a copy of the other."""
    kept = varied(real.images)
    if not len(kept):
        return None
    cases, domains = tuple(real.cases[each] for each in kept), tuple(real.domains[each] for each in kept)
    return References(real.images[kept], cases, real.places[kept], domains)


def find_neighbours(
    images: Array, training: Array, *, flips: Sequence[tuple[int, ...]] = ((),), measure: Measure, most: int = NEAREST
) -> Near:
    """The training patches nearest to images.

    Args:
        images: (N, C, *size).
        training: (M, C, *size).
        flips: spatial axes along which training patches are mirrored as well, where the model was trained so.
        measure: features (N, D) of images; their Euclidean distance is the distance.
        most: how many of each image, at most M.
    """
    return near_of(measure(images), [measure(mirrored(training, axes)) for axes in flips], most=most)


def write_neighbours(
    folder: Path, images: Array, real: RealPatches, model: Opened, windows: Sequence[Limits]
) -> dict[str, Any]:
    """Write ``neighbours.json``, of all samples, and ``neighbours.png``, of up to 12: those nearest to a patient.

    Args:
        folder: to write into.
        images: the samples (N, C, *size), normalised.
        real: what they are compared with.
        model: that made them.
        windows: of each role, shown black and white.

    Returns:
        What ``samples.json`` says about them.
    """
    axes, measure = flip_axes(flips_of(model), model.patches), real.network or _voxels
    flips = mirrorings(axes.values())
    named = {axis: name for name, axis in axes.items()}
    training, held = real.training, real.held_out
    near = find_neighbours(images, training.images, flips=flips, measure=measure)
    usual = None if held is None else find_neighbours(held.images, training.images, flips=flips, measure=measure)
    marked = _marked(images, near, usual)
    rows = [
        {
            "sample": number,
            "nearer_than_any_held_out": None if usual is None else bool(marked[number]),
            "relative": float(near.relative[number]),
            "nearest": [
                {
                    "case": training.cases[index],
                    "place_mm": [round(float(mm), 3) for mm in training.places[index]],
                    "mirrored": [named[axis] for axis in flips[flip]],
                    "distance": float(distance),
                }
                for index, flip, distance in zip(
                    near.index[number], near.flip[number], near.distance[number], strict=True
                )
            ],
        }
        for number in range(len(images))
    ]
    content = {
        "research_use_only": True,
        "holds": _HOLDS,
        "cases_sha256": real.table_sha256,
        "distance": _distance(real.network),
        "mirrored_too": list(axes),
        "training": {"patches": len(training), "cases": len(set(training.cases))},
        "held_out": _held_out(real, usual),
        "expected": None if held is None else expected_nearer(len(varied(images)), len(held)),
        "copies": _copies(images, real, flips, measure),
        "samples": rows,
    }
    write_json(folder / NEIGHBOURS, content)
    _picture(folder / NEIGHBOUR_SHEET, images, near, usual, real, model, windows, flips)
    return {
        "neighbours": {
            "list": NEIGHBOURS,
            "picture": NEIGHBOUR_SHEET,
            "holds": _HOLDS,
            "nearer_than_any_held_out": None if usual is None else int(marked.sum()),
        }
    }


def _marked(images: Array, near: Near, usual: Near | None) -> Array:
    """Which images (N,) are nearer than any held-out patch; none of one value, which is a copy of nobody."""
    marked = np.zeros(len(images), bool)
    if usual is not None:
        marked[varied(images)] = nearer(near, usual)[varied(images)]
    return marked


def _picture(
    path: Path,
    images: Array,
    near: Near,
    usual: Near | None,
    real: RealPatches,
    model: Opened,
    windows: Sequence[Limits],
    flips: Sequence[tuple[int, ...]],
) -> None:
    training = real.training

    def row(image: Array, found: Near, number: int, name: str, *, marked: bool = False) -> Row:
        chosen = list(zip(found.index[number], found.flip[number], found.distance[number], strict=True))
        patches = [mirrored(training.images[index][None], flips[flip])[0] for index, flip, _ in chosen]
        captions = [f"{training.cases[index]}  {distance:.3g}" for index, _, distance in chosen]
        pictures = views_of(model, [image, *patches], windows)[0]
        return Row(pictures, (name, *captions), marked=marked)

    marked = _marked(images, near, usual)
    nearest = np.sort(np.argsort(near.relative, kind="stable")[:SHOWN])
    rows = [row(images[each], near, each, f"sample {each}", marked=bool(marked[each])) for each in nearest]
    scale = []
    if usual is not None and real.held_out is not None:
        order = np.argsort(usual.relative, kind="stable")
        for what, each in (("nearest", order[0]), ("median", order[len(order) // 2])):
            scale.append(row(real.held_out.images[each], usual, each, f"held out, {what}"))
    write_neighbour_sheet(path, rows, scale, title=_title(model, len(rows), len(images)), subtitle=_subtitle(real))


def _title(model: Opened, shown: int, count: int) -> str:
    which = f"the {shown} of {count} samples that are most like one training patch" if shown < count else "samples"
    return f"{model.run}: {which}, each with its nearest training patches"


def _subtitle(real: RealPatches) -> str:
    what = "Euclidean distance of features" if real.network else "root mean square difference in normalised units"
    flag = "; orange: nearer than any held-out patch" if real.held_out else "; no held-out cases to compare with"
    return f"{what}, among {len(real.training)} training patches{flag}"


def _distance(network: FeatureNetwork | None) -> dict[str, Any]:
    if network is None:
        return {"of": "voxels", "unit": "root mean square difference in normalised units"}
    return {"of": "features", "unit": "Euclidean distance", "network": network.origin}


def _held_out(real: RealPatches, usual: Near | None) -> dict[str, Any] | None:
    if usual is None or real.held_out is None:
        return None
    nearest = usual.distance[:, 0]
    return {
        "split": real.split,
        "patches": len(real.held_out),
        "cases": len(set(real.held_out.cases)),
        "nearest": float(nearest.min()),
        "median": float(np.median(nearest)),
        "least_relative": float(usual.relative.min()),
    }


def _copies(
    images: Array, real: RealPatches, flips: Sequence[tuple[int, ...]], measure: Measure
) -> dict[str, Any] | None:
    """The test for copies, or why there is none."""
    if real.held_out is None:
        return {"reason": "the table has no case of split 'test' or 'val' to compare with"}
    training, *others = [measure(mirrored(real.training.images, axes)) for axes in flips]
    try:
        found = memorisation(training, measure(images[varied(images)]), measure(real.held_out.images), mirrored=others)
    except InputError as error:
        return {"reason": error.what}
    note = {} if real.network else {"note": _SMOOTH}
    return {"statistic": found.statistic, "p": found.p, **note}


def _voxels(images: Array) -> Array:
    """Voxels such that the Euclidean distance is the root mean square difference."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    scaled: Array = flat / np.sqrt(flat.shape[1])
    return scaled
