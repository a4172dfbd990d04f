"""What a run will do, before it does it: cases, networks, steps, memory, disk and time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from medgen.training.trial import Trial


@dataclass(frozen=True)
class CaseCount:
    """The cases of one split and domain.

    Attributes:
        split: ``train`` or ``val``.
        domain: ``source``, ``target`` or None.
        cases: how many.
        subjects: patients that they are of.
        voxels: of all of them together, on the prepared grid.
    """

    split: str
    domain: str | None
    cases: int
    subjects: int
    voxels: int


@dataclass(frozen=True)
class PlannedNetwork:
    """One network of the run.

    Attributes:
        name: as in the log, e.g. ``stage0-fold1``.
        parameters: numbers that are trained, those of discriminators included.
    """

    name: str
    parameters: int


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        method: its name.
        device: where it is trained.
        precision: ``32`` or ``bf16``.
        processes: that train together.
        cases: to train on and to validate on.
        patch: voxels of a patch along each axis.
        batch: patches of a step, over all processes.
        steps: of each network.
        validations: of each network that is validated.
        networks: in the order in which they are trained.
        context: of the first network, by boosted trees; empty where it has none.
        store_bytes: of the images and targets that are prepared.
        checkpoint_bytes: of the weights, and of the two checkpoints that are kept.
        weight_bytes: in memory, of weights, gradients, the optimisers' state and the moving average.
        seconds_a_step: measured; None where nothing was.
        memory_bytes: measured, see :class:`~medgen.training.trial.Trial`; None where nothing was.
        start: what each network takes from the run that it starts from, in words; empty where it starts from none.
    """

    method: str
    device: str
    precision: Literal["32", "bf16"]
    processes: int
    cases: tuple[CaseCount, ...]
    patch: tuple[int, ...]
    batch: int
    steps: int
    validations: int
    networks: tuple[PlannedNetwork, ...]
    context: str
    store_bytes: int
    checkpoint_bytes: int
    weight_bytes: int
    seconds_a_step: float | None = None
    memory_bytes: int | None = None
    start: tuple[str, ...] = ()

    @property
    def all_steps(self) -> int:
        """Of all networks together."""
        return self.steps * len(self.networks)

    @property
    def seconds(self) -> float | None:
        """Of all steps, without preparation, the boosted trees of a context and validations."""
        return None if self.seconds_a_step is None else self.seconds_a_step * self.all_steps

    def measured(self, trial: Trial) -> Plan:
        """The plan with what a trial found."""
        return replace(self, seconds_a_step=trial.seconds, memory_bytes=trial.memory)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``run.json``."""
        return asdict(self)
