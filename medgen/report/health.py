"""The monitor of an adaptation in a report: the verdict with its rule, and every signal over the steps.

No other file of the report imports the monitor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from medgen.errors import content_errors
from medgen.report.drawing import Theme, draw_curve, draw_legend, new_figure, style_axes
from medgen.run.monitor import LIMITS, RULE, STOPPING, MonitorRecord, find_stop, judge, kept_records, read_records
from medgen.run.monitor.verdict import TOLD_APART, distance, late_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Validations: TypeAlias = Sequence[MonitorRecord]
"""The signals of each validation of a run, in the order of their steps."""

CAPTION = (
    "Signals on held-out cases of both domains over the steps; none uses a label of the target. Shaded: warm-up, "
    "before adaptation begins. Bands are 95 % intervals over patients; the domains are separable where a whole band "
    f"lies above the upper dotted line ({TOLD_APART:g}); the lower one is chance. The method's own discriminator is "
    "shown and decides nothing."
)
_COLUMNS = 3


class HealthPanel(NamedTuple):
    """The verdict on an adaptation, for the page.

    Attributes:
        word: the verdict.
        reason: the signals that decided.
        rule: the whole rule in words.
        limits: what a verdict can know and what it cannot.
        step: of the validation that the verdict is on, counted from 1.
        good: whether nothing is to be done.
        stopped: the sentence on why the training ended before its last step; empty where it did not.
        stopping: the rule of that in words.
    """

    word: str
    reason: str
    rule: str
    limits: str
    step: int
    good: bool
    stopped: str = ""
    stopping: str = STOPPING


def read_validations(log: Path) -> Validations:
    """The signals of every validation in ``metrics.jsonl``; empty where there is no log or no monitor ran.

    Raises:
        InputError: it is damaged.
    """
    with content_errors("the log of the training is damaged", where=log, fix="remove it, or train again"):
        return tuple(read_records(log))


def health_panel(validations: Validations, keep: str = "last", stop: str = "never") -> HealthPanel | None:
    """The verdict on the weights that were kept; None where no monitor ran.

    Args:
        validations: of one run.
        keep: ``schedule.keep`` of its recipe.
        stop: ``schedule.health.stop`` of its recipe.
    """
    if not validations:
        return None
    kept, end = kept_records(validations, keep, stop), find_stop(validations, stop)
    verdict, step = judge(kept), kept[-1].step + 1
    good = verdict.word in ("healthy", "warming up") and not (end and end.harmful)
    told = f"The training ended at step {end.step + 1}: {end.cause}: {end.reason}" if end else ""
    return HealthPanel(verdict.word, verdict.reason, RULE, LIMITS, step, good, told)


def health_chart(validations: Validations, theme: Theme) -> Figure:
    """Nine small charts: the Dice on the source, predictions on both domains, and how well the domains are told apart.

    Args:
        validations: of one run, one at least.
        theme: colours.
    """
    figure = new_figure(3.55 * _COLUMNS + 0.3, 2.3 * 3 + 0.4, background=theme.background)
    grid = figure.subplots(3, _COLUMNS, squeeze=False)
    late = late_layers(validations[-1])
    early = [layer for layer in validations[-1].layers if layer not in late]
    charts: list[tuple[str, Callable[[Axes, Validations, Theme], None]]] = [
        ("Dice on the source", partial(_lines, signals={"": "source_dice"})),
        ("predicted volume of a case (ml)", partial(_lines, signals=_both_domains("volume"))),
        ("predicted lesions of a case", partial(_lines, signals=_both_domains("lesions"))),
        ("mean entropy (share of the largest)", partial(_lines, signals=_both_domains("entropy"))),
        ("ratio of target and source (≥ 1)", _ratios),
        ("agreement under perturbation, target", partial(_lines, signals={"": "agreement_target"})),
        ("linear probe, early layers", partial(_accuracies, signal="domain_accuracy", layers=early)),
        ("linear probe, late layers", partial(_accuracies, signal="domain_accuracy", layers=late)),
        ("the method's discriminator", partial(_accuracies, signal="discriminator_accuracy", layers=[""])),
    ]
    warmup = [each.step + 1 for each in validations if each.warming_up]
    for number, (axes, (title, draw)) in enumerate(zip(grid.flat, charts, strict=True)):
        style_axes(axes, title, theme, "step" if number >= len(charts) - _COLUMNS else "")
        if warmup:
            axes.axvspan(validations[0].step + 1, max(warmup), color=theme.quiet, alpha=0.12, linewidth=0)
        draw(axes, validations, theme)
    figure.tight_layout(pad=0.9, w_pad=1.5, h_pad=1.3)
    return figure


def _steps(validations: Validations) -> list[float]:
    return [each.step + 1 for each in validations]


def _values(validations: Validations, signal: str) -> list[float]:
    return [each[signal] for each in validations]


def _both_domains(signal: str) -> dict[str, str]:
    return {domain: f"{signal}_{domain}" for domain in ("source", "target")}


def _lines(axes: Axes, validations: Validations, theme: Theme, *, signals: dict[str, str]) -> None:
    """A curve for each label and signal; source and target have the same two colours in every chart."""
    curves = {label: _values(validations, signal) for label, signal in signals.items()}
    for number, (label, values) in enumerate(curves.items()):
        colour = theme.series[1 if signals[label].endswith("_target") else number]
        draw_curve(axes, _steps(validations), values, colour, label=label)
    if max((value for values in curves.values() for value in values if np.isfinite(value)), default=0) > 0:
        axes.set_ylim(bottom=0)
    if len(signals) > 1:
        draw_legend(axes, theme)


def _ratios(axes: Axes, validations: Validations, theme: Theme) -> None:
    """The distances between the domains that the verdict uses, as ratios of 1 and more."""
    for number, signal in enumerate(("volume", "entropy")):
        ratios = [float(np.exp(distance(each, signal))) for each in validations]
        draw_curve(axes, _steps(validations), ratios, theme.series[2 + number], label=signal)
    axes.set_yscale("log")
    high = axes.get_ylim()[1]
    ticks = [tick for tick in (1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 1000) if tick <= max(high, 1.5)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0.95, max(high, 1.5))
    draw_legend(axes, theme)


def _accuracies(axes: Axes, validations: Validations, theme: Theme, *, signal: str, layers: Sequence[str]) -> None:
    shown = False
    for number, layer in enumerate(layers):
        suffix = f"/{layer}" if layer else ""
        values, low, high = (_values(validations, f"{signal}{end}{suffix}") for end in ("", "_low", "_high"))
        if np.isfinite(values).any():
            shown, colour = True, theme.series[(2 + number) % len(theme.series)]
            draw_curve(axes, _steps(validations), values, colour, label=layer, interval=(low, high))
    axes.set_ylim(min(0.35, axes.get_ylim()[0]), 1.04)
    for level in (0.5, TOLD_APART):
        axes.axhline(level, color=theme.quiet, linewidth=1, linestyle=":")
    if not shown:
        axes.text(0.5, 0.25, "not measured", transform=axes.transAxes, color=theme.quiet, ha="center", fontsize=9)
    elif any(layers):
        draw_legend(axes, theme)
