"""What a recipe may ask for: absurd numbers and shapes of a file are refused at once, with the number and the limit."""

import time
from pathlib import Path
from typing import Any

import pytest
import tiny_domains
import yaml

from medgen.errors import UsageError
from medgen.recipe.check import check_recipe
from medgen.recipe.settings import load_recipe
from medgen.recipe.yaml import read_yaml

RECIPE: dict[str, Any] = {"method": "supervised", "data": {"inputs": ["t1"], "target": "ct"}}


@pytest.mark.parametrize(
    ("change", "found", "limit"),
    [
        ("schedule.batch=100000000", "100000000", "65536"),
        ("schedule.steps=1000000000000000", "1000000000000000", "1000000000"),
        ("schedule.accumulate=10000000", "10000000", "65536"),
        ("schedule.workers=100000", "100000", "256"),
        ("schedule.validate_every=1e15", "1000000000000000", "1000000000"),
        ("schedule.clip=1e30", "1e+30", "1,000,000"),
        ("schedule.clip=.nan", "nan", "finite"),
        ("schedule.clip=.inf", "inf", "finite"),
        ("schedule.learning_rate={kind: polynomial, power: 1e300}", "1e+300", "1,000,000"),
        ("schedule.health={cases: 99999999}", "99999999", "1,000,000"),
        ("seed=4294967296", "4294967296", "4294967296"),
        ("seed=-1", "-1", "0"),
        ("patches.size=[1000000,32,32]", "1000000", "4096"),
        ("patches.size=[0,32,32]", "0", "1"),
        ("preparation.spacing=[1e-9,1,1]", "1e-09", "0.01"),
        ("preparation.body_margin=1e9", "1000000000", "1000"),
        ("preparation.intensity={t1: {window: [0, 1e30]}}", "1e+30", "1,000,000"),
        ("inference.size=[99999,32,32]", "99999", "4096"),
        ("inference.batch=1000000000", "1000000000", "65536"),
        ("inference.minimum_ml=1e12", "1000000000000", "1,000,000"),
        ("config.l1_weight=1e20", "1e+20", "1,000,000"),
        ("config.stages=500000", "500,000", "10,000"),
        ("config.width=.nan", "nan", "finite"),
    ],
)
def test_an_absurd_number_is_refused_with_the_limit(change: str, found: str, limit: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_recipe(load_recipe(RECIPE, [change]))
    assert found in caught.value.what
    assert limit in caught.value.what
    assert change.partition("=")[0].split(".")[-1] in caught.value.what


def test_what_is_large_and_meant_passes() -> None:
    changes = ("schedule.steps=1000000000", "seed=4294967295", "schedule.batch=2048", "patches.size=[96,96,96]")
    assert load_recipe(RECIPE, changes).schedule.steps == 10**9


def test_patches_that_no_memory_holds_together() -> None:
    with pytest.raises(UsageError, match=r"65536 patches of 512 x 512 x 512 .* voxels at once, and the limit is"):
        load_recipe(RECIPE, ["schedule.batch=65536", "patches.size=[512,512,512]"])
    load_recipe(RECIPE, ["schedule.batch=64", "schedule.accumulate=16", "patches.size=[512,512,512]"])


@pytest.mark.parametrize("width", ["1000", "1e6"])
def test_networks_that_no_memory_holds_take_none(width: str) -> None:
    with pytest.raises(UsageError, match=r"weights, and the limit is|cannot be built"):
        check_recipe(load_recipe(RECIPE, [f"config.width={width}"]))


MONAI = {"network": {"monai": "UNet", "arguments": {"channels": [10_000, 10_000], "strides": [2]}}}


def test_a_network_of_monai_is_counted_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2.7 billion weights: nothing is drawn to look at them, and a machine of 40 GB does not begin to train them."""
    from medgen.cli import main
    from medgen.networks import monai_network

    def drawn(values: str) -> None:
        raise AssertionError("weights were drawn")

    monkeypatch.setattr(monai_network, "built", drawn)
    recipe = {"method": "segmentation", "config": MONAI, "data": {"inputs": ["t1"], "labels": "label"}}
    recipe |= {"patches": {"size": [16, 16, 16]}, "schedule": {"precision": "32"}}
    check_recipe(load_recipe(recipe, ["data.classes={lesion: [1]}"]))
    table = tiny_domains.write_domains(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"data": {**recipe["data"], "domains": ["source"]}}))
    monkeypatch.setattr("medgen.run.planning.total_bytes", lambda: 4e10)
    arguments = ["train", str(tmp_path / "recipe.yaml"), "--cases", str(table), "--device", "cpu"]
    for more in ([], ["--plan"]):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--out", str(tmp_path / "run"), *more])
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert "2,701," in said
        assert "40 GB" in said
        assert f"in: {tmp_path / 'recipe.yaml'}" in said
        assert not (tmp_path / "run").exists()


def laughs(levels: int, repeats: int) -> str:
    """Lists of lists that repeat each other: ``repeats`` to the power of ``levels`` items when they are written out."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * repeats)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested 33 deep, and the limit is 32"),
        ("{a: " * 10_000 + "1", "nested 33 deep"),
        ("\n".join("  " * n + "a:" for n in range(500)), "nested 33 deep"),
        (laughs(30, 9), "repeats of named parts"),
        ("a: &a [*a]", "holds itself"),
        ("a: 1" + "0" * 10_000, "digits, and the limit is"),
        ("a: 0x" + "f" * 10_000, "digits, and the limit is"),
        ("# " + "x" * 1_000_001, "characters, and the limit is 1,000,000"),
    ],
    ids=["lists", "tables", "blocks", "laughs", "itself", "digits", "hexadecimal", "long"],
)
def test_a_document_that_would_grow_or_sink_is_refused_at_once(text: str, said: str, tmp_path: Path) -> None:
    began = time.process_time()
    with pytest.raises(yaml.YAMLError, match=said):
        read_yaml(text)
    assert time.process_time() - began < 5
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        load_recipe(tmp_path / "recipe.yaml")


def test_parts_that_are_named_once_and_used_twice_are_plain_yaml() -> None:
    assert read_yaml("a: &size [32, 32, 32]\nb: *size") == {"a": [32, 32, 32], "b": [32, 32, 32]}


def test_the_precision_may_be_a_bare_number():
    assert load_recipe(RECIPE, ["schedule.precision=32"]).schedule.precision == "32"
    with pytest.raises(UsageError, match=r"'schedule\.precision' is '16'"):
        load_recipe(RECIPE, ["schedule.precision=16"])
