"""The command line: one file for each command, each a thin layer over one public function.

A command imports torch and its other heavy packages only when it runs, so help appears at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

from cyclopts import App, Group, Parameter

from medgen import __version__
from medgen.cli.benchmark import benchmark
from medgen.cli.calibrate import calibrate
from medgen.cli.card import card
from medgen.cli.cases import app as cases
from medgen.cli.check import check
from medgen.cli.completion import completion_of
from medgen.cli.demo import demo
from medgen.cli.dicom import app as dicom
from medgen.cli.evaluate import app as evaluate
from medgen.cli.export import export
from medgen.cli.failures import exit_code_of
from medgen.cli.fix import fix
from medgen.cli.latent import app as latent
from medgen.cli.mask import mask
from medgen.cli.models import models
from medgen.cli.novelty import app as novelty
from medgen.cli.output import json_output, library_notes
from medgen.cli.parameters import DEFAULTS
from medgen.cli.phantom import app as phantom
from medgen.cli.predict import predict
from medgen.cli.prepare import prepare
from medgen.cli.reader_study import app as reader_study
from medgen.cli.recipe import recipe, schema
from medgen.cli.report import report
from medgen.cli.sample import sample
from medgen.cli.streams import lasting_streams
from medgen.cli.train import train
from medgen.cli.watch import watch

HELP = """3D medical images: CT from MR in HU, prostate cancer in MR, lesions on
scanners without labels.

Start with:

    medgen demo             all steps on a phantom, ending with a report
    medgen COMMAND --help   what a command does, with an example

Exit codes: 0 success, 1 bug in medgen, 2 wrong usage, 3 invalid input,
4 some cases failed, 5 out of memory, 6 model or weights, 7 disk or
permission, 75 stopped and can be resumed, 130 interrupted."""

app = App(
    name="medgen",
    help=HELP,
    help_epilogue="Research software, not for clinical use.",
    help_format="plaintext",
    version=f"medgen {__version__}",
    default_parameter=DEFAULTS,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(demo, sort_key=1)
app.command(phantom)
app.command(cases)
app.command(check, sort_key=4)
app.command(fix, sort_key=4.5)
app.command(dicom)
app.command(prepare, sort_key=5)
app.command(train, sort_key=6)
app.command(watch, sort_key=6.5)
app.command(predict, sort_key=7)
app.command(mask, sort_key=7.1)
app.command(calibrate, sort_key=7.2)
app.command(sample, sort_key=7.3)
app.command(latent)
app.command(novelty)
app.command(evaluate)
app.command(reader_study)
app.command(benchmark, sort_key=9)
app.command(report, sort_key=10)
app.command(card, sort_key=10.5)
app.command(export, sort_key=10.7)
app.command(models, sort_key=11)
app.command(recipe, sort_key=12)
app.command(schema, sort_key=13)
app.command(completion_of(app), sort_key=14)


_EVERYWHERE = Group("Everywhere", sort_key=99)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    as_json: Annotated[bool, Parameter(name="--json", group=_EVERYWHERE)] = False,
    debug: Annotated[bool, Parameter(group=_EVERYWHERE)] = False,
) -> None:
    """Run one command.

    Args:
        *tokens: the command and its arguments.
        as_json: print results as one JSON document; an error is in it, too.
        debug: show the full traceback if the command fails.
    """
    app(tokens, exit_on_error=False, print_error=False)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``medgen`` with ``arguments`` (by default ``sys.argv``) and exit with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)

    debug = "--debug" in words

    def run() -> None:
        with library_notes(others=debug):
            app.meta(words, exit_on_error=False, print_error=False)
        if document is not None and not {"--help", "-h", "--version"} & set(words):
            document.write()

    app.meta.suppress_keyboard_interrupt = False  # exit_code_of handles Ctrl-C together with all other errors
    with lasting_streams(), json_output(wanted="--json" in words) as document:
        code = exit_code_of(run, debug=debug, words=words, on_error=document.write if document else None)
    sys.exit(code)
