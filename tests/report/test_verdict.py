"""The sentence on top of a report of synthesis."""

from types import SimpleNamespace

import pytest

from medgen.report.comparison import verdict


def method(name, maes, bone=100.0):
    def mean(value):
        return SimpleNamespace(mean=value)

    return SimpleNamespace(
        name=name,
        label=name,
        cases={case: {"mae": value} for case, value in maes.items()},
        summary={"mae": mean(sum(maes.values()) / len(maes)), "mae_bone": mean(bone)},
    )


def sources(main, *others):
    return SimpleNamespace(main=main, methods=[main, *others])


CONSTANT = method("constant", {"a": 200.0, "b": 240.0})
BOOSTING = method("voxelwise", {"a": 100.0, "b": 140.0}, bone=200.0)


@pytest.mark.parametrize(
    ("maes", "good", "words"), [((80.0, 100.0), True, "beats"), ((90.0, 190.0), False, "does not")]
)
def test_it_compares_with_the_strongest_baseline(maes, good, words):
    found = verdict(sources(method("gan", dict(zip("ab", maes, strict=True))), CONSTANT, BOOSTING))
    assert found.good is good
    assert f"gan {words}" in found.text
    assert "(voxelwise)" in found.text
    assert f"against 120.0 ({100 * (sum(maes) / 240 - 1):+.0f} %)" in found.text
    assert "bone 100.0 HU against 200.0 (-50 %)" in found.text
    assert f"better in {sum(a < b for a, b in zip(maes, (100, 140), strict=True))} of 2 cases" in found.text


def test_other_cases_or_no_baseline_make_no_verdict():
    gan = method("gan", {"a": 80.0})
    assert verdict(sources(gan, BOOSTING)) is None
    assert verdict(sources(gan)) is None
    assert verdict(sources(BOOSTING, CONSTANT)) is None
