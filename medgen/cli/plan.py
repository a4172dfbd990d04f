"""The plan of a training run, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medgen.run.plan import CaseCount, Plan


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """The plan as rows of a name and what it is."""
    from medgen.run.pace import in_words

    rows = [
        (
            "method",
            f"{plan.method}, {plan.precision} bit{_processes(plan)} on {plan.device}".replace("bf16 bit", "bf16"),
        )
    ]
    rows += [(_named(each), _counted(each)) for each in plan.cases]
    edges = " x ".join(map(str, plan.patch))
    rows.append(("patches", f"{plan.batch} a step of {edges} voxels, {plan.batch * plan.all_steps} in all"))
    if plan.context:
        rows.append(("context", f"boosted trees ({plan.context}), fitted first"))
    rows += [
        (
            f"network {number} of {len(plan.networks)}",
            f"{each.name}, {_number(each.parameters)} parameters, {plan.steps} steps",
        )
        for number, each in enumerate(plan.networks, start=1)
    ]
    rows += [("start", each) for each in plan.start]
    rows.append(
        ("validations", f"{plan.validations} of each network but those of inner folds" if plan.validations else "none")
    )
    weights = f"{_bytes(plan.weight_bytes)} for weights, gradients and optimiser"
    if plan.memory_bytes is not None:
        weights = f"{_bytes(plan.memory_bytes)} at the peak of a few steps on {plan.device}, {weights}"
    rows.append(("memory", weights))
    rows.append(
        ("disk", f"{_bytes(plan.store_bytes)} of prepared images, {_bytes(plan.checkpoint_bytes)} of checkpoints")
    )
    if plan.seconds_a_step is not None and plan.seconds is not None:
        total = f"about {in_words(plan.seconds)} for {plan.all_steps} steps, preparation and validations besides"
        rows.append(("time", f"{plan.seconds_a_step:.3g} s a step, measured: {total}"))
    return rows


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text, for a log."""
    return [f"plan: {name}: {text}" for name, text in plan_rows(plan)]


def _processes(plan: Plan) -> str:
    return f", {plan.processes} processes" if plan.processes > 1 else ""


def _named(each: CaseCount) -> str:
    return f"{each.split} cases" + (f", {each.domain}" if each.domain else "")


def _counted(each: CaseCount) -> str:
    subjects = "" if each.subjects == each.cases else f" of {each.subjects} subjects"
    return f"{each.cases}{subjects}, {_number(each.voxels)} voxels when prepared"


def _number(value: float) -> str:
    """A count with three digits.

    >>> _number(950), _number(1234567), _number(2.5e9)
    ('950', '1.23 million', '2.5 billion')
    """
    for size, word in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if value >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:g}"


def _bytes(value: float) -> str:
    return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"
