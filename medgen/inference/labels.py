"""From class probabilities on the prepared grid to a label map on the patient's own, and its content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from medgen.errors import ModelError
from medgen.inference.intensities import by_intensities
from medgen.inference.lesions import OnDetected, detect
from medgen.metrics.overlap import CUBE
from medgen.metrics.pieces import count_pieces
from medgen.preparation import Preparation, Prepared
from medgen.preparation.settings import require_class_names
from medgen.recipe.prediction import InferenceConfig, PiecesConfig
from medgen.volume import Volume

OnProbability = Callable[[str, Volume], None]
"""Called with a class and its map, (1, X, Y, Z) float32 in [0, 1] on the patient's own grid."""

ENTROPY = ""
"""Name under which the entropy is given out; no class is called so."""


@dataclass(frozen=True)
class Found:
    """How much of one class a label map holds.

    Attributes:
        voxels: how many have the class.
        ml: their volume in millilitres.
        components: connected pieces; voxels that share a corner are connected (26 neighbours).
        extent_mm: the longest edge of the box around any of them, along the voxel grid.
    """

    voxels: int
    ml: float
    components: int
    extent_mm: float = 0.0


def classes_of(description: Mapping[str, Any], outputs: int) -> tuple[str, ...]:
    """Names of the classes of a segmentation model, without the background; name n - 1 is label n.

    Args:
        description: the content of ``model.json``.
        outputs: channels that the network makes.

    Raises:
        ModelError: there are none, one cannot name a file, two would name the same, or they do not fit the network.
    """
    names = description.get("classes")
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise ModelError("model.json names no classes", fix="copy the model folder again")
    names = tuple(str(name) for name in names)
    try:
        require_class_names(names)
    except ValueError as error:
        raise ModelError(f"classes in model.json: {error}", fix="use a model from a source that you trust") from None
    if outputs != 1 + len(names):
        raise ModelError(
            f"the network makes {outputs} channels, and background and classes are {1 + len(names)}",
            fix="copy the model folder again",
        )
    return names


def label_map(
    probabilities: NDArray[np.float32],
    prepared: Prepared,
    preparation: Preparation,
    classes: Sequence[str],
    settings: InferenceConfig,
    on_probability: OnProbability | None = None,
    on_detected: OnDetected | None = None,
) -> tuple[Volume, tuple[str, ...]]:
    """The label map of :func:`restore_label` after the settings are applied, with notes.

    Args:
        probabilities: as for :func:`restore_label`.
        prepared: the patient.
        preparation: of the model.
        classes: their names.
        settings: the threshold, the pieces that stay, and the class in which lesions are detected.
        on_probability: is called with the map of each class, in order.
        on_detected: is called with the lesions; None: none are detected.
    """
    detection = settings.detection if on_detected else None
    kept: list[Volume] = []

    def each(name: str, volume: Volume) -> None:
        if detection and name == detection.target_class:
            kept.append(volume)
        if on_probability:
            on_probability(name, volume)

    volume = restore_label(probabilities, prepared, preparation, classes, each, settings)
    volume, notes = chosen_pieces(volume, classes, settings)
    if not volume.data.any():
        notes = (*notes, f"nothing found: no voxel of {', '.join(classes)}")
    if detection is None or on_detected is None:
        return volume, notes
    detected = detect(kept[0], volume, classes, detection)
    on_detected(detected)
    return volume, (*notes, *detected.notes)


