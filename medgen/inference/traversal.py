"""What a decoder makes of codes along single directions, and between the codes of two patients."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import medgen
from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.files import require_apart, write_json
from medgen.inference.code_table import read_codes
from medgen.inference.codes import slerp
from medgen.inference.contact_sheet import View, write_contact_sheet
from medgen.inference.directions import Direction, Walk, base_of, components, numbers, of_factor
from medgen.inference.encoding import code_shape_of, encoded
from medgen.inference.factor_table import column_of
from medgen.inference.generation import decoded
from medgen.inference.interpolation import MOST_FRAMES, Way, chosen_frames, write_way
from medgen.inference.latent_folders import INTERPOLATION, TRAVERSAL
from medgen.inference.opened import Opened, open_model
from medgen.inference.placed_patches import Patch, Places, placed_patches
from medgen.inference.sample_folder import new_folder, require_free
from medgen.inference.sample_views import views_of
from medgen.inference.sample_writing import Limits, channels_of, display_window
from medgen.names import file_name
from medgen.types import Array, Checkpoint, Progress

_SHOWN = 7
"""Images of a direction in the picture of all of them; the change stands behind."""
PATIENTS = "Holds images of patients: handle it like the case table. Research use only."

log = logging.getLogger(__name__)


def traverse(
    run: str | Path,
    output: str | Path,
    *,
    codes: str | Path | None = None,
    along: Literal["numbers", "components"] | None = None,
    factor: str | None = None,
    table: str | Path | None = None,
    case: str | None = None,
    count: int = 8,
    reach: float = 2.0,
    steps: int = 13,
    device: str = "auto",
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Path:
    """Decode codes along single directions, and write what changes.

    Args:
        run: the run folder, or its ``model`` folder.
        output: the folder to make: ``traversal.png`` with a row a direction, and of each direction the values, a strip
            and a film, see :func:`~medgen.inference.interpolation.write_way`.
        codes: of ``medgen latent encode``: they say which numbers vary, how much, and where the middle is. Without
            them the base is zero, the scale that of the prior, and numbers are chosen by the response of the decoder.
        along: ``numbers`` of the code, or principal ``components`` of the codes; by default numbers.
        factor: column of ``table``: the only direction is then that of this factor.
        table: CSV file with a column ``case``, and ``factor``.
        case: walk around the code of the first patch of this case, not around the mean.
        count: directions at most.
        reach: standard deviations on either side.
        steps: images of a direction, odd.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace an earlier traversal.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended.
        progress: called with (images done, images in all, what).

    Returns:
        The folder.

    Raises:
        UsageError: an argument is out of range, misses another, or does not fit the codes.
        InputError: the codes are damaged, or of another model.
        ModelError: the model is missing or damaged, or an image is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    output, walk = Path(output), Walk(reach, steps)
    _require_sensible(codes, along, factor, table, case, count, walk)
    require_free(output, overwrite=overwrite, kind=TRAVERSAL)
    told = [Path(each) for each in (codes, table) if each is not None]
    require_apart(output, [*told, *(each.with_suffix(".json") for each in told)])
    read = None if codes is None else read_codes(codes)
    model = open_model(run, device, allow_modules, checkpoint)
    base = base_of(model, read, case)
    if factor is not None and table is not None and read is not None:
        file_name(factor)
        ways = [of_factor(read, column_of(table, factor), factor, base, walk)]
    elif along == "components" and read is not None:
        ways = components(read, base, count, walk)
    else:
        ways = numbers(model, read, base, count, walk)
    if not ways:
        raise UsageError("the codes are all equal: no direction is known", where=codes, fix="encode other cases")
    around = f"around the code of {case}" if case else "around the mean code" if read else "around zero"
    with new_folder(output, overwrite=overwrite, kind=TRAVERSAL) as folder:
        content = _write(folder, ways, model, around, progress)
        about = {"around": around, "case": case, "reach_sd": reach, "steps": steps}
        write_json(folder / TRAVERSAL.manifest, {**_origin(model), **about, "directions": content})
    return output


