"""The health of an adaptation in a report: the verdict with its rule, and every signal over the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from medgen.report.drawing import Theme, new_figure
from medgen.run.monitor import RULE, Look, judge, kept_looks
from medgen.run.monitor.verdict import TOLD_APART, distance, late_layers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = (
    "Signals on held-out cases of both domains over the steps; none uses a label of the target. "
    "In the shaded steps the target had no say yet. Bands are 95 % intervals over patients; the domains are surely "
    f"told apart where a band lies above the upper dotted line ({TOLD_APART:g}); the lower one is chance."
)
_COLUMNS = 3


class HealthPanel(NamedTuple):
    """What a page says about an adaptation.

    Attributes:
        word: the verdict.
        reason: the numbers that decided.
        rule: the whole rule in words.
        step: of the look that was judged, counted from 1.
        good: whether nothing is to be done.
    """

    word: str
    reason: str
    rule: str
    step: int
    good: bool


def health_panel(looks: Sequence[Look], keep: str = "last") -> HealthPanel | None:
    """The verdict on the weights that were kept (``schedule.keep``); None where there is no look."""
    if not looks:
        return None
    looks = kept_looks(looks, keep)
    verdict = judge(looks)
    good = verdict.word in ("healthy", "warming up")
    return HealthPanel(verdict.word, verdict.reason, RULE, looks[-1].step + 1, good)


def health_chart(looks: Sequence[Look], theme: Theme) -> Figure:
    """Nine small charts: what the labels of the source say, what is predicted on the target, who is told apart.

    Args:
        looks: of one run, in the order of their steps; one at least.
        theme: colours.
    """
    figure = new_figure(3.55 * _COLUMNS + 0.3, 2.3 * 3 + 0.4, background=theme.background)
    grid = figure.subplots(3, _COLUMNS, squeeze=False)
    late = late_layers(looks[-1])
    early = [layer for layer in looks[-1].layers if layer not in late]
    draw: list[tuple[str, Callable[[Axes], None]]] = [
        ("Dice on the source", lambda axes: _lines(axes, looks, {"": "source_dice"}, theme)),
        ("predicted volume of a case (ml)", lambda axes: _pair(axes, looks, "volume", theme)),
        ("predicted lesions of a case", lambda axes: _pair(axes, looks, "lesions", theme)),
        ("mean entropy (share of the largest)", lambda axes: _pair(axes, looks, "entropy", theme)),
        ("target to source, factor apart", lambda axes: _factors(axes, looks, theme)),
        ("agreement under disturbance, target", lambda axes: _lines(axes, looks, {"": "agreement_target"}, theme)),
        ("linear probe, early layers", lambda axes: _accuracies(axes, looks, "domain_accuracy", early, theme)),
        ("linear probe, late layers", lambda axes: _accuracies(axes, looks, "domain_accuracy", late, theme)),
        ("the method's discriminator", lambda axes: _accuracies(axes, looks, "discriminator_accuracy", [""], theme)),
    ]
    for number, (axes, (title, drawn)) in enumerate(zip(grid.flat, draw, strict=True)):
        _style(axes, title, looks, theme, below=number >= len(draw) - _COLUMNS)
        drawn(axes)
    figure.tight_layout(pad=0.9, w_pad=1.5, h_pad=1.3)
    return figure


def _steps(looks: Sequence[Look]) -> list[int]:
    return [look.step + 1 for look in looks]


def _values(looks: Sequence[Look], signal: str) -> list[float]:
    return [look[signal] for look in looks]


def _pair(axes: Axes, looks: Sequence[Look], signal: str, theme: Theme) -> None:
    """Source and target in their colours; they keep them in every chart."""
    _lines(axes, looks, {"source": f"{signal}_source", "target": f"{signal}_target"}, theme)


def _lines(axes: Axes, looks: Sequence[Look], signals: dict[str, str], theme: Theme) -> None:
    for number, (label, signal) in enumerate(signals.items()):
        colour = theme.series[1 if signal.endswith("_target") else number]
        axes.plot(_steps(looks), _values(looks, signal), "o-", color=colour, linewidth=1.6, markersize=3, label=label)
    if max((value for signal in signals.values() for value in _values(looks, signal) if value == value), default=0) > 0:
        axes.set_ylim(bottom=0)
    _legend(axes, theme, wanted=len(signals) > 1)


def _factors(axes: Axes, looks: Sequence[Look], theme: Theme) -> None:
    """What the verdict compares: how far apart the domains are, 1 being equal."""
    for number, signal in enumerate(("volume", "entropy")):
        factors = [float(np.exp(distance(look, signal))) for look in looks]
        colour = theme.series[2 + number]
        axes.plot(_steps(looks), factors, "o-", color=colour, linewidth=1.6, markersize=3, label=signal)
    axes.set_yscale("log")
    high = axes.get_ylim()[1]
    ticks = [tick for tick in (1, 1.2, 1.5, 2, 3, 5, 10, 30, 100, 1000) if tick <= max(high, 1.5)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0.95, max(high, 1.5))
    _legend(axes, theme)


def _accuracies(axes: Axes, looks: Sequence[Look], signal: str, layers: Sequence[str], theme: Theme) -> None:
    steps, shown = _steps(looks), False
    for number, layer in enumerate(layers):
        suffix = f"/{layer}" if layer else ""
        values = _values(looks, f"{signal}{suffix}")
        if not np.isfinite(values).any():
            continue
        shown, colour = True, theme.series[(2 + number) % len(theme.series)]
        low, high = (_values(looks, f"{signal}_{end}{suffix}") for end in ("low", "high"))
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(steps, values, "o-", color=colour, linewidth=1.6, markersize=3, label=layer)
    axes.set_ylim(min(0.35, axes.get_ylim()[0]), 1.04)
    for level in (0.5, TOLD_APART):
        axes.axhline(level, color=theme.quiet, linewidth=1, linestyle=":")
    if not shown:
        axes.text(0.5, 0.25, "not measured", transform=axes.transAxes, color=theme.quiet, ha="center", fontsize=9)
    _legend(axes, theme, wanted=shown and any(layers))


def _legend(axes: Axes, theme: Theme, *, wanted: bool = True) -> None:
    if wanted:
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.text, handlelength=1.4, loc="best")


def _style(axes: Axes, title: str, looks: Sequence[Look], theme: Theme, *, below: bool) -> None:
    axes.set_facecolor(theme.background)
    axes.set_title(title, fontsize=9.5, color=theme.text, loc="left")
    axes.tick_params(colors=theme.quiet, labelsize=8, length=0)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.quiet)
    axes.grid(color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    warm = [look.step + 1 for look in looks if look.warming_up]
    if warm:
        axes.axvspan(min(_steps(looks)), max(warm), color=theme.quiet, alpha=0.12, linewidth=0)
    if below:
        axes.set_xlabel("step", fontsize=8, color=theme.quiet)