def restore_label(
    probabilities: NDArray[np.float32],
    prepared: Prepared,
    preparation: Preparation,
    classes: Sequence[str],
    on_probability: OnProbability | None = None,
    settings: InferenceConfig | None = None,
) -> Volume:
    """The class of each voxel of the patient's own grid: at a threshold of 0.5 the most probable one.

    The probabilities are interpolated and the decision is made then. Nearest neighbour of a label map would give
    the staircase of the prepared grid instead: borders off by up to half of its voxel, and, on a coarser grid,
    structures of a voxel that come or go by where the grid happens to lie. Interpolated probabilities put a border
    where two classes are equally probable (at another threshold: as probable as it says), between voxels too.

    Args:
        probabilities: (1 + classes, X, Y, Z) in [0, 1] on the prepared grid, background first; the background is
            written over.
        prepared: the patient.
        preparation: of the model.
        classes: their names.
        on_probability: is called with the map of each class, in order; not of the background.
        settings: ``threshold`` in (0, 1): the background's probability counts threshold / (1 - threshold) times; and
            ``intensities``, where the patient's first image was kept.

    Returns:
        (1, X, Y, Z) on the grid of the first input, uint8 (uint16 above 255 classes): n for ``classes[n - 1]``, 0 for
        background, and where the prepared grid does not reach. Of equal probabilities the earlier class wins, as in
        ``argmax``.
    """
    # One class at a time, in place and slab by slab: all of them on the patient's grid would double the memory.
    settings = settings or InferenceConfig()
    best = _class_map(probabilities[0], prepared, preparation, fill=1.0)
    highest = best.data
    highest *= settings.threshold / (1 - settings.threshold)
    redrawn = _redrawn(probabilities, prepared, preparation, classes, settings)
    label = np.zeros(highest.shape, np.min_scalar_type(len(classes)))
    for index, name in enumerate(classes, start=1):
        each = redrawn.pop(name, None) or _class_map(probabilities[index], prepared, preparation, fill=0.0)
        if on_probability:
            on_probability(name, each)
        for x in range(highest.shape[1]):
            slab = each.data[:, x]
            label[:, x][slab > highest[:, x]] = index
            np.maximum(highest[:, x], slab, out=highest[:, x])
        del each, slab
    return best.with_data(label)


def _redrawn(
    probabilities: NDArray[np.float32],
    prepared: Prepared,
    preparation: Preparation,
    classes: Sequence[str],
    settings: InferenceConfig,
) -> dict[str, Volume]:
    """The maps of those classes whose borders the intensities of the first image decide."""
    if not settings.intensities or prepared.first is None:
        return {}
    names = list(settings.intensities)
    maps = [_class_map(probabilities[1 + classes.index(name)], prepared, preparation, fill=0.0) for name in names]
    shares = np.concatenate([each.data for each in maps])
    image = np.nan_to_num(prepared.first.data[0].astype(np.float32), posinf=0.0, neginf=0.0)
    found = by_intensities(image, shares)
    return {name: each.with_data(part[None]) for name, each, part in zip(names, maps, found, strict=True)}


def spreads_on_own_grid(
    mean: NDArray[np.float32],
    sd: NDArray[np.float32],
    prepared: Prepared,
    preparation: Preparation,
    classes: Sequence[str],
    on_spread: OnProbability,
) -> None:
    """Give out the standard deviation of the probability of each class, and the entropy of the mean probabilities.

    Args:
        mean: (1 + classes, X, Y, Z) in [0, 1] on the prepared grid, background first.
        sd: of that shape.
        prepared: the patient.
        preparation: of the model.
        classes: their names.
        on_spread: is called with each class and its standard deviation, in [0, 0.5], and with :data:`ENTROPY` and the
            entropy in nats.
    """
    for name, each in zip(classes, sd[1:], strict=True):
        on_spread(name, _class_map(each, prepared, preparation, fill=0.0))
    entropy = np.zeros(mean.shape[1:], np.float32)
    for probability in mean:
        for x in range(len(entropy)):
            entropy[x] += entr(probability[x])
    on_spread(ENTROPY, preparation.restore(entropy, prepared, fill=0.0))


def without_small(label: Volume, minimum_ml: float) -> Volume:
    """The label map without connected pieces of a class below ``minimum_ml``; (1, X, Y, Z) integers."""
    names = [str(value) for value in range(1, int(label.data.max(initial=0)) + 1)]
    return chosen_pieces(label, names, InferenceConfig(minimum_ml=minimum_ml))[0]


