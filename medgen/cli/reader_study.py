"""``medgen reader-study make``, ``medgen reader-study serve`` and ``medgen reader-study score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from medgen.cli.parameters import DEFAULTS, Output
from medgen.types import SplitOrAll

HELP = """Ask people which images are real: make a study, serve it, score it.

Readers answer in a browser on this machine; images never leave it.

For example:

    medgen reader-study make cases.csv samples -o study
    medgen reader-study serve study --open
    medgen reader-study score study -o results.csv"""

app = App(name="reader-study", help=HELP, help_format="plaintext", sort_key=8.5, default_parameter=DEFAULTS)


@app.command
def make(
    real: Path,
    synthetic: Path,
    /,
    *,
    output: Output,
    task: Literal["real-or-synthetic", "pick-real"] = "real-or-synthetic",
    count: int = 40,
    repeats: float = 0.2,
    seed: int = 0,
    role: str | None = None,
    split: SplitOrAll | None = None,
    window: str = "common",
) -> None:
    """Make the folder of a study from real and synthetic images.

    Beside a folder of 'medgen sample', the cases of a table are prepared and
    cut as the model saw its training images. All images are cut to the field
    of view they share and become 8-bit grey by one rule, so nothing but their
    content tells them apart. Images of different voxel sizes or units are
    refused. The folder holds copies of patient images: keep it as you keep
    the originals.

    For example:

        medgen reader-study make cases.csv samples -o study
        medgen reader-study make real made -o study --role t1 --window each
        medgen reader-study make cases.csv samples -o pairs --task pick-real

    Args:
        real: case table, folder of <case>_<role>.nii.gz, or a folder like that of 'medgen sample'.
        synthetic: folder of 'medgen sample' or 'medgen predict', or of <case>_<role>.nii.gz.
        output: the folder to make.
        task: one image at a time, or the real one of two.
        count: cases, an even number; real-or-synthetic needs half as many images of each kind, pick-real as many.
        repeats: share of the cases that are shown twice, hidden among the others; 0 to 0.5.
        seed: chooses images, pairs and orders; each reader has an order of their own.
        role: of the images; by default the one of the samples, or all volumes of a folder. A table needs it.
        split: cases of a table; by default 'test', or all if the table has no test cases.
        window: grey levels: 'common' (1st to 99th percentile of all images together), 'each' (of each image, for MR
            without a unit), or LOW,HIGH.
    """
    from medgen.cli.output import say
    from medgen.cli.progress import progress_display
    from medgen.reader import make_reader_study

    with progress_display() as progress:
        folder = make_reader_study(
            real,
            synthetic,
            output,
            task=task,
            count=count,
            repeats=repeats,
            seed=seed,
            role=role,
            split=split,
            window=window,
            progress=progress,
        )
    say(str(folder))


@app.command
def serve(
    study: Path,
    /,
    *,
    port: int = 0,
    open_browser: Annotated[bool, Parameter(name="--open")] = False,
) -> None:
    """Show a study to readers in their browsers, until Ctrl-C.

    Prints a link that lets one browser in, and a new one when it was used.
    Only this machine is reached. A reader gives a code, answers by keyboard
    or touch, and may stop at any time: every answer is on the disk before the
    next case appears, and the same code goes on where it stopped.

    For example:

        medgen reader-study serve study --open
        medgen reader-study serve study --port 8765

    Args:
        study: the folder that 'medgen reader-study make' made.
        port: to listen on, at 127.0.0.1; 0 takes one that is free.
        open_browser: also open the first link in the browser of this machine.
    """
    import sys
    import webbrowser

    from medgen.cli.output import note, say
    from medgen.reader import serve_reader_study

    links: list[str] = []

    def announce(link: str) -> None:
        links.append(link)
        say(link)
        sys.stdout.flush()
        if len(links) == 1:
            note("open this link in a browser on this machine; it works once. Ctrl-C ends the study.")
            if open_browser:
                webbrowser.open(link)
        else:
            note("a browser came in; this link is for another one.")

    answers = serve_reader_study(study, port=port, announce=announce)
    note(f"ended; {answers} answers of the readers who came in are saved in the study.")


@app.command
def score(study: Path, /, *, output: Output, answers: Path | None = None) -> None:
    """Score the answers of all readers.

    One row a reader: accuracy with its 95 % interval (Wilson), exact binomial
    test against guessing, agreement with oneself in the repeats, median time.
    The row 'all' has the mean over complete readers, with a bootstrap interval
    over cases, and Fleiss' kappa. May run while the study is being served.

    For example:

        medgen reader-study score study -o results.csv

    Args:
        study: the folder that 'medgen reader-study make' made.
        output: the CSV file to write.
        answers: also write every answer beside its truth into this CSV file.
    """
    from medgen.cli.output import say
    from medgen.reader import score_reader_study

    say(str(score_reader_study(study, output, answers=answers)))
