"""``medgen demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from medgen.cli.parameters import Overrides


def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
    spacing: Annotated[float, Parameter(metavar="MM")] = 3.0,
    overrides: Overrides = (),
) -> None:
    """Run all steps on a phantom: train, predict, evaluate and report.

    Takes a few minutes on two CPU cores; needs no data and no internet.
    The output folder has the layout of a real study, so you can repeat
    each step by hand with the other commands.

    For example:

        medgen demo --out demo
        medgen demo --out quick --set schedule.steps=400

    Args:
        out: output folder; open 'report.html' in it.
        seed: of the phantom and of the training; another one gives other virtual patients.
        spacing: voxel size of the phantom in mm; larger is faster and worse.
        overrides: another value for a key of its recipe; fewer steps are faster and worse.
    """
    from medgen.cli.output import say, show_table
    from medgen.cli.progress import progress_display
    from medgen.demo import run_demo

    with progress_display() as progress:
        demo = run_demo(out, seed=seed, spacing=spacing, overrides=overrides, progress=progress)
    rows = []
    for name, scores in demo.scores.items():
        means = [scores.summary[metric]["mean"] for metric in ("mae", "mae_soft", "mae_bone", "psnr")]
        rows.append((name.replace("_", " "), *(f"{mean:.1f}" for mean in means)))
    show_table(("method", "MAE (HU)", "soft tissue (HU)", "bone (HU)", "PSNR (dB)"), rows)
    say(f"report: {demo.report}")
