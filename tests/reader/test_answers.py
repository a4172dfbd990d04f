"""An answer that was confirmed is on the disk; no answer counts twice."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_studies import small_study

from medgen.errors import InputError, StorageError, UsageError
from medgen.reader.answers import Journal, reader_name, readers_of
from medgen.reader.study import read_study


@pytest.fixture
def study(tmp_path):
    return read_study(small_study(tmp_path))


def lines(journal):
    return [json.loads(line) for line in journal.path.read_text().splitlines()]


def test_an_answer_is_synced_before_it_counts(study, monkeypatch):
    journal = Journal(study, "r1")
    seen = []
    sync = os.fsync

    def noted(handle):
        seen.append((len(journal.answers), journal.path.exists() and len(journal.path.read_bytes().splitlines())))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    assert journal.record(0, "real", 1.23456)
    assert seen[-1] == (0, 1)  # written in full, and not yet counted
    (line,) = lines(journal)
    shown = journal.order[0]
    assert line["images"] == list(shown.images)
    assert (line["position"], line["case"], line["answer"], line["seconds"]) == (0, shown.case, "real", 1.235)


def test_a_reader_goes_on_where_they_stopped(study):
    first = Journal(study, "r1")
    for position in range(4):
        first.record(position, "synthetic", 2)
    again = Journal(study, "r1")
    assert again.answers == first.answers
    assert again.current == first.order[4]
    assert Journal(study, "r2").answers == ()
    assert readers_of(study) == ["r1"]


def test_a_second_answer_changes_nothing(study):
    journal = Journal(study, "r1")
    assert journal.record(0, "real", 1)
    assert not journal.record(0, "synthetic", 2)
    assert [line["answer"] for line in lines(journal)] == ["real"]


def test_many_at_once_count_once(study):
    journal = Journal(study, "r1")
    with ThreadPoolExecutor(8) as pool:
        for position in range(len(journal.order)):
            kept = list(pool.map(lambda _, at=position: journal.record(at, "real", 1), range(8)))
            assert sum(kept) == 1
    assert [line["position"] for line in lines(journal)] == list(range(10))
    assert journal.current is None
    with pytest.raises(UsageError, match="not been shown"):
        journal.record(10, "real", 1)


@pytest.mark.parametrize(
    "given", [(1, "real", 1), (-1, "real", 1), (0, "left", 1), (0, "real", -1), (0, "real", float("nan"))]
)
def test_what_is_no_answer(study, given):
    journal = Journal(study, "r1")
    with pytest.raises(UsageError):
        journal.record(*given)
    assert not journal.path.exists()


def test_a_torn_line_was_never_confirmed(study):
    journal = Journal(study, "r1")
    journal.record(0, "real", 1)
    journal.record(1, "real", 1)
    content = journal.path.read_bytes()
    for cut in range(content.index(b"\n") + 1, len(content)):
        journal.path.write_bytes(content[:cut])
        again = Journal(study, "r1")
        assert len(again.answers) == 1
    journal.path.write_bytes(content[: content.index(b"\n") + 1] + b"torn " * 99)  # longer than a line
    again = Journal(study, "r1")
    again.record(1, "synthetic", 3)
    assert [line["answer"] for line in lines(again)] == ["real", "synthetic"]


def test_a_full_disk_loses_nothing_and_counts_nothing(study, monkeypatch):
    journal = Journal(study, "r1")
    journal.record(0, "real", 1)
    sync = os.fsync

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        journal.record(1, "real", 1)
    assert len(journal.answers) == 1
    monkeypatch.setattr(os, "fsync", sync)
    assert journal.record(1, "synthetic", 1)
    assert [line["answer"] for line in lines(journal)] == ["real", "synthetic"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "x" + text,
        lambda text: text.replace('"position": 0', '"position": 3'),
        lambda text: text.replace('"answer": "real"', '"answer": "maybe"'),
        lambda text: text.replace('"seconds": 1.0', '"seconds": "long"'),
        lambda text: text.replace('"case": ', '"case": 1'),
    ],
)
def test_a_damaged_file_is_refused(study, change):
    journal = Journal(study, "r1")
    journal.record(0, "real", 1.0)
    changed = change(journal.path.read_text())
    assert changed != journal.path.read_text()
    journal.path.write_text(changed)
    with pytest.raises(InputError, match="line 1 is damaged"):
        Journal(study, "r1")


def test_answers_of_another_study_are_refused(study, tmp_path):
    other = read_study(small_study(tmp_path / "other", seed=1))
    Journal(other, "r1").record(0, "real", 1)
    (study.folder / "answers" / "r1.jsonl").write_bytes((other.folder / "answers" / "r1.jsonl").read_bytes())
    with pytest.raises(InputError, match="of another study"):
        Journal(study, "r1")


@pytest.mark.parametrize("name", ["", " ", "../r1", "a/b", "a.b", "x" * 33, "é", "all", "-a", "r 1"])
def test_a_code_that_names_no_file(name):
    with pytest.raises(UsageError):
        reader_name(name)
