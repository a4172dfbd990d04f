"""Scores of answers that are known."""

import csv

import pytest
from small_studies import small_study

from medgen.errors import InputError, PathError
from medgen.metrics.agreement import fleiss_kappa, proportion
from medgen.reader import score_reader_study
from medgen.reader.answers import Journal
from medgen.reader.study import read_study


def answer(study, reader, right, *, turn=(), stop=None, seconds=2.0):
    """Answer cases in ``right`` rightly and all others wrongly; repeats of cases in ``turn`` the other way round."""
    journal = Journal(study, reader)
    for position, shown in enumerate(journal.order[:stop]):
        first, second = study.choices
        true = study.correct(shown.images)
        false = second if true == first else first
        good = (shown.case in right) != (shown.repeat and shown.case in turn)
        journal.record(position, true if good else false, seconds + position)
    return journal


def scored(study, tmp_path, **options):
    path = score_reader_study(study.folder, tmp_path / "results.csv", **options)
    with path.open() as file:
        return {row["reader"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("task", ["real-or-synthetic", "pick-real"])
def test_rows_of_readers_and_of_all(tmp_path, task):
    study = read_study(small_study(tmp_path, task=task))
    first = answer(study, "r1", {0, 1, 2, 3, 4, 5})
    repeated = [shown.case for shown in first.order if shown.repeat]
    answer(study, "r2", {0, 1, 2, 3}, turn=[case for case in range(8)])
    answer(study, "r3", set(range(8)), stop=3)
    rows = scored(study, tmp_path)
    one, two, three, everyone = (rows[name] for name in ("r1", "r2", "r3", "all"))
    known = proportion(6, 8)
    assert (one["cases"], one["answered"], one["correct"], float(one["accuracy"])) == ("8", "8", "6", 0.75)
    assert [float(one[name]) for name in ("accuracy_low", "accuracy_high", "p_chance")] == pytest.approx(
        [*known["ci95"], known["p"]], rel=1e-5
    )
    assert len(repeated) == 2
    assert [one[name] for name in ("repeats", "repeats_same", "repeat_agreement")] == ["2", "2", "1"]
    assert [two[name] for name in ("repeats", "repeats_same", "repeat_agreement")] == ["2", "0", "0"]
    assert (three["answered"], three["accuracy"]) == ("3", "1")
    seconds = sorted(2.0 + position for position, shown in enumerate(first.order) if not shown.repeat)
    assert float(one["seconds_median"]) == pytest.approx((seconds[3] + seconds[4]) / 2)
    assert (everyone["readers_complete"], everyone["answered"]) == ("2", "8")
    assert float(everyone["accuracy"]) == pytest.approx((6 + 4) / 16)
    assert float(everyone["accuracy_low"]) < 10 / 16 < float(everyone["accuracy_high"])


def test_kappa_counts_what_images_were_called(tmp_path):
    """Cases 0 to 3 are real. r1 is right in 0 to 5, r2 in 0 to 3: real calls are 2 in four cases, 1, 1 and 2, 2."""
    study = read_study(small_study(tmp_path))
    assert [study.real[case[0]] for case in study.cases] == [True] * 4 + [False] * 4
    answer(study, "r1", {0, 1, 2, 3, 4, 5})
    answer(study, "r2", {0, 1, 2, 3})
    row = scored(study, tmp_path)["all"]
    calls = [[2, 0]] * 4 + [[1, 1]] * 2 + [[2, 0]] * 2
    assert float(row["fleiss_kappa"]) == pytest.approx(fleiss_kappa(calls), rel=1e-5)
    one = scored(study, tmp_path)["r1"]
    assert (one["real_recognised"], one["synthetic_recognised"]) == ("1", "0.5")


def test_sides_do_not_matter_for_agreement(tmp_path):
    """Two readers who pick the same images see them on different sides, and agree in all."""
    study = read_study(small_study(tmp_path, task="pick-real"))
    journals = [answer(study, reader, {0, 1, 2}) for reader in ("r1", "r2")]
    sides = [{answer.case: answer.answer for answer in each.answers if not answer.repeat} for each in journals]
    assert sides[0] != sides[1]
    assert scored(study, tmp_path)["all"]["fleiss_kappa"] == "1"


def test_readers_who_are_right_in_all_pairs_agree(tmp_path):
    """That all chose the real image is no habit that chance would explain."""
    study = read_study(small_study(tmp_path, task="pick-real"))
    for reader, right in (("r1", range(8)), ("r2", range(8)), ("r3", range(8))):
        answer(study, reader, set(right))
    assert scored(study, tmp_path)["all"]["fleiss_kappa"] == "1"


def test_one_miss_lowers_agreement_on_pairs_a_little(tmp_path):
    study = read_study(small_study(tmp_path, task="pick-real"))
    for reader, right in (("r1", range(8)), ("r2", range(8)), ("r3", range(7))):
        answer(study, reader, set(right))
    assert 0.7 < float(scored(study, tmp_path)["all"]["fleiss_kappa"]) < 1


def test_one_reader_has_no_kappa(tmp_path):
    study = read_study(small_study(tmp_path))
    answer(study, "r1", set(range(8)))
    rows = scored(study, tmp_path)
    assert (rows["all"]["readers_complete"], rows["all"]["fleiss_kappa"]) == ("1", "")
    assert rows["all"]["accuracy"] == "1"


def test_nobody_is_complete_yet(tmp_path):
    study = read_study(small_study(tmp_path))
    answer(study, "r1", set(), stop=2)
    row = scored(study, tmp_path)["all"]
    assert (row["readers_complete"], row["accuracy"], row["fleiss_kappa"]) == ("0", "", "")


def test_every_answer_beside_its_truth(tmp_path):
    study = read_study(small_study(tmp_path))
    journal = answer(study, "r1", {0, 5})
    scored(study, tmp_path, answers=tmp_path / "answers.csv")
    rows = list(csv.DictReader((tmp_path / "answers.csv").open()))
    assert len(rows) == 10
    for row, shown in zip(rows, journal.order, strict=True):
        kind = "real" if study.real[shown.images[0]] else "synthetic"
        assert (row["truth"], row["correct"]) == (kind, str(int(shown.case in {0, 5})))
        assert row["images"] == study.origin[shown.images[0]]
        assert row["repeat"] == str(int(shown.repeat))


def test_no_answers_yet(tmp_path):
    with pytest.raises(InputError, match="nobody has answered"):
        score_reader_study(small_study(tmp_path), tmp_path / "results.csv")


def test_an_output_that_cannot_be_written(tmp_path):
    study = read_study(small_study(tmp_path))
    answer(study, "r1", set())
    with pytest.raises(PathError):
        score_reader_study(study.folder, tmp_path)
