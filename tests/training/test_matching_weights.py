"""Weights of another run as a start: what matches, what does not, and what is never guessed."""

import pytest
import torch
from test_methods import INSTANCES, small

from medgen.errors import UsageError
from medgen.training.transfer import match, take


@pytest.mark.parametrize(("name", "dimensions"), INSTANCES)
def test_a_method_takes_all_of_itself(name, dimensions):
    method = small(name, dimensions)
    origin = {key: torch.full_like(each, 3) for key, each in method.state_dict().items()}
    found = take(method, origin)
    assert list(found.taken) == list(origin)
    assert not found.without
    assert not found.unused
    assert all(torch.equal(each, origin[key]) for key, each in method.state_dict().items())


def test_where_two_networks_fit_equally_well_none_is_taken():
    origin = {f"teacher{key.removeprefix('network')}": each for key, each in small("segmentation").state_dict().items()}
    with pytest.raises(UsageError, match="no weight matches"):
        take(small("confirmed_candidates"), origin)


def test_a_teacher_takes_the_segmenter_that_its_student_takes():
    origin = {key: each + 1 for key, each in small("segmentation").state_dict().items()}
    method = small("mean_teacher")
    found = take(method, origin)
    state = method.state_dict()
    assert sum(name.startswith("network.") for name in found.taken) == len(origin)
    assert sum(name.startswith("teacher.") for name in found.taken) == len(origin)
    assert all(torch.equal(state[name], origin[theirs]) for name, theirs in found.taken.items())
    assert [name.partition(".")[0] for name in found.without] == ["teacher"]  # its counter starts anew


def test_a_segmenter_takes_the_exported_teacher():
    teacher = {key: each + 1 for key, each in small("mean_teacher").state_dict().items() if key.startswith("teacher.")}
    method = small("segmentation")
    assert len(take(method, teacher).taken) == len(method.state_dict())


def test_two_networks_that_are_to_disagree_do_not_begin_alike():
    method = small("co_training")
    before = {key: each.clone() for key, each in method.state_dict().items()}
    found = take(method, {key: each + 1 for key, each in small("segmentation").state_dict().items()})
    assert {name.partition(".")[0] for name in found.taken} == {"network"}
    assert all(torch.equal(each, before[key]) for key, each in method.state_dict().items() if key.startswith("second."))


def test_a_network_of_fewer_channels_is_not_filled_from_one_that_fits_another_part_better():
    for origin_name in ("segmentation", "mean_teacher"):
        origin = small(origin_name).state_dict()
        kept = "teacher." if origin_name == "mean_teacher" else "network."
        method = small("domain_adversarial", candidates=0.2)
        before = {key: each.clone() for key, each in method.second.state_dict().items()}
        found = take(method, {key: each + 1 for key, each in origin.items() if key.startswith(kept)})
        assert {name.partition(".")[0] for name in found.taken} == {"network"}
        assert all(torch.equal(each, before[key]) for key, each in method.second.state_dict().items())


def test_lesion_candidates_begin_with_the_second_view_of_the_origin():
    origin = {key: each + 1 for key, each in small("view_agreement").state_dict().items()}
    method = small("domain_adversarial", candidates=0.2)
    assert {name.partition(".")[0] for name in take(method, origin).taken} == {"network", "second"}
    assert all(torch.equal(each, origin[f"second.{key}"]) for key, each in method.second.state_dict().items())


def test_another_shape_is_told_and_not_taken():
    kernel, bias = torch.ones(4, 2, 3), torch.ones(4)
    found = match(
        {"network.a.weight": kernel, "network.b.weight": kernel, "network.b.bias": bias},
        {"network.a.weight": torch.ones(4, 5, 3), "network.b.weight": kernel, "old.bias": bias},
    )
    assert found.taken == {"network.b.weight": "network.b.weight"}
    assert found.other_shape == {"network.a.weight": ((4, 2, 3), (4, 5, 3))}
    assert found.without == ("network.b.bias",)
    assert found.unused == ("network.a.weight", "old.bias")


def test_of_two_equal_parts_none_is_chosen():
    kernel = torch.ones(2, 2)
    found = match({"generator.weight": kernel}, {"to_target.weight": kernel, "to_source.weight": kernel})
    assert not found.taken
    assert found.ambiguous == {"generator": ("to_target", "to_source")}


def test_nothing_that_matches_is_an_error_and_changes_nothing():
    method = small("segmentation")
    before = {key: each.clone() for key, each in method.state_dict().items()}
    with pytest.raises(UsageError, match="no weight matches"):
        take(method, {"elsewhere.weight": torch.ones(1, 1)})
    assert all(torch.equal(each, before[key]) for key, each in method.state_dict().items())
