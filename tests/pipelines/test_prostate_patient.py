"""The measurement of one prostate: median and slowest are told, and the slowest decides."""

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "pipelines" / "speed"


@pytest.mark.parametrize(("slowest", "code"), [(9.9, 0), (10.1, 1)])
def test_the_slowest_decides(monkeypatch, capsys, slowest, code):
    import prostate_patient as speed

    costs = iter([speed.Cost(3.0, 5.0, 0.5), speed.Cost(slowest, 4.0, 0.7), speed.Cost(2.0, 6.0, 0.6)])
    monkeypatch.setattr(speed, "write_model", lambda *_: "a model")
    monkeypatch.setattr(speed, "write_patient", lambda *_: {})
    monkeypatch.setattr(speed, "measure", lambda *_: next(costs))
    monkeypatch.setattr(sys, "argv", ["prostate_patient.py"])
    with pytest.raises(SystemExit) as exit_:
        speed.main()
    assert int(exit_.value.code) == code
    _, middle, worst = capsys.readouterr().out.splitlines()
    assert " ".join(middle.split()) == "median: 3.0 s on the clock, 5.0 s of processor, 0.60 GiB"
    assert " ".join(worst.split()) == f"maximum: {slowest} s on the clock, 6.0 s of processor, 0.70 GiB"
