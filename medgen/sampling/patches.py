"""Patches without a sampler's state: patch n is a pure function of (seed, n).

So a run resumes bit for bit, does not depend on the number of workers, and shards over processes by arithmetic.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field, PositiveInt

from medgen.config import Config
from medgen.errors import InputError, UsageError
from medgen.preparation import StoredCase
from medgen.preparation.store import open_array
from medgen.sampling.augmentation import Augmentation, AugmentationConfig, Crop, enlarged
from medgen.sampling.transfer import TransferConfig
from medgen.types import Array

Batch = TypeVar("Batch", bound=tuple[Any, ...])
NETWORK_AIR = -1.0
"""What lies outside a target or a context, both in [-1, 1]."""


class PatchConfig(Config):
    """Which pieces of the prepared volumes a network is trained on."""

    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 32, 32)
    """Voxels along x, y, z. A smaller volume is padded."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """``uniform``: every voxel of the mask is the centre of a patch equally often. ``balanced``: a share
    ``foreground`` of the patches is centred on a labelled voxel, of each class equally often."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.5
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far the voxel that was drawn may lie from the middle of its patch along each axis, as a share of half the
    edge. At 0, published, a lesion is always in the middle of a balanced patch, which networks with padding see."""
    augmentation: AugmentationConfig = AugmentationConfig()
    transfer: TransferConfig | None = None
    """Give labelled patches the intensities of the target domain in the channel that differs, before they are varied;
    for a method that adapts. See :mod:`medgen.sampling.transfer`."""


class Patches(Protocol):
    """Numbered patches: what :func:`patch_batches` makes batches of."""

    def __getitem__(self, n: int) -> dict[str, Array]:
        """Patch ``n``, arrays (C, X, Y, Z) by name."""
        ...

    def describe(self, n: int) -> tuple[str, tuple[int, int, int]]:
        """The case of patch ``n`` and its centre, for a message."""
        ...

    def lacking(self, name: str) -> list[str]:
        """The cases without the array that batches call ``name``."""
        ...


class PatchSource:
    """All patches of some prepared cases, numbered from 0 without end.

    A patch may hang over the border of its volume, so that the border is learnt by networks that lose a margin; there
    the image has its smallest value (air), target and context -1, mask and label 0.

    Args:
        cases: each is drawn equally often.
        config: size, sampling, augmentation.
        seed: 0 to 2^64 - 1.
        contexts: by case name, an ``.npy`` file (C, X, Y, Z) float32 on the prepared grid whose channels follow
            those of the image, such as the estimate of an earlier stage.
        change: what is done to a patch between cutting and varying it, with the generator of that patch.

    Raises:
        InputError: there is no case, a case has no context, or one of another shape.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        config: PatchConfig,
        seed: int,
        contexts: Mapping[str, Path] | None = None,
        change: Callable[[Crop, np.random.Generator], Crop] | None = None,
    ) -> None:
        if not cases:
            raise InputError("there is no case to take patches from", fix="add cases of split 'train' to the table")
        if config.sampling == "balanced" and not any(case.classes for case in cases):
            raise InputError(
                "sampling is balanced, but no case has a labelled voxel", fix="name data.labels, or sample uniformly"
            )
        self.cases, self.config, self.seed = tuple(cases), config, seed
        self.contexts = None if contexts is None else {case.name: _context(case, contexts) for case in cases}
        self._change = change
        self._augment = Augmentation(config.augmentation, config.size)
        self._cut = enlarged(config.size, config.augmentation)

    def __getitem__(self, n: int) -> dict[str, Array]:
        """Patch ``n``: ``source`` (C, X, Y, Z) and, where the case has them, ``target``, ``mask``, ``label``."""
        generator = self._generator(n)
        case, centre = self._draw(generator)
        crop = self._read(case, centre)
        if self._change is not None:
            crop = self._change(crop, generator)
        crop = self._augment(crop, _column(case.air), generator)
        if "context" in crop:
            crop["source"] = np.concatenate([crop["source"], crop.pop("context")])
        return {name: np.ascontiguousarray(array) for name, array in crop.items()}

    def describe(self, n: int) -> tuple[str, tuple[int, int, int]]:
        """The case of patch ``n`` and its centre, for a message; reads no image."""
        case, centre = self._draw(self._generator(n))
        return case.name, centre

    def lacking(self, name: str) -> list[str]:
        """The cases without a ``target`` or ``label``; every case has the rest."""
        return [case.name for case in self.cases if name not in ("source", "mask") and name not in case.files]

    def _generator(self, n: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=np.array([self.seed, n], np.uint64)))

    def _draw(self, generator: np.random.Generator) -> tuple[StoredCase, tuple[int, int, int]]:
        case = self.cases[generator.integers(len(self.cases))]
        candidates = case.candidates
        if self.config.sampling == "balanced" and case.classes and generator.random() < self.config.foreground:
            candidates = case.candidates_of(case.classes[generator.integers(len(case.classes))])
        place = np.unravel_index(int(candidates[generator.integers(len(candidates))]), case.shape)
        x, y, z = (
            int(middle) + self._moved(edge, generator) for middle, edge in zip(place, self.config.size, strict=True)
        )
        return case, (x, y, z)

    def _moved(self, edge: int, generator: np.random.Generator) -> int:
        reach = int(self.config.jitter * (edge // 2))
        return int(generator.integers(-reach, reach + 1)) if reach else 0

    def _read(self, case: StoredCase, centre: tuple[int, int, int]) -> Crop:
        size = self._cut
        start = tuple(middle - length // 2 for middle, length in zip(centre, size, strict=True))
        crop = {
            "source": cut(case.image, start, size, _column(case.air)),
            "mask": cut(case.mask[None], start, size, 0).astype(np.float32),
        }
        if self.contexts is not None:
            crop["context"] = cut(open_array(self.contexts[case.name]), start, size, NETWORK_AIR)
        if case.target is not None:
            crop["target"] = cut(case.target, start, size, NETWORK_AIR)
        if case.label is not None:
            crop["label"] = cut(case.label[None], start, size, 0)
        return crop


def cut(array: Array, start: Sequence[int], size: Sequence[int], fill: float | Array) -> Array:
    """A copy of a box that may hang over the border.

    Args:
        array: (C, X, Y, Z), possibly on disk; only the box is read.
        start: first voxel, possibly negative.
        size: of the result.
        fill: what stands beyond the border; a number, or (C, 1, 1, 1).
    """
    shape = array.shape[1:]
    first = [min(max(low, 0), n) for low, n in zip(start, shape, strict=True)]
    last = [max(min(low + length, n), 0) for low, length, n in zip(start, size, shape, strict=True)]
    box = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
    if all(high - low == length for low, high, length in zip(first, last, size, strict=True)):
        return np.array(array[(slice(None), *box)])
    result = np.empty((array.shape[0], *size), array.dtype)
    result[...] = fill
    inner = tuple(slice(low - begin, high - begin) for low, high, begin in zip(first, last, start, strict=True))
    result[(slice(None), *inner)] = array[(slice(None), *box)]
    return result


def patch_batches(
    source: Patches,
    kind: type[Batch],
    *,
    batch: int,
    start: int,
    stop: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """The batches of steps ``start`` to ``stop - 1``.

    Step k consists of patches ``k * batch`` to ``k * batch + batch - 1``; process ``rank`` of ``world`` gets those
    whose number is ``rank`` modulo ``world``. The global random state is neither read nor changed.

    Args:
        source: of the patches.
        kind: a NamedTuple of :mod:`medgen.sampling.batches`; its fields say what is needed.
        batch: patches a step, over all processes.
        start: first step.
        stop: step to stop before.
        workers: processes that cut patches ahead; 0 cuts them here, as a daemonic process must.
        rank: this process.
        world: number of processes.

    Raises:
        UsageError: the batch cannot be shared out evenly.
        InputError: the cases lack what ``kind`` needs.
    """
    import torch
    from torch.utils.data import DataLoader

    if batch % world:
        raise UsageError(f"a batch of {batch} cannot be shared by {world} processes", fix="choose a multiple of it")
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    _require(source, fields)
    loader: Any = DataLoader(
        source,  # type: ignore[arg-type]
        batch_sampler=_Steps(batch, start, stop, rank, world),
        collate_fn=_Stack(kind, fields),
        num_workers=workers,
        worker_init_fn=_let_the_parent_decide,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the global state
    )
    yield from loader


class _Steps:
    """The numbers of the patches of each step."""

    def __init__(self, batch: int, start: int, stop: int, rank: int, world: int) -> None:
        self.batch, self.start, self.stop, self.rank, self.world = batch, start, stop, rank, world

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield [n for n in range(step * self.batch, (step + 1) * self.batch) if n % self.world == self.rank]


class _Stack:
    """Patches to one batch of tensors; a class, so that it can be sent to a worker."""

    def __init__(self, kind: type[Any], fields: tuple[str, ...]) -> None:
        self.kind, self.fields = kind, fields

    def __call__(self, patches: list[dict[str, Array]]) -> Any:
        import torch

        return self.kind(*(torch.from_numpy(np.stack([patch[name] for patch in patches])) for name in self.fields))


def _let_the_parent_decide(worker: int) -> None:
    """A pre-empted run is told by a signal to its whole group; its workers must live until it has saved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _require(source: Patches, fields: tuple[str, ...]) -> None:
    for name in fields:
        if lacking := source.lacking(name):
            raise InputError(
                f"the method learns from '{name}', which {len(lacking)} cases lack, '{lacking[0]}' first",
                fix=f"name the role in the recipe's data, and give each case an image for it ({name})",
            )


def _context(case: StoredCase, contexts: Mapping[str, Path]) -> Path:
    if case.name not in contexts:
        raise InputError(f"case '{case.name}' has no context", fix="make the estimates of the earlier stage again")
    path = Path(contexts[case.name])
    shape = open_array(path).shape
    if shape[1:] != case.shape:
        raise InputError(
            f"the context of case '{case.name}' has shape {shape}, expected {('C', *case.shape)}",
            where=path,
            fix="make the estimates of the earlier stage again",
        )
    return path


def _column(values: Sequence[float]) -> Array:
    return np.array(values, np.float32)[:, None, None, None]
