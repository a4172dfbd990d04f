"""Standard streams that are closed, broken, full or of a narrow encoding: results stay, and no command ends with 1."""

import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from medgen.cli import main
from medgen.cli.output import library_notes
from medgen.cli.streams import lasting_streams
from medgen.recipe.settings import load_recipe

SCRIPT = """
import sys
from pathlib import Path
from medgen.cli import app, main
from medgen.cli.output import note, say, show_table
from medgen.cli.progress import progress_display
from medgen.errors import InputError

@app.command
def work(out: Path, *, fails: bool = False):
    "Tell much, work, tell more, and keep a result."
    with progress_display() as progress:
        for step in range(3):
            say("ä – \\u4e2d" * 40_000)
            note("warning ä")
            progress(step, 2, "läuft")
    show_table(("A",), [("ü",)])
    with out.open("w") as file:
        file.write("result")
    if fails:
        raise InputError("ö", fix="–")

main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("%s | head -c 1; exit ${PIPESTATUS[0]}", 0),
        ("%s --fails | head -c 1; exit ${PIPESTATUS[0]}", 3),
        ("%s 2>&1 | head -c 1; exit ${PIPESTATUS[0]}", 0),
        ("%s >&-", 0),
        ("%s >&- 2>&- <&-", 0),
        ("%s --fails >&- 2>&-", 3),
        ("%s > /dev/full", 7),
        ("%s 2> /dev/full > /dev/null", 0),
        ("PYTHONIOENCODING=ascii %s > /dev/null", 0),
        ("PYTHONIOENCODING=latin-1 %s --fails > /dev/null", 3),
        ("LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 %s > /dev/null", 0),
    ],
)
def test_a_stream_decides_nothing(how: str, code: int, tmp_path: Path) -> None:
    script, out = tmp_path / "script.py", tmp_path / "result"
    script.write_text(SCRIPT, encoding="utf-8")
    command = how % f"{sys.executable} {script} work {out}"
    ended = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, timeout=60, env={**os.environ, "PYTHONPATH": "."}
    )
    assert ended.returncode == code, ended.stderr
    assert b"Traceback" not in ended.stderr
    assert b"bug in medgen" not in ended.stderr
    assert out.read_text() == "result"  # and nothing else, as where the number of a closed stream is given to the file


def test_letters_that_an_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_streams():
        sys.stdout.write("Läsion")
    assert raw.getvalue() == b"L\\xe4sion"
    assert sys.stdout is stream
    assert stream.errors == "strict"


def test_what_other_libraries_log_is_shown_to_debug_alone(capsys: pytest.CaptureFixture[str]) -> None:
    import nibabel

    def noise() -> None:
        nibabel.imageglobals.logger.warning("pixdim[1,2,3] should be non-zero; in /home/ada/env/x.nii")
        logging.getLogger("pydicom").warning("in /home/ada/env/lib/x.py")
        warnings.warn("overflow in /home/ada/env/lib/x.py", RuntimeWarning, stacklevel=1)
        logging.getLogger("medgen.x").warning("ours")

    filters, level = list(warnings.filters), nibabel.imageglobals.logger.level
    with library_notes():
        noise()
    assert capsys.readouterr().err == "warning: ours\n"
    with library_notes(others=True):
        noise()
    said = capsys.readouterr().err
    assert all(word in said for word in ("nibabel.global: pixdim", "pydicom: in x.py", "RuntimeWarning: overflow"))
    assert "/home/ada" not in said
    assert warnings.filters == filters  # a program that calls the library keeps its own
    assert (nibabel.imageglobals.logger.level, nibabel.imageglobals.logger.filters) == (level, [])
    assert not any(type(handler).__name__ == "_Others" for handler in logging.getLogger().handlers)


def test_a_recipe_is_read_as_utf_8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\ufeffmethod: supervised\ndata: {inputs: [t1], target: ct}\n# Läsion\n", encoding="utf-8")
    real = Path.read_text
    # Where no encoding is named, Python takes that of the locale, which may be ASCII.
    monkeypatch.setattr(Path, "read_text", lambda path, encoding="ascii", errors=None: real(path, encoding, errors))
    assert load_recipe(recipe).method == "supervised"


def test_the_streams_are_the_callers_again(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit):
        main(["--version"])
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out.startswith("medgen ")
