"""Runs of methods that make no label map and no image of a pair: slices, unpaired cases, scores, memory, weights."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import tiny
import torch

from medgen.errors import InputError, Preempted, UsageError
from medgen.inference.opened import open_model
from medgen.run.experiment import prepare, train
from medgen.training.checkpoint import load_checkpoint, load_weights
from medgen.training.model_folder import load_stages

SCHEDULE = {"steps": 6, "batch": 2, "validate_every": 3, "save_every": 2, "averaging": None}
VAE = tiny.recipe(
    method="vae", patches={"size": [16, 16], "sampling": "centred"}, data={"target": None}, schedule=SCHEDULE
) | {"config": {"latent": 4, "width": 0.125, "levels": 2}}
CYCLEGAN = tiny.recipe(method="cyclegan", patches={"size": [16, 16]}, schedule=SCHEDULE) | {
    "config": {"width": 0.0625, "blocks": 1, "history": 4}
}

GROWING = tiny.recipe(
    method="progressive_gan",
    patches={"size": [16, 16, 16], "sampling": "centred"},
    data={"target": None},
    schedule=SCHEDULE | {"averaging": 0.9},
) | {"config": {"latent": 4, "width": 0.25}}


@pytest.fixture
def cases(tmp_path) -> Path:
    return tiny.write_cases(tmp_path / "cases")


def alone(table: Path) -> Path:
    """The same cases, of which the first training case keeps its CT alone and the second its T1 alone."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    rows[0]["t1"], rows[1]["ct"] = "", ""
    other = table.with_name("unpaired.csv")
    with other.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return other


def validations(run: Path) -> list[dict[str, float]]:
    records = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [record["validation"] for record in records if "validation" in record]


def test_a_model_of_slices_is_trained_scored_and_kept_by_its_own_score(cases, tmp_path):
    run = train(VAE, cases, tmp_path / "run", device="cpu")
    scores = [each["negative_elbo"] for each in validations(run)]
    assert len(scores) == 2
    done = json.loads((run / "checkpoints" / "stage0" / "done.json").read_text())
    assert done["best_value"] == pytest.approx(min(scores))
    model = json.loads((run / "model" / "model.json").read_text())
    assert model["task"] == "generation"
    assert model["shape"] == {"inputs": 1, "outputs": 1, "size": [16, 16], "context": 0, "dimensions": 2}
    (method,), _ = load_stages(run)
    assert method.sample(2, torch.Generator().manual_seed(0)).shape == (2, 1, 16, 16)


def test_the_same_held_out_patches_are_scored_at_every_validation(cases, tmp_path):
    frozen = VAE | {"config": {**VAE["config"], "learning_rate": 1e-30}}
    first, second = validations(train(frozen, cases, tmp_path / "run", device="cpu"))
    assert first["l1"] == pytest.approx(second["l1"], rel=1e-4)


def test_unpaired_cases_are_enough_and_each_has_its_own_grid(cases, tmp_path):
    table = alone(cases)
    store = prepare(CYCLEGAN, table, tmp_path / "store", workers=1)
    held = {case.name: sorted(case.files & {"image", "target"}) for case in store.cases if case.split == "train"}
    assert held == {"case0": ["target"], "case1": ["image"], "case2": ["image", "target"]}
    run = train(CYCLEGAN, table, tmp_path / "run", device="cpu", store=tmp_path / "store")
    scores = validations(run)
    assert {"mae", "cycle_source", "cycle_target"} <= set(scores[-1])
    done = json.loads((run / "checkpoints" / "stage0" / "done.json").read_text())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(record["constant"]["mae"] > 0 for record in records if "validation" in record)
    # The pairs of validation are for the log: a method without pairs does not choose its weights by them.
    assert done["best_value"] == pytest.approx(min(each["cycle_source"] for each in scores))


def test_a_method_for_pairs_still_wants_pairs(cases, tmp_path):
    with pytest.raises(InputError, match=r"no image for (t1|ct) in 1 of 4"):
        train(tiny.RECIPE, alone(cases), tmp_path / "run", device="cpu")


def test_one_side_that_nobody_has_is_an_error_before_training(cases, tmp_path):
    rows = [row.split(",") for row in cases.read_text().splitlines()]
    column = rows[0].index("ct")
    bare = cases.with_name("bare.csv")
    for row in rows[1:]:
        row[column] = ""
    bare.write_text("\n".join(map(",".join, rows)))
    with pytest.raises(InputError, match="learns from 'target', and no training case has an image for it"):
        train(CYCLEGAN, bare, tmp_path / "run", device="cpu")


def test_memory_is_resumed_exactly_and_stays_out_of_the_model(cases, tmp_path):
    """The history of earlier images decides what the discriminators see, so without it the weights would differ."""

    def progress(done, total, what):
        if "stage" in what and done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    train(CYCLEGAN, cases, tmp_path / "whole", device="cpu")
    with pytest.raises(Preempted):
        train(CYCLEGAN, cases, tmp_path / "run", device="cpu", progress=progress)
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "stage0")
    assert [len(each["targets"]["images"]) for each in saved["memory"]] == [4]
    train(CYCLEGAN, cases, tmp_path / "run", device="cpu", resume=True)
    whole, resumed = (
        load_weights(tmp_path / name / "checkpoints" / "stage0" / "final.safetensors") for name in ("whole", "run")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    exported = load_weights(tmp_path / "run" / "model" / "weights.safetensors")
    assert {name.split(".")[1] for name in exported} == {"to_target", "to_source"}
    assert {name.split(".")[0] for name in whole} == {"to_target", "to_source", "of_target", "of_source"}


def test_growth_that_is_interrupted_inside_a_fade_ends_with_the_same_weights(cases, tmp_path):
    """And the model of the checkpoint knows how far it has grown, though its weights are averaged."""

    def progress(done, total, what):
        if "stage" in what and done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    train(GROWING, cases, tmp_path / "whole", device="cpu")
    with pytest.raises(Preempted):
        train(GROWING, cases, tmp_path / "run", device="cpu", progress=progress)
    last = load_model_of(tmp_path / "run")
    assert last.generator.grown.level == 1
    assert last.generator.grown.alpha == pytest.approx(1 / 6 / 0.64 * 4 - 1, abs=1e-5)
    assert last.sample(1, torch.Generator().manual_seed(0)).shape == (1, 1, 16, 16, 16)
    train(GROWING, cases, tmp_path / "run", device="cpu", resume=True)
    whole, resumed = (
        load_weights(tmp_path / name / "checkpoints" / "stage0" / "final.safetensors") for name in ("whole", "run")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    (method,), _ = load_stages(tmp_path / "run")
    assert method.generator.grown.level == 2


def load_model_of(run: Path):
    """The averaged network of the last checkpoint of a run that has not ended."""
    return open_model(run, "cpu", (), "last").method


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patches": {"size": [16, 16], "sampling": "balanced"}}, "the method 'vae' never sees labels"),
        ({"patches": {"size": [18, 18]}}, r"the patches are \[18, 18\] voxels; this network needs .* divisible by 4"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_prepared(cases, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        train(VAE | changes, cases, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_method_of_volumes_refuses_slices(cases, tmp_path):
    flat = tiny.recipe(patches={"size": [32, 32]})
    with pytest.raises(UsageError, match=r"'context_aware_gan' has 3 dimensions, and the patches \[32, 32\]"):
        train(flat, cases, tmp_path / "run", device="cpu")