def _write(
    folder: Path, ways: Sequence[Direction], model: Opened, around: str, progress: Progress | None
) -> list[dict[str, Any]]:
    report = progress or (lambda done, total, what: None)
    total, images, windows = len(ways) * len(ways[0].codes), list[list[Array]](), list[Limits]()
    for way in ways:
        frames: list[Array] = []
        for code, label in zip(way.codes, way.labels, strict=True):
            report(len(images) * len(ways[0].codes) + len(frames), total, "images")
            frames.append(decoded(model, _batch(model, code), f"{way.name} at {label}"))
        images.append(frames)
    report(total, total, "images")
    windows = windows_of(model, [frames[len(frames) // 2] for frames in images])
    content = []
    for way, frames in zip(ways, images, strict=True):
        stem = f"traversal_{file_name(way.name)}"
        told = Way(stem, f"{model.run}: {way.name}", f"{way.why}, {around}", way.labels, captioned=True)
        files = write_way(folder, frames, model, windows, told)
        content.append({"name": way.name, "what": way.why, "labels": way.labels, **files})
    _overview(folder / "traversal.png", ways, images, model, windows, around)
    return content


def _overview(
    path: Path,
    ways: Sequence[Direction],
    images: Sequence[Sequence[Array]],
    model: Opened,
    windows: Sequence[Limits],
    around: str,
) -> None:
    """A row a direction, the change from the first to the last image behind it: the first view of each image."""
    chosen = chosen_frames(len(images[0]), _SHOWN)
    changes = [np.abs(frames[-1] - frames[0]) for frames in images]
    most = max(float(np.percentile(change, 99.5)) for change in changes) or 1.0
    pictures, labels, aspect, name = [], list[str](), 1.0, ""
    for way, frames, change in zip(ways, images, changes, strict=True):
        view = views_of(model, [frames[number] for number in chosen], windows)[0]
        aspect, name = view.aspect, view.name
        pictures += [*view.pictures, views_of(model, [change], difference_windows(model, most))[0].pictures[0]]
        first, *others = (way.labels[number] for number in chosen)
        labels += [f"{way.name}: {first}", *others, "change"]
    write_contact_sheet(
        path,
        View(name, pictures, aspect, labels),
        [],
        title=f"{model.run}: {len(ways)} direction{'s' if len(ways) > 1 else ''} {around}",
        subtitle=f"{name}{', middle slices' if model.method.shape.dimensions == 3 else ''}; last column: difference of "
        "the first and the last image, one scale for all",
        footer="Images made by a model, of no patient. Research use only.",
        columns=len(chosen) + 1,
    )


def interpolate(
    run: str | Path,
    cases: str | Path,
    output: str | Path,
    first: str,
    last: str,
    *,
    steps: int = 24,
    device: str = "auto",
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
) -> Path:
    """Decode the codes on the arc between those of two patients, and show their images at both ends.

    Args:
        run: the run folder, or its ``model`` folder.
        cases: the case table.
        output: the folder to make: ``interpolation.png``, ``interpolation.gif``, and the values, see
            :func:`~medgen.inference.interpolation.write_way`. The first and the last image are the reconstructions.
        first: name of a case; its patch is centred on the middle of its mask, as ``medgen latent encode`` takes it.
        last: name of the other case.
        steps: images, 2 to 1000.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace an earlier interpolation.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended.

    Returns:
        The folder.

    Raises:
        UsageError: an argument is out of range, or the model encodes nothing.
        InputError: the table has no such case, or a case cannot be prepared.
        ModelError: the model is missing or damaged, or an image is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    output = Path(output)
    if not 2 <= steps <= MOST_FRAMES:
        raise UsageError(f"--steps must be 2, the two patients, to {MOST_FRAMES}, got {steps}", fix="e.g. --steps 24")
    if first == last:
        raise UsageError(f"--from and --to are both '{first}'", fix="name two cases")
    require_free(output, overwrite=overwrite, kind=INTERPOLATION)
    require_apart(output, read_cases(cases).files)
    model = open_model(run, device, allow_modules, checkpoint)
    code_shape_of(model)
    patches = _two_patches(model, cases, (first, last))
    begin, end = (_batch(model, encoded(model, patch.image)) for patch in patches)
    shares = [step / (steps - 1) for step in range(steps)]
    images = [decoded(model, slerp(begin, end, share), f"step {step}") for step, share in enumerate(shares)]
    windows = windows_of(model, [patch.image for patch in patches])
    way = Way(
        "interpolation",
        f"{model.run}: from {first} to {last}",
        "codes on the arc between those of two patients",
        [f"{share:.0%}" for share in shares],
        captioned=True,
        before=[(first, patches[0].image)],
        after=[(last, patches[1].image)],
        footer=PATIENTS,
    )
    with new_folder(output, overwrite=overwrite, kind=INTERPOLATION) as folder:
        about = {"from": first, "to": last, "steps": steps, "centres_mm": [patch.centre for patch in patches]}
        files = write_way(folder, images, model, windows, way)
        write_json(folder / INTERPOLATION.manifest, {**_origin(model), **about, **files})
    return output


def windows_of(model: Opened, images: Sequence[Array]) -> list[Limits]:
    """What is shown black and white of each channel, in its unit, over normalised images (C, ...)."""
    channels = channels_of(model)
    return [
        display_window([channel.restored(image[place]) for image in images]) for place, channel in enumerate(channels)
    ]


def difference_windows(model: Opened, most: float) -> list[Limits]:
    """What is shown black and white of a difference from 0 to ``most`` (normalised), in the unit of each role."""
    return [
        (float(channel.restored(np.array(0.0))), float(channel.restored(np.array(most))))
        for channel in channels_of(model)
    ]


def _two_patches(model: Opened, cases: str | Path, names: tuple[str, str]) -> list[Patch]:
    table = read_cases(cases)
    known = {each.name: each for each in table.cases}
    for name in names:
        if name not in known:
            some = ", ".join(list(known)[:4]) + (", ..." if len(known) > 4 else "")
            raise InputError(f"the table has no case '{name}'", where=table.path, fix=f"choose one of {some}")
    failed: dict[str, str] = {}
    patches = list(placed_patches([known[name] for name in names], model, Places(None, 0), failed))
    for name, reason in failed.items():
        raise InputError(
            f"case '{name}': {reason}", where=table.path, fix="mend it ('medgen check'), or choose another"
        )
    return patches


def _batch(model: Opened, code: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(code))[None].to(model.device)


def _origin(model: Opened) -> dict[str, Any]:
    return {
        "research_use_only": True,
        "medgen": medgen.__version__,
        "model": model.origin,
        "device": str(model.device),
        "plane": None if model.patches.across is None else model.patches.plane,
    }


def _require_sensible(
    codes: object, along: str | None, factor: str | None, table: object, case: str | None, count: int, walk: Walk
) -> None:
    if codes is None and (along == "components" or factor is not None or case is not None):
        asked = "--factor" if factor is not None else "--case" if case is not None else "--along components"
        raise UsageError(f"{asked} needs the codes of some cases", fix="--codes codes.csv, from 'medgen latent encode'")
    if (factor is None) != (table is None):
        raise UsageError(
            "--factor needs --table, and --table needs --factor", fix="--factor COLUMN --table FACTORS.csv"
        )
    if factor is not None and along is not None:
        raise UsageError("--factor and --along both choose the directions", fix="leave out one of them")
    if not 1 <= count <= 64:
        raise UsageError(f"--count must be 1 to 64, got {count}", fix="e.g. --count 8")
    if not 0 < walk.reach <= 100:
        raise UsageError(f"--reach must be above 0 and at most 100, got {walk.reach:g}", fix="e.g. --reach 3")
    if not 3 <= walk.steps <= MOST_FRAMES or walk.steps % 2 == 0:
        raise UsageError(f"--steps must be odd, 3 to {MOST_FRAMES - 1}, got {walk.steps}", fix="e.g. --steps 13")
