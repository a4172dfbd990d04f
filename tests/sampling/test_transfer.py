"""The conditional quantile map: right where a marginal one is wrong, the same each time, and blind to labels."""

import numpy as np
import pytest

from medgen.cases import read_cases
from medgen.errors import UsageError
from medgen.preparation import Preparation, PreparationConfig, Roles, build_store
from medgen.run.experiment import train
from medgen.sampling.batches import Adaptation, MatchedAdaptation
from medgen.sampling.loading import patch_batches
from medgen.sampling.patches import PatchConfig
from medgen.sampling.streams import StreamSource
from medgen.sampling.transfer import QuantileMap, Transfer, TransferConfig, fit_transfer, sample_voxels
from tests.tiny_domains import recipe, write_domains

INPUTS = ("t1", "ge|swi")
SIZE = (8, 8, 8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    table = read_cases(write_domains(folder))
    roles = Roles(inputs=INPUTS, labels="label", mask="mask")
    return build_store(table.cases, Preparation(roles, PreparationConfig(spacing=None)), folder / "store").cases


def two_tissues(count: int = 4000):
    """Half of the voxels oedema (other channel 1), half white matter (other channel 0), values evenly spaced.

    S: white matter 0 to 1, oedema 2 to 3, bright. T: white matter 10 to 12, oedema 6 to 7, dark.
    """
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    other = np.repeat(np.float32([0, 1]), count)
    return np.stack([np.concatenate([ramp, 2 + ramp]), other]), np.stack(
        [np.concatenate([10 + 2 * ramp, 6 + ramp]), other]
    )


def test_a_tissue_that_changes_its_sign_is_mapped_right():
    """White matter 0.25 is its lower quartile: 10.5. Oedema 2.75 is its upper one: 6.75."""
    mapped = QuantileMap(*two_tissues())(np.float32([0.25, 2.75]), np.float32([[0, 1]]))
    assert mapped == pytest.approx([10.5, 6.75], abs=1e-3)
    assert mapped.dtype == np.float32


def test_without_other_channels_the_same_tissue_is_mapped_wrong():
    """0.25 is the quantile 1/8 of S and 2.75 the quantile 7/8: 6.25 and 11.5 in T, bright and dark the wrong way."""
    source, target = two_tissues()
    mapped = QuantileMap(source[:1], target[:1])(np.float32([0.25, 2.75]), np.empty((0, 2), np.float32))
    assert mapped == pytest.approx([6.25, 11.5], abs=1e-2)


def test_the_other_channels_are_compared_by_rank():
    """T's other channel has another gain and offset; nothing is to change."""
    source, target = two_tissues()
    target[1] = 50 + 7 * target[1]
    assert QuantileMap(source, target)(np.float32([0.25]), np.float32([[0]])) == pytest.approx([10.5], abs=1e-3)


def test_two_other_channels_decide_together():
    """T = S + 10 * (a xor b): neither a nor b alone says anything."""
    a, b = np.repeat([0, 0, 1, 1], 1000), np.repeat([0, 1, 0, 1], 1000)
    ramp = np.tile(np.linspace(0, 1, 1000), 4)
    source, target = np.float32([ramp, a, b]), np.float32([ramp + 10 * (a != b), a, b])
    given = np.float32([[0, 0, 1, 1], [0, 1, 0, 1]])
    learnt = QuantileMap(source, target)
    assert learnt.conditional == 4
    assert learnt(np.full(4, 0.5, np.float32), given) == pytest.approx([0.5, 10.5, 10.5, 0.5], abs=1e-3)


def test_a_bin_with_few_voxels_takes_the_marginal_map():
    """100 voxels of oedema are too few: 2.5 is treated as a value of all of S, the largest but 50 of 4100."""
    source, target = two_tissues()
    few = [*range(4000), *range(4000, 8000, 40)]
    learnt = QuantileMap(source[:, few], target[:, few])
    marginal = QuantileMap(source[:1, few], target[:1, few])
    assert learnt.conditional == 1
    value, given = np.float32([2.5]), np.float32([[1]])
    assert learnt(value, given) == marginal(value, np.empty((0, 1), np.float32))
    assert learnt(value, given) != pytest.approx([6.5], abs=1)


def test_beyond_the_quantiles_it_goes_on_straight_within_the_range_of_the_target():
    """Oedema 3.5 lies 0.5 beyond S: 7.5. White matter 1.5 would be 13, but T ends at 12; -9 would be -8: 6."""
    mapped = QuantileMap(*two_tissues())(np.float32([3.5, 1.5, -9]), np.float32([[1, 0, 1]]))
    assert mapped == pytest.approx([7.5, 12, 6], abs=1e-2)


def test_one_value_becomes_the_mean_of_what_the_target_has():
    """A channel that is 0 throughout has no ranks: the middle of T, not its end."""
    source = np.zeros((1, 1000), np.float32)
    target = np.linspace(0, 8, 1001, dtype=np.float32)[None]
    assert QuantileMap(source, target)(np.float32([0]), np.empty((0, 1), np.float32)) == pytest.approx([4])


def test_it_never_falls_within_a_bin_and_agrees_with_interpolation():
    generator = np.random.default_rng(0)
    source = generator.normal(size=(1, 5000)).astype(np.float32)
    target = generator.gamma(2, size=(1, 5000)).astype(np.float32)
    values = np.linspace(source.min(), source.max(), 999, dtype=np.float32)
    mapped = QuantileMap(source, target)(values, np.empty((0, 999), np.float32))
    assert (np.diff(mapped) >= -1e-6).all()
    levels = np.linspace(0, 1, 33)
    expected = np.interp(values, np.quantile(source, levels), np.quantile(target, levels))
    assert mapped == pytest.approx(expected, abs=1e-5)


def test_of_more_than_two_others_the_pair_that_explains_most_is_taken(stored, monkeypatch):
    """Channel 0 = 1 + 3; 2 is 1 with noise: alone the second best, but beside 1 it adds nothing."""
    one, three, noise = np.random.default_rng(0).normal(size=(3, 3000))
    values = np.stack([2 * one + three, one, one + 0.3 * noise, three])
    monkeypatch.setattr("medgen.sampling.transfer.sample_voxels", lambda cases: values)
    names = ("swi", "flair", "t2", "pd")
    assert fit_transfer(TransferConfig(input="swi"), names, stored, stored).given == (1, 3)
    named = TransferConfig(input="swi", given=("pd", "t2"))
    assert fit_transfer(named, names, stored, stored).given == (3, 2)
    assert fit_transfer(TransferConfig(input="swi", given=()), names, stored, stored).given == ()


def test_voxels_are_evenly_spaced_in_the_mask_and_shared_by_the_cases(stored):
    found = sample_voxels(stored[:2], 20)
    assert found.shape == (2, 20)
    first, last = stored[0].candidates[0], stored[0].candidates[-1]
    flat = stored[0].image.reshape(2, -1)
    assert np.array_equal(found[:, [0, 9]], flat[:, [first, last]])
    whole = sum(len(case.candidates) for case in stored[:2])
    assert sample_voxels(stored[:2], 10**6).shape == (2, whole)


def test_only_the_shifted_channel_and_only_the_mask_change():
    learnt = QuantileMap(*two_tissues())
    source = np.stack([np.zeros(SIZE), np.full(SIZE, 0.25)]).astype(np.float32)
    mask = np.zeros((1, *SIZE), np.float32)
    mask[0, :4] = 1
    changed = Transfer(learnt, 1, (0,), 1.0)({"source": source.copy(), "mask": mask}, np.random.default_rng(0))
    assert np.array_equal(changed["source"][0], source[0])
    assert changed["source"][1, :4] == pytest.approx(10.5, abs=1e-3)
    assert np.array_equal(changed["source"][1, 4:], source[1, 4:])


def transferred(stored, **changes) -> StreamSource:
    config = PatchConfig(size=SIZE, transfer=TransferConfig(input="ge|swi", **changes))
    return StreamSource(Adaptation, stored, config, seed=5, inputs=INPUTS)


def test_patches_hold_the_mapped_voxels_of_the_same_places(stored):
    plain, mapped = StreamSource(Adaptation, stored, PatchConfig(size=SIZE), seed=5), transferred(stored)
    own, other = (sample_voxels([case for case in stored if case.domain == domain]) for domain in ("source", "target"))
    learnt = QuantileMap(own[::-1], other[::-1])
    for n in range(4):
        before, after = plain[n], mapped[n]
        inside = before["mask"][0] > 0
        assert np.array_equal(after["source"][0], before["source"][0])
        expected = learnt(before["source"][1][inside], before["source"][:1, inside])
        assert np.array_equal(after["source"][1][inside], expected)
        assert np.array_equal(after["source"][1][~inside], before["source"][1][~inside])
        assert all(np.array_equal(after[name], before[name]) for name in before.keys() - {"source"})


def test_a_share_of_the_patches_is_changed(stored):
    plain, mapped = (
        StreamSource(Adaptation, stored, PatchConfig(size=SIZE), seed=5),
        transferred(stored, probability=0.25),
    )
    changed = [not np.array_equal(plain[n]["source"], mapped[n]["source"]) for n in range(200)]
    assert 30 <= sum(changed) <= 70
    assert changed == [not np.array_equal(plain[n]["source"], mapped[n]["source"]) for n in range(200)]


def test_patches_do_not_depend_on_the_workers(stored):
    def sources(workers: int) -> list:
        source = transferred(stored, probability=0.5)
        batches = patch_batches(source, Adaptation, batch=2, start=0, stop=3, workers=workers)
        return [batch.source.numpy() for batch in batches]

    assert np.array_equal(sources(0), sources(2))


def test_a_name_that_is_no_input_is_refused(stored):
    for settings in ({"input": "swi"}, {"input": "t1", "given": ("pd",)}, {"input": "t1", "given": ("t1",)}):
        config = PatchConfig(size=SIZE, transfer=TransferConfig(**settings))
        with pytest.raises(UsageError, match=r"patches\.transfer names"):
            StreamSource(Adaptation, stored, config, 0, inputs=INPUTS)


def test_a_method_that_does_not_adapt_is_refused_before_anything_is_made(tmp_path):
    patches = {"transfer": {"input": "ge|swi"}}
    with pytest.raises(UsageError, match="second domain"):
        train(recipe(patches=patches), write_domains(tmp_path / "data"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_patches_that_match_the_target_are_transferred_like_the_labelled_ones(stored):
    settings = PatchConfig(size=SIZE, transfer=TransferConfig(input="ge|swi"))
    plain, mapped = (
        StreamSource(MatchedAdaptation, stored, each, seed=5, inputs=("t1", "ge|swi"))
        for each in (PatchConfig(size=SIZE), settings)
    )
    before, after = plain[0], mapped[0]
    assert np.array_equal(before["target"], after["target"])
    assert np.array_equal(before["matched"][0], after["matched"][0])
    assert not np.array_equal(before["matched"][1], after["matched"][1])


def test_a_recipe_with_transfer_trains(tmp_path):
    cases = write_domains(tmp_path / "data")
    settings = recipe(method="entropy_minimisation", patches={"transfer": {"input": "ge|swi"}}, schedule={"steps": 1})
    run = train(settings, cases, tmp_path / "run", device="cpu")
    assert (run / "model" / "model.json").is_file()
    assert "transfer:\n    input: ge|swi" in (run / "recipe.yaml").read_text()
