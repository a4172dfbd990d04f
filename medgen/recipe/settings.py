"""The recipe: everything a run can be told, as YAML, with eight top-level keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from medgen.config import Config, build
from medgen.errors import UsageError
from medgen.files import atomic_path
from medgen.preparation import PreparationConfig, Roles
from medgen.recipe.prediction import InferenceConfig
from medgen.recipe.yaml import read_yaml
from medgen.sampling.patches import PatchConfig

_Steps = Annotated[int, Field(ge=1, le=10**9)]
_LARGEST_BATCH = 2**32
"""Voxels of one micro-batch: 16 GiB for a single channel, before any network."""


def _as_text(value: object) -> object:
    """A bare 32 in YAML is a number."""
    return str(value) if type(value) is int else value


class LearningRate(Config):
    """How the learning rates of the method fall over training; a factor in (0, 1] on all of them."""

    kind: Literal["constant", "linear", "polynomial", "step", "cosine"] = "constant"
    hold: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training with the full rate, before ``linear``, ``polynomial`` or ``cosine`` begin to fall. CycleGAN
    is published with ``{kind: linear, hold: 0.5}``: constant, then linear to 0."""
    power: PositiveFloat = 0.9
    """polynomial: ``(1 - t)^power`` with t in [0, 1)."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """step: shares of the training after each of which the rate is multiplied by ``decay``."""
    decay: float = Field(default=0.5, gt=0, le=1)
    final: float = Field(default=0.0, ge=0, le=1)
    """cosine: the factor at the end."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training over which the rate rises linearly from nothing."""

    def factor(self, progress: float) -> float:
        """The factor when a share ``progress`` of the training is done.

        >>> LearningRate(kind="step", milestones=(0.5,), decay=0.1).factor(0.6)
        0.1
        >>> LearningRate(kind="cosine").factor(0.5)
        0.5
        >>> LearningRate(kind="linear", hold=0.5).factor(0.75)
        0.5
        """
        value = 1.0
        rise = min(1.0, progress / self.warmup) if self.warmup else 1.0
        falling = max(0.0, progress - self.hold) / (1 - self.hold)
        match self.kind:
            case "linear":
                value = 1 - falling
            case "polynomial":
                value = float((1 - falling) ** self.power)
            case "step":
                value = float(self.decay ** sum(progress >= milestone for milestone in self.milestones))
            case "cosine":
                value = self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * falling))
        return max(rise * value, 1e-8)


class HealthConfig(Config):
    """How an adaptation is monitored at every validation; see :mod:`medgen.run.monitor`."""

    cases: PositiveInt = 4
    """Held-out cases of each domain; the target's are predicted whole. Intervals need four or more."""
    disturbed: PositiveInt = 2
    """Target cases among them that are predicted a second time after a perturbation, at the same cost."""
    segments: PositiveInt = 32
    """Training-size patches of each domain, drawn uniformly from the masks of these cases, for the domain probe."""
    stop: Literal["never", "probe"] = "never"
    """``probe``: the training ends before its last step where the verdict is collapsed, where a fresh linear probe says
    that adaptation pushes the domains apart, or where it has reached its goal; the rule is in
    :mod:`medgen.run.monitor.stop`. With few cases the intervals are too wide for the last two: take 8 or more, and 128
    segments."""


class Schedule(Config):
    """Length of the training, batch size, learning rate, validation and checkpoints."""

    steps: _Steps = 20000
    batch: Annotated[int, Field(ge=1, le=65536)] = 10
    """Patches per step, over all processes and micro-batches together."""
    accumulate: Annotated[int, Field(ge=1, le=65536)] = 1
    """Micro-batches per batch, to save memory. For one network without batch normalisation, and losses over whole
    patches, the step equals that of the whole batch; a mean over masks weighs each micro-batch, and each process,
    alike, however many voxels its masks have. With several networks, none steps before all micro-batches are done, so
    the loss of each is computed with the others as they were before the step."""
    precision: Annotated[
        Literal["32", "bf16", "auto"],
        BeforeValidator(_as_text, json_schema_input_type=Literal["32", "bf16", "auto", 32]),
    ] = "32"
    """``bf16``: mixed precision, the weights stay in 32 bits. ``auto``: bf16 where the device computes in it; what is
    chosen when a run begins stands in its recipe.yaml, and a resumed run keeps it on every machine."""
    learning_rate: LearningRate = LearningRate()
    clip: PositiveFloat | None = None
    """Largest norm of the gradient of one optimiser."""
    averaging: float | None = Field(default=None, gt=0, lt=1)
    """Decay of the exponential moving average of the weights that is validated and kept, e.g. 0.999."""
    validate_every: _Steps = 1000
    """Steps between validations. A monitored adaptation is validated once more before it begins, as the baseline of its
    monitor."""
    keep: Literal["best", "last", "health"] = "best"
    """Which weights become the model. ``best``: those of the validation with the best score. ``last``: those of the
    last step. ``health``, for a method that adapts: those of the validation that the monitor prefers, see
    :mod:`medgen.run.monitor.history`; it is not the default, since its benefit is not shown. With ``best`` a method
    that adapts keeps the last: only the source domain has labels, and adaptation does not improve its score."""
    save_every: _Steps = 1000
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that load patches; 0 loads them in the training process."""
    health: HealthConfig | None = HealthConfig()
    """The monitor of a method that adapts; null switches it off."""
    snapshots: bool = False
    """Keep the weights of every validation in ``checkpoints/<part>/snapshots``, to score them afterwards; always on if
    ``keep`` is ``health`` or ``health.stop`` is ``probe``."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs the extra ``tensorboard``)."""


