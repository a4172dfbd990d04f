"""Two domains in one run: what is drawn from each, and that no label of the target is seen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medgen.cases import Case, hide_labels, read_cases
from medgen.errors import InputError, UsageError
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.run.experiment import prepare, train
from medgen.sampling.batches import Adaptation, Labelled
from medgen.sampling.patches import PatchConfig, PatchSource, patch_batches
from medgen.sampling.streams import AdaptationSource, patch_source, split_domains, without_labels
from tests.tiny_domains import recipe, write_domains

SIZE = (8, 8, 8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("domains")
    table = read_cases(write_domains(folder))
    roles = Roles(inputs=("t1", "ge|swi"), labels="label", mask="mask")
    return build_store(table.cases, Preparation(roles, PreparationConfig(spacing=None)), folder / "store").cases


def balanced(**changes) -> PatchConfig:
    return PatchConfig(size=SIZE, sampling="balanced", foreground=1.0, **changes)


def test_pairs_hold_a_labelled_and_an_unlabelled_patch(stored):
    pair = AdaptationSource(stored, balanced(), seed=1)[0]
    assert set(pair) == {"source", "label", "mask", "target", "target_mask"}
    assert pair["source"].shape == pair["target"].shape == (2, *SIZE)
    assert pair["label"].any()


def test_target_patches_are_uniform_in_the_mask_whatever_the_recipe_says(stored):
    """With every source patch on a lesion, target patches hit lesions only as often as chance has it."""
    source = AdaptationSource(stored, balanced(), seed=2)
    target = [case for case in stored if case.domain == "target"]
    labels = {case.name: np.asarray(case.label) for case in target}
    hits = []
    for n in range(300):
        case, centre = source.unlabelled.describe(n)
        hits.append(labels[case][centre] > 0)
    share = np.mean([(labels[case.name] > 0).sum() / np.asarray(case.mask).sum() for case in target])
    assert abs(np.mean(hits) - share) < 4 * np.sqrt(share / 300)


def test_both_domains_draw_from_streams_of_their_own(stored):
    source = AdaptationSource(stored, PatchConfig(size=SIZE), seed=3)
    assert [source.labelled.describe(n)[1] for n in range(8)] != [source.unlabelled.describe(n)[1] for n in range(8)]
    again = AdaptationSource(stored, PatchConfig(size=SIZE), seed=3)
    assert np.array_equal(source[5]["target"], again[5]["target"])


def test_labels_of_the_target_are_taken_away(stored):
    target = next(case for case in stored if case.domain == "target")
    bare = without_labels(target)
    assert bare.label is None
    assert bare.classes == ()
    assert bare.image is not None
    _, unlabelled = split_domains(stored)
    assert all(case.label is None for case in unlabelled)


def test_the_row_of_a_target_case_loses_its_label_and_nothing_else():
    images = {"t1": Path("/t1.nii"), "label": Path("/label.nii")}
    assert hide_labels(Case("a", "train", "target", images), "label").images.keys() == {"t1"}
    assert hide_labels(Case("a", "train", "source", images), "label").images.keys() == {"t1", "label"}
    assert hide_labels(Case("a", "train", None, images), "label").images.keys() == {"t1", "label"}
    spelt = Case("a", "train", "target", {"t1": Path("/t1.nii"), "seg": Path("/seg.nii")})
    assert hide_labels(spelt, "label|seg").images.keys() == {"t1"}


def test_a_supervised_method_must_be_told_which_labels_of_two_domains_it_may_see(tmp_path):
    table = write_domains(tmp_path / "data")
    with pytest.raises(UsageError, match=r"two domains(.|\n)*data\.domains"):
        train(recipe(), table, tmp_path / "run")
    run = train(recipe(data={"domains": ["source"]}, schedule={"steps": 1}), table, tmp_path / "run")
    used = json.loads((run / "run.json").read_text())["files"]
    assert {name.split("/")[0] for name in used} == {"source_0", "source_1"}


@pytest.mark.parametrize("domain", ["source", "target"])
def test_an_empty_domain_is_an_error(stored, domain):
    with pytest.raises(InputError, match="domain"):
        AdaptationSource([case for case in stored if case.domain == domain], balanced(), seed=0)


def test_the_kind_of_batch_decides_the_source(stored):
    assert isinstance(patch_source(Adaptation, stored, balanced(), 0), AdaptationSource)
    assert isinstance(patch_source(Labelled, stored, balanced(), 0), PatchSource)


def test_batches_of_pairs(stored):
    source = AdaptationSource(stored, balanced(), seed=0)
    (batch,) = patch_batches(source, Adaptation, batch=2, start=0, stop=1)
    assert batch.source.shape == batch.target.shape == (2, 2, *SIZE)
    assert batch.label.shape == (2, 1, *SIZE)


def test_a_labelled_case_without_label_is_named(stored):
    cases = [without_labels(case) if case.domain != "target" else case for case in stored]
    source = AdaptationSource(cases, PatchConfig(size=SIZE), seed=0)
    with pytest.raises(InputError, match=r"learns from 'label', which 2 cases lack, 'source_0' first"):
        next(iter(patch_batches(source, Adaptation, batch=2, start=0, stop=1)))


def test_cases_without_a_domain_count_as_labelled(stored):
    cases = [replace(case, domain=None) if case.domain == "source" else case for case in stored]
    labelled, unlabelled = split_domains(cases)
    assert len(labelled) == 2
    assert len(unlabelled) == 2


def test_preparing_for_an_adapting_method_opens_no_label_of_the_target(tmp_path):
    table = write_domains(tmp_path / "data")
    for label in (tmp_path / "data").glob("target*_label.nii.gz"):
        label.write_bytes(b"no image")
    found = prepare(recipe(method="mean_teacher", config={}), table, tmp_path / "store", workers=1)
    assert {case.name: case.label is None for case in found.cases if case.domain == "target"} == {
        "target_0": True,
        "target_1": True,
    }
    assert all(case.label is not None for case in found.cases if case.domain == "source")
