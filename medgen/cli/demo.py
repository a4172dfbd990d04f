"""``medgen demo``."""

from __future__ import annotations

from pathlib import Path


def demo(*, out: Path = Path("demo")) -> None:
    """Make a phantom, train, predict, evaluate and report: the whole job.

    Takes a few minutes on two CPU cores and needs no data and no network.
    The folder that it writes is laid out like that of a real study, so each
    step can be repeated by hand with the other commands.

    For example:

        medgen demo --out demo

    Args:
        out: the folder to write; 'report.html' in it is the result.
    """
    from medgen.cli.output import say, show_table
    from medgen.cli.progress import progress_display
    from medgen.demo import run_demo

    with progress_display() as progress:
        demo = run_demo(out, progress=progress)
    rows = []
    for name, scores in demo.scores.items():
        means = [scores.summary[metric]["mean"] for metric in ("mae", "mae_soft", "mae_bone", "psnr")]
        rows.append((name.replace("_", " "), *(f"{mean:.1f}" for mean in means)))
    show_table(("method", "MAE (HU)", "soft tissue (HU)", "bone (HU)", "PSNR (dB)"), rows)
    say(f"report: {demo.report}")