class Recipe(Config):
    """One training run; these eight keys are fixed, what stands under them grows."""

    method: str
    """A method of medgen, or with --allow-module a module of one's own."""
    config: dict[str, Any] = {}
    """The method's own settings."""
    data: Roles
    preparation: PreparationConfig = PreparationConfig()
    patches: PatchConfig = PatchConfig()
    schedule: Schedule = Schedule()
    inference: InferenceConfig = InferenceConfig()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of everything that chance decides: the same seed gives the same weights on the same machine."""

    @model_validator(mode="after")
    def _batch_that_memory_can_hold(self) -> Recipe:
        schedule, edges = self.schedule, self.patches.size
        voxels = schedule.batch // schedule.accumulate * math.prod(edges)
        if voxels > _LARGEST_BATCH:
            raise ValueError(
                f"{schedule.batch} patches of {' x '.join(map(str, edges))} voxels in {schedule.accumulate} "
                f"micro-batches are {voxels:,} voxels at once, and the limit is {_LARGEST_BATCH:,}"
            )
        return self

    @model_validator(mode="after")
    def _detection_of_a_class(self) -> Recipe:
        detection, classes = self.inference.detection, self.data.classes
        if detection and (self.data.labels is None or self.data.target is not None):
            raise ValueError("inference.detection finds lesions in a segmentation, and this recipe makes an image")
        for name in (detection.target_class, *detection.near) if detection else ():
            if name not in classes:
                listed = ", ".join(classes) or "none"
                raise ValueError(f"inference.detection names the class '{name}', and data.classes has: {listed}")
        return self

    @model_validator(mode="after")
    def _threshold_of_classes(self) -> Recipe:
        if self.inference.threshold != 0.5 and (self.data.labels is None or self.data.target is not None):
            raise ValueError("inference.threshold decides what is a class, and this recipe makes an image")
        return self

    @model_validator(mode="after")
    def _pieces_of_classes(self) -> Recipe:
        for key in ("pieces", "intensities"):
            for name in getattr(self.inference, key):
                if name not in self.data.classes:
                    listed = ", ".join(self.data.classes) or "none"
                    raise ValueError(f"inference.{key} names the class '{name}', and data.classes has: {listed}")
        named = self.inference.intensities
        if len(named) == 1 or len({*named}) < len(named):
            raise ValueError("inference.intensities draws borders between classes: name two or more, each once")
        return self

    @model_validator(mode="after")
    def _flips_of_the_plane(self) -> Recipe:
        across = self.patches.across
        if across is not None and "xyz"[across] in self.inference.flips:
            raise ValueError(
                f"inference.flips names {'xyz'[across]}, and the networks read slices across it one by one: "
                "this flip changes nothing"
            )
        return self


BLOCKS = ("config", "preparation", "patches", "schedule", "inference")
"""Keys below which nothing need stand: in YAML a key whose lines are all comments is null."""


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``key=value`` overrides.

    Args:
        source: a YAML file, plain values, or a recipe.
        overrides: like ``patches.size=[32,32,32]``; the value is YAML.

    Raises:
        UsageError: no such file, not YAML, an unknown key, a wrong value.
    """
    where = source if isinstance(source, str | Path) else None
    if isinstance(source, Recipe):
        values = source.model_dump(mode="json", exclude_unset=True)  # what was not named may still be completed
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        values = _read(Path(source))
    values = {key: {} if value is None and key in BLOCKS else value for key, value in values.items()}
    for override in overrides:
        values = _override(values, override)
    return build(Recipe, values, where=where)


def complete(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """``recipe`` with ``values`` where it names none of its own, block by block."""
    return build(Recipe, _merged(values, recipe.model_dump(mode="json", exclude_unset=True)))


_WHOLE = {"learning_rate"}
"""Blocks that are taken as they are: half of one schedule and half of another is neither."""


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping) and key not in _WHOLE
    }
    return {**below, **above, **both}


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError("there is no such recipe", where=path, fix="check the path") from None
    except IsADirectoryError:
        raise UsageError("the recipe is a folder", where=path, fix="name the YAML file in it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise UsageError(f"the recipe is not plain YAML: {problem}", where=path, fix="correct it") from None
    if not isinstance(values, dict):
        raise UsageError("the recipe is not a table of keys", where=path, fix="start from a recipe in pipelines/")
    return values


def _override(values: dict[str, Any], override: str) -> dict[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise UsageError(f"'{override}' is not key=value", fix="write e.g. --set schedule.steps=1000")
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        raise UsageError(
            f"the value of '{override}' is not YAML", fix="quote it, e.g. --set 'patches.size=[32,32,32]'"
        ) from None
    first, _, rest = key.partition(".")
    if rest:
        inner = values.get(first)
        value = _override(dict(inner) if isinstance(inner, Mapping) else {}, f"{rest}={text}")
    return {**values, first: value}
