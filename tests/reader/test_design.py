"""The order of a study: a pure function of seed and reader, with repeats that come late."""

from collections import Counter

import pytest

from medgen.errors import UsageError
from medgen.reader.design import order, require_sensible

SINGLE = [(f"i{number}",) for number in range(20)]
PAIRS = [(f"r{number}", f"s{number}") for number in range(40)]


@pytest.mark.parametrize("count", [2, 4, 20, 40])
@pytest.mark.parametrize("repeats", [0, 0.1, 0.2, 0.5])
def test_every_case_comes_and_repeats_come_late(count, repeats):
    for seed in range(20):
        showings = order(PAIRS[:count], repeats, seed, "r1")
        first = {each.case: place for place, each in enumerate(showings) if not each.repeat}
        again = {each.case: place for place, each in enumerate(showings) if each.repeat}
        assert sorted(first) == list(range(count))
        assert len(again) == round(repeats * count)
        assert len(showings) == count + len(again)
        assert all(place - first[case] >= count // 4 for case, place in again.items())


def test_the_order_depends_on_seed_and_reader_alone():
    assert order(SINGLE, 0.2, 3, "r1") == order(SINGLE, 0.2, 3, "r1")
    orders = [order(SINGLE, 0.2, seed, reader) for seed in (0, 1) for reader in ("r1", "r2")]
    assert len(set(orders)) == 4


def test_each_side_is_as_likely_and_each_place_too():
    many = [order(PAIRS, 0.5, seed, "r1") for seed in range(60)]
    left = Counter(each.images[0][0] for showings in many for each in showings)
    assert abs(left["r"] / (left["r"] + left["s"]) - 0.5) < 0.03
    assert all(set(each.images) == set(PAIRS[each.case]) for showings in many for each in showings)
    assert len({showings[0].case for showings in many}) > 25


@pytest.mark.parametrize(
    ("options", "what"),
    [((3, 0.2, 0), "--count"), ((0, 0.2, 0), "--count"), ((4, 0.6, 0), "--repeats"), ((4, -1, 0), "--repeats")],
)
def test_options_out_of_range(options, what):
    with pytest.raises(UsageError, match=what):
        require_sensible(*options)
    with pytest.raises(UsageError, match="--seed"):
        require_sensible(4, 0.2, -1)
