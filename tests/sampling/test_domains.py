"""Two domains in one run: what is drawn from each, and that no label of the target is seen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medgen.cases import Case, read_cases
from medgen.errors import InputError, UsageError
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.run.experiment import prepare, train
from medgen.sampling.batches import Adaptation, Images, Labelled, Unpaired
from medgen.sampling.loading import patch_batches
from medgen.sampling.patches import PatchConfig
from medgen.sampling.streams import StreamSource, split_domains, visible
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
    pair = StreamSource(Adaptation, stored, balanced(), seed=1)[0]
    assert set(pair) == {"source", "label", "mask", "target", "target_mask"}
    assert pair["source"].shape == pair["target"].shape == (2, *SIZE)
    assert pair["label"].any()


def test_target_patches_are_uniform_in_the_mask_whatever_the_recipe_says(stored):
    """With every source patch on a lesion, target patches hit lesions only as often as chance has it."""
    source = StreamSource(Adaptation, stored, balanced(), seed=2)
    target = [case for case in stored if case.domain == "target"]
    labels = {case.name: np.asarray(case.label) for case in target}
    hits = []
    for n in range(300):
        case, centre = source.streams[1].describe(n)
        hits.append(labels[case][centre] > 0)
    share = np.mean([(labels[case.name] > 0).sum() / np.asarray(case.mask).sum() for case in target])
    assert abs(np.mean(hits) - share) < 4 * np.sqrt(share / 300)


def test_both_domains_draw_from_streams_of_their_own(stored):
    source = StreamSource(Adaptation, stored, PatchConfig(size=SIZE), seed=3)
    assert [source.streams[0].describe(n)[1] for n in range(8)] != [source.streams[1].describe(n)[1] for n in range(8)]
    again = StreamSource(Adaptation, stored, PatchConfig(size=SIZE), seed=3)
    assert np.array_equal(source[5]["target"], again[5]["target"])


def test_no_stream_without_labels_reads_one(stored):
    source = StreamSource(Adaptation, stored, balanced(), seed=1)
    assert "label" in source.streams[0][0]
    assert "label" not in source.streams[1][0]


@pytest.mark.parametrize("kind", [Adaptation, Unpaired, Images])
def test_the_row_loses_a_label_that_may_not_be_seen_and_nothing_else(kind):
    roles = Roles(inputs=("t1",), target="ct", labels="label")
    images = {"t1": Path("/t1.nii"), "label": Path("/label.nii")}
    seen = {domain: visible(Case("a", "train", domain, images), kind, roles) for domain in ("source", "target", None)}
    of_source = {"t1", "label"} if kind is Adaptation else {"t1"}
    assert {domain: set(case.images) for domain, case in seen.items()} == {
        "source": of_source, "target": {"t1"}, None: of_source
    }  # fmt: skip
    spelt = Case("a", "train", "target", {"t1": Path("/t1.nii"), "seg": Path("/seg.nii")})
    assert visible(spelt, kind, Roles(inputs=("t1",), labels="label|seg")).images.keys() == {"t1"}
    assert visible(spelt, Labelled, Roles(inputs=("t1",), labels="label|seg")) is spelt


def test_a_row_keeps_the_images_of_its_own_streams(tmp_path):
    """A case with one of two inputs and a target is of the target's side alone, so its input is not prepared."""
    roles = Roles(inputs=("t1", "t2"), target="ct")
    images = {name: Path(f"/{name}.nii") for name in ("t2", "ct", "pd")}
    assert visible(Case("a", "train", None, images), Unpaired, roles).images.keys() == {"ct", "pd"}
    whole = Case("b", "train", None, images | {"t1": Path("/t1.nii")})
    assert visible(whole, Unpaired, roles) is whole
    assert visible(whole, Images, roles).images.keys() == {"t1", "t2", "pd"}


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
        StreamSource(Adaptation, [case for case in stored if case.domain == domain], balanced(), seed=0)


def test_batches_of_pairs(stored):
    source = StreamSource(Adaptation, stored, balanced(), seed=0)
    (batch,) = patch_batches(source, Adaptation, batch=2, start=0, stop=1)
    assert batch.source.shape == batch.target.shape == (2, 2, *SIZE)
    assert batch.label.shape == (2, 1, *SIZE)


def test_a_labelled_case_without_label_is_named(stored):
    cases = [replace(case, files=case.files - {"label"}) if case.domain != "target" else case for case in stored]
    with pytest.raises(InputError, match=r"learns from 'label', which 2 cases lack, 'source_0' first"):
        StreamSource(Adaptation, cases, PatchConfig(size=SIZE), seed=0)


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
