"""New images from a trained model: drawn one by one, written with a contact sheet and a manifest.

**Sample n is a pure function of (model, seed, n)** on a given device. Each sample is drawn alone, with a generator of
its own seeded by :func:`seed_of`, so ``--count 100`` begins with the samples of ``--count 10``.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import medgen
from medgen.cases import read_cases
from medgen.errors import ModelError, UsageError
from medgen.files import require_apart, write_json
from medgen.inference.codes import LEAST_TRUNCATION, draw_code, slerp
from medgen.inference.features import open_features
from medgen.inference.interpolation import require_way, write_interpolation
from medgen.inference.mirroring import flips_of
from medgen.inference.neighbours import real_patches, write_neighbours
from medgen.inference.opened import Opened, open_model
from medgen.inference.sample_folder import MANIFEST, new_folder, require_free
from medgen.inference.sample_writing import Drawing, channels_of, write_samples
from medgen.methods.base import Encodes, Samples
from medgen.types import Array, Checkpoint, Progress

log = logging.getLogger(__name__)


def sample(
    run: str | Path,
    output: str | Path,
    *,
    count: int = 16,
    seed: int = 0,
    temperature: float = 1.0,
    truncation: float | None = None,
    interpolate: tuple[int, int] | None = None,
    frames: int = 24,
    neighbours: str | Path | None = None,
    features: str | Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    allow_modules: Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Path:
    """Draw new images from a model that samples, and write them into a folder that appears whole or not at all.

    Volumes are written as ``sample_0000_<role>.nii.gz``, centred on 0 mm, with the spacing of the preparation. Slices
    are written as ``sample_0000_<role>.png``, 8-bit grey, and all of them as float32 in ``samples.npz``, one array
    (N, A, B) a role, whose axes keep the order x, y, z. Pictures follow the radiological convention: the patient's
    right is on the left, superior (in an axial slice anterior) at the top; of sagittal slices anterior is on the left.
    One display window a role, the 1st to 99th percentile over all samples, so that their brightness can be compared.

    A role with an intensity window is written in its own unit (HU as int16), every other one as float32 in normalised
    units. ``samples.json`` says which, with seed, model and file names; ``contact_sheet.png`` shows up to 64 samples.

    Args:
        run: the run folder, or its ``model`` folder.
        output: the folder to make.
        count: how many samples, at least 1.
        seed: at least 0. Sample n depends on the model, the seed and n alone.
        temperature: factor on the standard deviation of the latent noise, above 0; 1 is the model as trained.
        truncation: components of the noise beyond so many standard deviations are drawn again, before the
            temperature; None draws none again. See :func:`~medgen.inference.codes.draw_code`.
        interpolate: numbers of two samples, which may be beyond the count: the way between them is written too, see
            :func:`~medgen.inference.interpolation.write_interpolation`.
        frames: of that way, the two samples among them, at least 2.
        neighbours: case table with the training patients: beside each sample its nearest training patches, see
            :func:`~medgen.inference.neighbours.find_neighbours`.
        features: run whose network says what is near; by default voxels do.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace the samples of an earlier run in ``output``.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, ``last``: the weights of its last checkpoint, or ``best``: those of its
            best validation so far. Everything that is made with them says so.
        progress: called with (samples done, samples in all, what).

    Returns:
        The folder.

    Raises:
        UsageError: an argument is out of range, the folder is not empty, or a model cannot do what it is named for.
        InputError: the case table is wrong, or has no training case or other roles than the model.
        ModelError: the model is missing or damaged, or a sample is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    output = Path(output)
    drawing = Drawing(count, seed, temperature, truncation)
    _require_sensible(drawing)
    require_way(interpolate, frames)
    if features is not None and neighbours is None:
        raise UsageError("--features says what is near, and --neighbours is not given", fix="--neighbours CASES.csv")
    require_free(output, overwrite=overwrite)
    if neighbours is not None:
        require_apart(output, read_cases(neighbours).files)
    model = open_model(run, device, allow_modules, checkpoint)
    require_sampler(model)
    near = None if features is None else open_features(features, device, allow_modules=allow_modules)
    known = None if neighbours is None else real_patches(model, neighbours, near, seed=seed, progress=progress)
    seen: list[Array] | None = None if known is None else []
    with new_folder(output, overwrite=overwrite) as folder:
        drawn = _counted(draw(model, drawing), count, progress)
        content = write_samples(folder, drawn if seen is None else _kept(drawn, seen), model, drawing)
        if interpolate is not None:
            windows = [role["display_window"] for role in content["roles"].values()]
            way = _way(model, drawing, interpolate, frames)
            way = _counted(way, frames, progress, "frames")
            content |= write_interpolation(folder, way, model, windows, interpolate, frames)
        if known is not None and seen is not None:
            windows = [role["display_window"] for role in content["roles"].values()]
            content |= write_neighbours(folder, np.stack(seen), known, model, windows)
        write_json(folder / MANIFEST, _manifest(model, drawing, content))
    return output


def _kept(drawn: Iterator[Array], seen: list[Array]) -> Iterator[Array]:
    for values in drawn:
        seen.append(values)
        yield values


