"""The log: valid JSON whatever the losses are, and no trace of what a checkpoint does not know."""

import json
import logging
import math

import pytest

from medgen.training.log import RunLog


def lines(log):
    return [json.loads(line, parse_constant=pytest.fail) for line in log.path.read_text().splitlines()]


def test_a_number_that_is_not_finite_is_null(tmp_path):
    log = RunLog(tmp_path)
    log.write("stage0", 3, losses={"generator/mse": math.nan, "generator/l1": math.inf, "d/real": 0.5}, skipped=True)
    losses = {"generator/mse": None, "generator/l1": None, "d/real": 0.5}
    assert lines(log) == [{"part": "stage0", "step": 3, "losses": losses, "skipped": True}]


def test_rewinding_forgets_later_steps_of_one_part_and_a_torn_line(tmp_path):
    log = RunLog(tmp_path)
    for part in ("stage0", "stage1"):
        for step in (9, 10):
            log.write(part, step, losses={"generator/mse": 1.0})
    with log.path.open("a") as file:
        file.write('{"part": "stage1", "st')
    log.rewind("stage1", 10)  # ten steps are done: 0 to 9
    assert [(record["part"], record["step"]) for record in lines(log)] == [("stage0", 9), ("stage0", 10), ("stage1", 9)]


def test_rewinding_nothing_makes_no_file(tmp_path):
    log = RunLog(tmp_path)
    log.rewind("stage0", 0)
    log.close()
    assert not log.path.exists()


def test_a_tracker_that_fails_does_not_stop_the_run(tmp_path, caplog):
    class Full:
        def add_scalar(self, *_):
            raise OSError(28, "No space left on device")

    log = RunLog(tmp_path)
    log._writer = Full()
    with caplog.at_level(logging.WARNING):
        for step in (0, 1):
            log.write("stage0", step, losses={"generator/mse": 1.0})
    assert [record["step"] for record in lines(log)] == [0, 1]
    assert caplog.text.count("TensorBoard could not be written") == 1