def chosen_pieces(label: Volume, classes: Sequence[str], settings: InferenceConfig) -> tuple[Volume, tuple[str, ...]]:
    """The label map with the pieces of each class that the settings keep, and notes on what was removed and filled.

    MONAI's ``KeepLargestConnectedComponent``, ``RemoveSmallObjects`` and ``FillHoles`` do the same (a test compares
    them); they are not used here, since importing them takes longer than most predictions. ``FillHoles`` also replaces
    other classes inside, which stay here.

    Args:
        label: (1, X, Y, Z) integers, n for ``classes[n - 1]``.
        classes: their names.
        settings: ``pieces`` and ``minimum_ml``.
    """
    from scipy import ndimage

    rules = [settings.pieces_of(name) for name in classes]
    if all(rule == PiecesConfig() for rule in rules):
        return label, ()
    values, notes = label.data[0].copy(), []
    voxel_ml = float(np.prod(label.spacing)) / 1000
    boxes = ndimage.find_objects(values)
    for index, (name, rule, box) in enumerate(zip(classes, rules, boxes, strict=False), start=1):
        if box is None:
            continue
        part = values[box]
        pieces, count = ndimage.label(part == index, CUBE)
        sizes = np.bincount(pieces.ravel())[1:]
        removed = sizes < rule.minimum_ml / voxel_ml - 1e-6  # a spacing in single precision must not decide
        if rule.keep == "largest":
            removed |= np.arange(count) != sizes.argmax()
        if removed.any():
            part[np.concatenate([[False], removed])[pieces]] = 0  # the first are the voxels of other classes
            ml, of = (float(each.sum()) * voxel_ml for each in (sizes[removed], sizes))
            notes.append(f"{name}: {removed.sum()} of {count} pieces removed, {ml:.3g} of {of:.3g} ml")
        enclosed = _enclosed(part == index, rule.fill) & (part == 0)
        if enclosed.any():
            part[enclosed] = index
            notes.append(f"{name}: {enclosed.sum() * voxel_ml:.3g} ml filled that it encloses")
    return label.with_data(values), tuple(notes)


def _enclosed(mask: NDArray[np.bool_], fill: str) -> NDArray[np.bool_]:
    """The mask and what it encloses: ``none``, its ``holes``, or also its ``rings`` in slices along each axis."""
    from scipy import ndimage

    if fill == "none":
        return mask
    result: NDArray[np.bool_] = ndimage.binary_fill_holes(mask)
    for axis in range(3) if fill == "rings" else ():
        slices = zip(np.moveaxis(mask, axis, 0), np.moveaxis(result, axis, 0), strict=True)
        for flat, filled in slices:
            filled |= ndimage.binary_fill_holes(flat)
    return result


def found_in(label: Volume, classes: Iterable[str]) -> dict[str, Found]:
    """How much of each class a label map holds; (1, X, Y, Z) integers, n for the class n - 1 of ``classes``."""
    from scipy import ndimage

    values, result = label.data[0], {}
    boxes = ndimage.find_objects(values)
    voxel_ml = float(np.prod(label.spacing)) / 1000
    for index, name in enumerate(classes):
        box = boxes[index] if index < len(boxes) else None
        if box is None:
            result[name] = Found(0, 0.0, 0)
            continue
        part = values[box] == index + 1  # the box alone: numbered pieces take 4 bytes a voxel
        pieces = count_pieces(part, label.spacing)
        ml = round(pieces.voxels * voxel_ml, 6)
        result[name] = Found(pieces.voxels, ml, pieces.number, round(pieces.extent_mm, 3))
    return result


def _class_map(
    probability: NDArray[np.float32], prepared: Prepared, preparation: Preparation, *, fill: float
) -> Volume:
    volume = preparation.restore(probability, prepared, fill=fill)
    for x in range(volume.data.shape[1]):  # the kernel of a coarser grid has lobes a little below 0
        np.clip(volume.data[:, x], 0, 1, out=volume.data[:, x])
    return volume
