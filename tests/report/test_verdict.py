"""The sentence on top of a report."""

from types import SimpleNamespace

import pytest

from medgen.report.comparison import verdict
from medgen.report.content import MethodScores, Summary


def method(name, maes, bone=100.0):
    """Scores of one method, by case its mean absolute error."""

    def mean(value):
        return Summary(value, None, None, len(maes), 0)

    return MethodScores(
        name,
        {case: {"mae": value} for case, value in maes.items()},
        {"mae": mean(sum(maes.values()) / len(maes)), "mae_bone": mean(bone)},
        task="synthesis",
    )


def sources(main, *others):
    return SimpleNamespace(main=main, methods=[main, *others], run="run")


CONSTANT = method("constant", {"a": 200.0, "b": 240.0})
BOOSTING = method("voxelwise", {"a": 100.0, "b": 140.0}, bone=200.0)


@pytest.mark.parametrize(
    ("maes", "good", "words"),
    [
        ((80.0, 100.0), True, "GAN is better than the strongest baseline (voxel-wise boosting) by 30.0 HU of mean"),
        ((90.0, 190.0), False, "is not better than the strongest baseline (voxel-wise boosting); it is worse by 20.0"),
        ((40.0, 150.0), False, "is not shown to be better than the strongest baseline (voxel-wise boosting): 95.0 HU"),
    ],
)
def test_it_compares_with_the_strongest_baseline(maes, good, words):
    found = verdict(sources(method("gan", dict(zip("ab", maes, strict=True))), CONSTANT, BOOSTING))
    assert found.good is good
    assert words in found.text
    assert f"{sum(maes) / 2:.1f} HU against 120.0 HU" in found.text
    assert "bone 100.0 HU against 200.0 (−50 %)" in found.text
    assert f"better in {sum(a < b for a, b in zip(maes, (100, 140), strict=True))} of 2 cases" in found.text


def test_few_cases_stand_in_place_of_an_interval():
    found = verdict(sources(method("gan", {"a": 80.0, "b": 100.0}), BOOSTING))
    assert "(20.0, 40.0 in the 2 cases, too few for an interval)" in found.text


def test_many_cases_have_an_interval_and_it_decides():
    """Of differences 1 .. 12 HU the mean is 6.5; one case that is 60 HU worse makes it a matter of chance."""
    boosting = method("voxelwise", {str(n): 100.0 for n in range(12)})
    clear = method("gan", {str(n): 99.0 - n for n in range(12)})
    found = verdict(sources(clear, boosting))
    assert found.good
    low, high = (float(end) for end in found.text.split("[")[1].split("]")[0].split(" to "))
    assert 0 < low < 6.5 < high
    assert "n = 12" in found.text
    doubtful = method("gan", {**{str(n): 99.0 - n for n in range(11)}, "11": 160.0})
    found = verdict(sources(doubtful, boosting))
    assert not found.good
    assert "may be chance" in found.text


def test_other_cases_are_not_compared():
    found = verdict(sources(method("gan", {"a": 80.0}), BOOSTING))
    assert not found.good
    assert "of other cases" in found.text


def test_without_a_baseline_the_command_that_makes_one_is_named():
    found = verdict(sources(method("gan", {"a": 80.0})))
    assert not found.good
    assert "medgen evaluate synthesis predictions cases.csv --baselines run" in found.text


def test_baselines_alone_are_not_judged():
    assert verdict(sources(BOOSTING, CONSTANT)) is None