def _way(model: Opened, drawing: Drawing, ends: tuple[int, int], frames: int) -> Iterator[Array]:
    first, last = (code_of(model, drawing, number) for number in ends)
    for frame in range(frames):
        yield decoded(model, slerp(first, last, frame / (frames - 1)), f"frame {frame}")


def seed_of(seed: int, number: int) -> int:
    """The state that the generator of sample ``number`` begins in.

    The first 8 bytes of the SHA-256 of ``seed`` in decimal digits, plus ``number`` times 0xBF58476D1CE4E5B9, modulo
    2^63. The generator of the CPU keeps the lower 32 bits alone: as the factor is odd, no two of the first 2^32
    samples of a seed share them.

    >>> (seed_of(0, 1) - seed_of(0, 0)) % 2**63 == 0xBF58476D1CE4E5B9 % 2**63
    True
    """
    start = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big")
    return (start + number * 0xBF58476D1CE4E5B9) % 2**63


def draw(model: Opened, drawing: Drawing) -> Iterator[Array]:
    """Samples one after the other.

    Args:
        model: one that samples.
        drawing: how many, and from what.

    Returns:
        Samples (C, X, Y, Z) or (C, A, B), float32, in normalised units, all finite; each is drawn when it is asked for.

    Raises:
        UsageError: the model draws no samples.
        ModelError: a sample is not finite, or has another shape than the recipe says.
    """
    require_sampler(model)
    return (decoded(model, code_of(model, drawing, each), f"sample {each}") for each in range(drawing.count))


def require_sampler(model: Opened) -> Samples:
    """The method of a model that samples.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(model.method, Samples):
        raise model.lacks("draw samples")
    return model.method


def code_of(model: Opened, drawing: Drawing, number: int) -> Tensor:
    """The code (1, ...) of sample ``number``, which may be beyond the count."""
    generator = torch.Generator(model.device).manual_seed(seed_of(drawing.seed, number))
    shape = require_sampler(model).code_shape
    return draw_code(shape, generator, temperature=drawing.temperature, truncation=drawing.truncation)


def decoded(model: Opened, code: Tensor, what: str) -> Array:
    """The image (C, ...) of a code (1, ...), float32, in normalised units.

    Raises:
        UsageError: the model has no codes.
        ModelError: the image is not finite, or has another shape than the recipe says; ``what`` names it.
    """
    if not isinstance(model.method, Samples | Encodes):
        raise model.lacks("make images of codes")
    with torch.inference_mode():
        image = model.method.decode(code)
    return _checked(image, what, (1, len(channels_of(model)), *model.method.shape.size), model)


def _checked(image: Tensor, what: str, shape: tuple[int, ...], model: Opened) -> Array:
    if tuple(image.shape) != shape:
        raise ModelError(
            f"the model made an image of shape {tuple(image.shape)}, expected {shape}",
            where=model.where,
            fix="its method and its recipe do not agree: use another model",
        )
    values: Array = image[0].float().cpu().numpy()
    if wrong := values.size - np.count_nonzero(np.isfinite(values)):
        raise ModelError(
            f"{wrong} of {values.size} voxels of {what} are NaN or infinite",
            where=model.where,
            fix="stay nearer to the codes of training (a lower --temperature or --reach), or train the model again; "
            "nothing was written",
        )
    return values


def _manifest(model: Opened, drawing: Drawing, content: dict[str, Any]) -> dict[str, Any]:
    notes = []
    if model.known.preparation.config.spacing is None:
        notes.append("the recipe keeps the spacing of each image, so that of a sample is unknown: 1 mm is written")
        log.warning(notes[0])
    return {
        "research_use_only": True,
        "medgen": medgen.__version__,
        "model": model.origin,
        "device": str(model.device),
        **asdict(drawing),
        "notes": notes,
        **prepared_like(model),
        **content,
    }


def prepared_like(model: Opened) -> dict[str, Any]:
    """How real images are prepared and cut to be compared with samples; without numbers of the training set."""
    settings = model.known.preparation.as_dict()
    kept = {key: settings[key] for key in ("roles", "config", "quiet_air")}
    patches = model.patches.model_dump(mode="json")
    return {"preparation": kept, "patches": patches, "flips": list(flips_of(model))}


def _counted(drawn: Iterator[Array], count: int, progress: Progress | None, what: str = "samples") -> Iterator[Array]:
    report = progress or (lambda done, total, what: None)
    report(0, count, what)
    for number, values in enumerate(drawn, 1):
        yield values
        report(number, count, what)


def _require_sensible(drawing: Drawing) -> None:
    if drawing.count < 1:
        raise UsageError(f"--count must be at least 1, got {drawing.count}", fix="e.g. --count 16")
    if drawing.seed < 0:
        raise UsageError(f"--seed must be at least 0, got {drawing.seed}", fix="e.g. --seed 0")
    if not 0 < drawing.temperature < math.inf:
        raise UsageError(
            f"--temperature must be above 0 and finite, got {drawing.temperature:g}",
            fix="1 samples the model as trained, less than 1 gives less varied images",
        )
    if drawing.truncation is not None and not LEAST_TRUNCATION <= drawing.truncation < math.inf:
        raise UsageError(
            f"--truncation must be at least {LEAST_TRUNCATION:g} and finite, got {drawing.truncation:g}",
            fix="leave it out to sample the model as trained; 0.5 gives typical, less varied images",
        )
