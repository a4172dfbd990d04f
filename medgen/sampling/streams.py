"""Two domains in one run: patches of labelled cases beside patches of cases whose labels nobody may see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medgen.cases import SOURCE, TARGET
from medgen.errors import InputError
from medgen.preparation import StoredCase
from medgen.sampling.batches import Adaptation
from medgen.sampling.patches import PatchConfig, PatchSource
from medgen.sampling.transfer import check_transfer, fit_transfer
from medgen.types import Array

_OTHER_STREAM = 0x9E3779B97F4A7C15
"""Set apart the random numbers of the target's patches: patch n of both domains must not be the same place."""


class AdaptationSource:
    """Pairs of patches: number n is patch n of the labelled cases and patch n of the unlabelled ones.

    The unlabelled patches are drawn uniformly from the mask, whatever the recipe says of sampling: to put them where
    lesions are would take labels (the one public re-implementation of Kamnitsas et al. 2017 does that).

    Args:
        cases: both domains; those of domain ``target`` are unlabelled.
        config: of the patches.
        seed: 0 to 2^64 - 1.
        inputs: names of the channels, which ``config.transfer`` refers to.

    Raises:
        InputError: a domain has no case.
        UsageError: ``config.transfer`` names something that is not an input.
    """

    def __init__(self, cases: Sequence[StoredCase], config: PatchConfig, seed: int, inputs: Sequence[str] = ()) -> None:
        labelled, unlabelled = split_domains(cases)
        change = fit_transfer(config.transfer, inputs, labelled, unlabelled) if config.transfer else None
        uniform = config.model_copy(update={"sampling": "uniform"})
        self.labelled = PatchSource(labelled, config, seed, change=change)
        self.unlabelled = PatchSource(unlabelled, uniform, seed ^ _OTHER_STREAM)
        self.cases = self.labelled.cases

    def __getitem__(self, n: int) -> dict[str, Array]:
        """Pair ``n``: what a patch of the labelled cases has, ``target`` and ``target_mask``."""
        other = self.unlabelled[n]
        return {**self.labelled[n], "target": other["source"], "target_mask": other["mask"]}

    def describe(self, n: int) -> tuple[str, tuple[int, int, int]]:
        """The labelled case of pair ``n`` and the centre of its patch."""
        return self.labelled.describe(n)

    def lacking(self, name: str) -> list[str]:
        """The labelled cases without a label; the unlabelled ones have all that is asked of them."""
        return [] if name.startswith("target") else self.labelled.lacking(name)


def patch_source(
    kind: type[Any],
    cases: Sequence[StoredCase],
    config: PatchConfig,
    seed: int,
    contexts: Mapping[str, Path] | None = None,
    inputs: Sequence[str] = (),
) -> PatchSource | AdaptationSource:
    """The patches that a method with batches of ``kind`` learns from; ``inputs`` names the channels."""
    adapts = issubclass(kind, Adaptation)
    check_transfer(config.transfer, inputs, adapts=adapts)
    if adapts:
        return AdaptationSource(cases, config, seed, inputs)
    return PatchSource(cases, config, seed, contexts)


def without_labels(case: StoredCase) -> StoredCase:
    """The case as if nobody had drawn a label on it."""
    files = frozenset(name for name in case.files if name != "label" and not name.startswith("candidates_"))
    return replace(case, classes=(), files=files)


def split_domains(cases: Sequence[StoredCase]) -> tuple[tuple[StoredCase, ...], tuple[StoredCase, ...]]:
    """The labelled and the unlabelled cases; what labels the latter have is taken from them.

    Raises:
        InputError: a domain has no case.
    """
    labelled = tuple(case for case in cases if case.domain != TARGET)
    unlabelled = tuple(without_labels(case) for case in cases if case.domain == TARGET)
    for found, name in ((labelled, SOURCE), (unlabelled, TARGET)):
        if not found:
            raise InputError(
                f"adaptation needs training cases of two domains, and there is none of domain '{name}'",
                fix=f"write '{name}' into the column 'domain' of the case table",
            )
    return labelled, unlabelled
