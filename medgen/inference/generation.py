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

import medgen
from medgen.errors import ModelError, UsageError
from medgen.files import write_json
from medgen.inference.opened import Opened, open_model
from medgen.inference.sample_folder import MANIFEST, new_folder, require_free
from medgen.inference.sample_writing import Drawing, channels_of, write_samples
from medgen.methods.base import Samples
from medgen.types import Array, Checkpoint, Progress

log = logging.getLogger(__name__)


def sample(
    run: str | Path,
    output: str | Path,
    *,
    count: int = 16,
    seed: int = 0,
    temperature: float = 1.0,
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
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        overwrite: replace the samples of an earlier run in ``output``.
        allow_modules: modules outside medgen that the model may name as its method.
        checkpoint: of a run that has not ended, ``last``: the weights of its last checkpoint, or ``best``: those of its
            best validation so far. Everything that is made with them says so.
        progress: called with (samples done, samples in all, what).

    Returns:
        The folder.

    Raises:
        UsageError: an argument is out of range, the folder is not empty, or the model draws no samples.
        ModelError: the model is missing or damaged, or a sample is not finite.
        StorageError: the disk is full or the folder cannot be written.
    """
    output = Path(output)
    drawing = Drawing(count, seed, temperature)
    _require_sensible(drawing)
    require_free(output, overwrite=overwrite)
    model = open_model(run, device, allow_modules, checkpoint)
    drawn = draw(model, drawing)
    with new_folder(output, overwrite=overwrite) as folder:
        content = write_samples(folder, _counted(drawn, count, progress), model, drawing)
        write_json(folder / MANIFEST, _manifest(model, drawing, content))
    return output


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
    if not isinstance(model.method, Samples):
        raise model.lacks("draw samples")
    shape = (1, len(channels_of(model)), *model.method.shape.size)
    return (
        _checked(_drawn(model.method, number, model, drawing), number, shape, model) for number in range(drawing.count)
    )


def _drawn(method: Samples, number: int, model: Opened, drawing: Drawing) -> torch.Tensor:
    generator = torch.Generator(model.device).manual_seed(seed_of(drawing.seed, number))
    with torch.inference_mode():
        return method.sample(1, generator, drawing.temperature)


def _checked(image: torch.Tensor, number: int, shape: tuple[int, ...], model: Opened) -> Array:
    if tuple(image.shape) != shape:
        raise ModelError(
            f"the model made a sample of shape {tuple(image.shape)}, expected {shape}",
            where=model.where,
            fix="its method and its recipe do not agree: use another model",
        )
    values: Array = image[0].float().cpu().numpy()
    if wrong := values.size - np.count_nonzero(np.isfinite(values)):
        raise ModelError(
            f"{wrong} of {values.size} voxels of sample {number} are NaN or infinite",
            where=model.where,
            fix="use a lower --temperature, or train the model again; nothing was written",
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
    return {"preparation": kept, "patches": model.patches.model_dump(mode="json")}


def _counted(drawn: Iterator[Array], count: int, progress: Progress | None) -> Iterator[Array]:
    report = progress or (lambda done, total, what: None)
    report(0, count, "samples")
    for number, values in enumerate(drawn, 1):
        yield values
        report(number, count, "samples")


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
