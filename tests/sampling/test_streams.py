"""Streams: which cases the patches of a batch come from."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from test_patches import config, stored

from medgen.cases import Case
from medgen.errors import InputError
from medgen.preparation import Roles
from medgen.sampling.batches import (
    Adaptation,
    Images,
    Labelled,
    MatchedAdaptation,
    Paired,
    PartlyPaired,
    Stream,
    Unpaired,
)
from medgen.sampling.loading import patch_batches
from medgen.sampling.parts import split
from medgen.sampling.streams import StreamSource, lacking


@pytest.fixture
def cases(tmp_path):
    """Two patients with both images, one with the input alone and one with the target alone."""
    both = [stored(tmp_path, name, seed=i) for i, name in enumerate("ab")]
    source = replace(stored(tmp_path, "c", seed=2), files=both[0].files - {"target"})
    target = replace(stored(tmp_path, "d", seed=3), files=both[0].files - {"image"}, air=())
    return [*both, source, target]


def test_unpaired_patches_come_from_all_cases_that_have_the_image(cases):
    source = StreamSource(Unpaired, cases, config(), seed=0)
    assert [case.name for case in source.streams[0].cases] == ["a", "b", "c"]
    assert [case.name for case in source.streams[1].cases] == ["a", "b", "d"]
    patch = source[0]
    assert set(patch) == {"source", "mask", "target", "target_mask"}


def test_unpaired_patches_of_a_pair_are_not_of_one_place(cases):
    source = StreamSource(Unpaired, cases[:1], config(), seed=0)
    places = [[stream.describe(n)[1] for stream in source.streams] for n in range(20)]
    assert sum(one == two for one, two in places) < 3


def test_patch_n_of_a_stream_does_not_depend_on_the_other_stream(cases):
    whole = StreamSource(Unpaired, cases, config(), seed=0)
    other = StreamSource(Unpaired, [case for case in cases if case.name != "c"], config(), seed=0)
    assert np.array_equal(whole[4]["target"], other[4]["target"])


@pytest.mark.parametrize(("gone", "field"), [("image", "source"), ("target", "target")])
def test_an_empty_side_is_an_error(cases, gone, field):
    without = [case for case in cases if gone not in case.files]
    with pytest.raises(InputError, match=f"learns from '{field}', and no training case has an image for it"):
        StreamSource(Unpaired, without, config(), seed=0)


def test_balanced_sampling_of_a_stream_that_may_not_see_labels_is_uniform(cases):
    source = StreamSource(Images, cases[:2], config(sampling="balanced", foreground=1.0), seed=0)
    assert source.streams[0].config.sampling == "uniform"
    assert "label" not in source.streams[0][0]


def test_images_alone(cases):
    source = StreamSource(Images, cases[:3], config(), seed=0)
    (batch,) = patch_batches(source, Images, batch=4, start=0, stop=1)
    assert batch.image.shape == (4, 1, 8, 8, 8)


def test_what_each_batch_makes():
    names = {kind.__name__: kind.task().name for kind in (Paired, Labelled, Adaptation, Unpaired, Images)}
    assert names == {
        "Paired": "synthesis", "Labelled": "segmentation", "Adaptation": "segmentation",
        "Unpaired": "synthesis", "Images": "generation",
    }  # fmt: skip


def test_a_batch_is_shared_out_in_order(cases):
    source = StreamSource(Images, cases[:2], config(), seed=0)
    (batch,) = patch_batches(source, Images, batch=6, start=0, stop=1)
    parts = split(batch, 3)
    assert [len(part.image) for part in parts] == [2, 2, 2]
    assert np.array_equal(parts[1].image, batch.image[2:4])
    with pytest.raises(ValueError, match="cannot be shared out"):
        split(batch, 4)


@pytest.mark.parametrize(
    ("has", "lacks"),
    [
        ((), "ct"),
        (("t1",), "flair"),
        (("flair",), "t1"),
        (("t1", "flair"), None),
        (("ct",), None),
        (("t1", "ct"), None),
    ],
)
def test_an_unpaired_test_case_needs_one_whole_side(has, lacks):
    roles = Roles(inputs=("t1", "flair"), target="ct")
    case = Case("a", "test", None, {column: Path(f"{column}.nii") for column in has})
    missing = lacking(case, Unpaired, roles)
    assert missing == (() if lacks is None else (lacks,))


def test_a_paired_test_case_needs_no_target():
    case = Case("a", "test", None, {"t1": Path("t1.nii")})
    assert lacking(case, Paired, Roles(inputs=("t1",), target="ct", mask="mask")) == ()


class Three(NamedTuple):
    """Patches of three sets."""

    one: torch.Tensor
    two: torch.Tensor
    three: torch.Tensor

    @classmethod
    def streams(cls):
        return tuple(Stream({field: "image"}, places=False) for field in cls._fields)


def test_a_batch_may_have_more_than_two_streams(cases):
    patch = StreamSource(Three, cases[:2], config(), seed=2**64 - 1)[0]
    assert set(patch) == {"one", "two", "three"}
    assert not np.array_equal(patch["one"], patch["three"])


def test_known_pairs_are_the_same_share_whatever_the_order_and_the_rest_are_never_paired(cases):
    many = [replace(case, name=f"{case.name}{n}") for n in range(8) for case in cases]
    source = StreamSource(PartlyPaired, many, config(), 5, paired_fraction=0.25)
    pairs = {case.name for case in source.streams[2].cases}
    assert len(pairs) == 4  # of 16 with both images
    assert not any(name[0] in "cd" for name in pairs)
    assert {source.streams[2].describe(n)[0] for n in range(200)} == pairs
    again = StreamSource(PartlyPaired, many[::-1], config(), 5, paired_fraction=0.25)
    assert {case.name for case in again.streams[2].cases} == pairs
    other = StreamSource(PartlyPaired, many, config(), 6, paired_fraction=0.25)
    assert {case.name for case in other.streams[2].cases} != pairs
    assert len(source.streams[0].cases) == 24  # the images of pairs are unpaired images, too


def test_both_images_of_a_known_pair_are_of_one_place(cases):
    source = StreamSource(PartlyPaired, cases, config(), 0, paired_fraction=1.0)
    plain = StreamSource(Unpaired, cases, config(), 0)
    for n in range(5):
        patch, alone = source[n], source.streams[2][n]
        assert np.array_equal(patch["paired_source"], alone["source"])
        assert np.array_equal(patch["paired_target"], alone["target"])
        assert np.array_equal(patch["source"], plain[n]["source"])  # known pairs change no other patch


def test_known_pairs_without_a_case_that_has_both_images_are_an_error(cases):
    with pytest.raises(InputError, match=r"config.paired_fraction asks for pairs, and no training case has both"):
        StreamSource(PartlyPaired, cases[2:], config(), 0, paired_fraction=0.5)


def test_matched_patches_are_of_the_source_and_drawn_without_labels(tmp_path):
    cases = [
        replace(stored(tmp_path, name, seed=i), domain=domain)
        for i, (name, domain) in enumerate((("a", "source"), ("b", "target")))
    ]
    settings = config(sampling="balanced", foreground=1.0)
    plain, matched = (StreamSource(kind, cases, settings, seed=0) for kind in (Adaptation, MatchedAdaptation))
    assert [[case.name for case in stream.cases] for stream in matched.streams] == [["a"], ["b"], ["a"]]
    assert [stream.config.sampling for stream in matched.streams] == ["balanced", "uniform", "uniform"]
    patch = matched[3]
    assert set(patch) == set(MatchedAdaptation._fields)
    assert all(np.array_equal(patch[name], value) for name, value in plain[3].items())
    assert not np.array_equal(patch["matched"], patch["source"])
