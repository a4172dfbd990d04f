"""``medgen watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def watch(
    run: Path,
    /,
    *,
    cases: Path | None = None,
    case: Annotated[str | None, Parameter(metavar="NAME")] = None,
    port: int = 0,
    every: Annotated[float, Parameter(metavar="SECONDS")] = 15.0,
    device: str = "cpu",
    open_browser: Annotated[bool, Parameter(name="--open")] = False,
) -> None:
    """Show a run in the browser while it trains: curves, pictures, time left.

    The page is the report, made again whenever the run has written
    something. Only this machine is reached; the run folder is only read. End
    it with Ctrl-C; the training goes on.

    For example:

        medgen watch run --open
        medgen watch run --cases cases.csv --case head_005

    Args:
        run: the folder of 'medgen train --out'.
        cases: the case table of the run: with it the page shows a case by the newest checkpoint.
        case: which case; by default the first for validation.
        port: to listen on; by default one that is free.
        every: seconds between two looks at the run.
        device: for the pictures; the training may need all of a GPU.
        open_browser: open the page in the browser.
    """
    import webbrowser

    from medgen.cli.output import note, say
    from medgen.live import watch_run

    def announce(address: str) -> None:
        say(address)
        note("end with Ctrl-C; the training goes on")
        if open_browser:
            webbrowser.open(address)

    watch_run(run, announce=announce, cases=cases, case=case, port=port, every=every, device=device)
