"""``medgen reader-study`` from the command line: output, exit codes, three lines, and Ctrl-C."""

import builtins
import csv
import http.client
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from medgen.cli import main
from medgen.reader.answers import Journal
from medgen.reader.study import read_study
from medgen.volume import Volume, write_volume


def run_command(capsys, *words):
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.fixture
def study(tmp_path, capsys):
    random = np.random.default_rng(0)
    for side in ("real", "made"):
        (tmp_path / side).mkdir()
        for number in range(2):
            image = Volume(random.normal(size=(1, 4, 4, 4)).astype(np.float32), np.eye(4))
            write_volume(image, tmp_path / side / f"{side}{number}_t1.nii.gz", kind="scalar")
    words = ("--role", "t1", "--count", 4)
    code, out, err = run_command(
        capsys, "reader-study", "make", tmp_path / "real", tmp_path / "made", "-o", tmp_path / "study", *words
    )
    assert (code, out.strip()) == (0, str(tmp_path / "study"))
    assert "8/8" in err
    return tmp_path / "study"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_serve_prints_links_and_ends_with_exit_code_0(study, ending):
    words = [sys.executable, "-m", "medgen", "reader-study", "serve", str(study)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        link = process.stdout.readline().strip()
        address, _, path = link.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("GET", f"/{path}")
        response = connection.getresponse()
        assert (response.status, "set-cookie" in response.headers) == (200, True)
        response.read()  # the connection stays open: it does not hold the server up
        assert process.stdout.readline().startswith(f"http://{address}/?token=")
        second = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (second.returncode, "another run is using this folder" in second.stderr) == (2, True)
        process.send_signal(ending)
        out, err = process.communicate(timeout=20)
        connection.close()
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert "Ctrl-C ends the study" in err
    assert "0 answers" in err
    assert "Traceback" not in err
    assert not (study / ".lock.json").exists()


def test_a_port_that_is_taken(study, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, _, err = run_command(capsys, "reader-study", "serve", study, "--port", port)
    assert code == 2
    assert f"error: port {port} is taken" in err
    assert len(err.strip().splitlines()) == 3
    assert run_command(capsys, "reader-study", "serve", study, "--port", 70000)[0] == 2


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra(study, capsys, monkeypatch, missing):
    real = builtins.__import__

    def lacking(name, *rest):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    code, _, err = run_command(capsys, "reader-study", "serve", study)
    assert code == 2
    assert "pip install 'medgen[reader]'" in err
    assert len(err.strip().splitlines()) == 3


def test_score(study, capsys, tmp_path):
    code, _, err = run_command(capsys, "reader-study", "score", study, "-o", tmp_path / "results.csv")
    assert (code, "nobody has answered yet" in err) == (3, True)
    known = read_study(study)
    journal = Journal(known, "r1")
    for position, shown in enumerate(journal.order):
        journal.record(position, known.correct(shown.images), 1)
    files = ["-o", tmp_path / "results.csv", "--answers", tmp_path / "answers.csv"]
    for _ in range(2):  # its own earlier results are replaced
        code, out, _ = run_command(capsys, "reader-study", "score", study, *files)
        assert (code, out.strip()) == (0, str(tmp_path / "results.csv"))
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [(row["reader"], row["accuracy"]) for row in rows] == [("r1", "1"), ("all", "1")]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["serve", "nowhere"], 3),
        (["score", "nowhere", "-o", "x.csv"], 3),
        (["make", "a", "b", "-o", "c", "--count", "3"], 2),
        (["make", "nowhere", "neither", "-o", "c"], 3),
        (["make", "a", "b", "-o", "c", "--task", "guess"], 2),
    ],
)
def test_exit_codes(words, code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, _, err = run_command(capsys, "reader-study", *words)
    assert got == code, err
    assert not (tmp_path / "c").exists()
