"""What is wrong with a network that trains without an error is named in the log, in run.json and in the report."""

import json
import math

import numpy as np
import pytest
import tiny
import tiny_domains
import torch

from medgen.baselines.constant import constant_error, constant_of
from medgen.methods.catalogue import resolve
from medgen.methods.context_aware_gan import ContextAwareGAN
from medgen.methods.supervised import Supervised
from medgen.preparation.task import SEGMENTATION, SYNTHESIS
from medgen.report import write_report
from medgen.run.experiment import prepare, train
from medgen.run.warnings import FOR_GOOD, kept_warnings, winning_discriminator, worse_than_constant

SCHEDULE = {"steps": 4, "validate_every": 2, "save_every": 4, "averaging": None}
UNTRAINED = tiny.recipe(
    method="supervised", config={"context": "none", "learning_rate": 1e-30}, schedule={**SCHEDULE, "steps": 2}
)


@pytest.fixture
def cases(tmp_path):
    return tiny.write_cases(tmp_path / "cases", train=2)


@pytest.mark.parametrize(
    ("task", "found", "constant", "warns"),
    [
        (SYNTHESIS, {"mae": 80.0}, {"mae": 72.0}, True),
        (SYNTHESIS, {"mae": 72.0}, {"mae": 72.0}, True),
        (SYNTHESIS, {"mae": 71.0}, {"mae": 72.0}, False),
        (SYNTHESIS, {"mae": math.nan}, {"mae": 72.0}, True),
        (SEGMENTATION, {"dice": 0.01}, {"dice": 0.02}, True),
        (SEGMENTATION, {"dice": 0.03}, {"dice": 0.02}, False),
        (SYNTHESIS, {"mae": 80.0}, {}, False),
        (SYNTHESIS, {"cycle_source": 1.0}, {"mae": 72.0}, False),
    ],
)
def test_a_validation_has_to_beat_the_constant(task, found, constant, warns):
    assert bool(worse_than_constant(task, found, constant)) == warns


def test_the_constant_of_an_image_is_the_median_of_the_training_cases_alone(cases, tmp_path):
    store = prepare(UNTRAINED, cases, tmp_path / "store", workers=1)
    training, held_out = store.select(split="train"), store.select(split="val")
    median = np.median(np.concatenate([case.target[0][case.mask > 0] for case in training]))
    assert constant_of(SYNTHESIS, training, 1) == (pytest.approx(median, abs=1e-4),)
    (case,) = held_out
    by_hand = np.abs(case.target[0] - median)[case.mask > 0].mean() * 1512  # half of the window of 3024 HU
    assert constant_error(SYNTHESIS, training, held_out, store.preparation, 1) == pytest.approx(by_hand, rel=1e-3)
    assert constant_error(SYNTHESIS, (), held_out, store.preparation, 1) is None


def test_the_constant_of_a_label_map_is_the_lesion_everywhere_in_the_mask(tmp_path):
    table = tiny_domains.write_domains(tmp_path / "cases", train=2, val=1)
    recipe = tiny_domains.recipe(data={"domains": ["source"]})
    store = prepare(recipe, table, tmp_path / "store", workers=1)
    training = store.select(split="train", domain="source")
    held_out = store.select(split="val", domain="source")
    assert constant_of(SEGMENTATION, training, 2) == (0.0, 1.0)
    (case,) = held_out
    share = (case.label > 0).sum() / (case.mask > 0).sum()
    error = constant_error(SEGMENTATION, training, held_out, store.preparation, 2)
    assert error == pytest.approx(2 * share / (1 + share))


def test_what_a_constant_would_do_better_is_told_everywhere(cases, tmp_path, caplog):
    run = train(UNTRAINED, cases, tmp_path / "run", device="cpu")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (validation,) = [record for record in records if "validation" in record]
    assert validation["constant"]["mae"] < validation["validation"]["mae"]
    (warning,) = [text for text in json.loads((run / "run.json").read_text())["warnings"] if "constant" in text]
    assert warning.startswith("stage0: the validation is not better than a constant")
    assert "not better than a constant" in caplog.text
    page = write_report(run, tmp_path / "report.html").read_text()
    assert warning in page
    assert page.index(warning) < page.index("<section")


def test_a_generator_that_ignores_its_input_is_named(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(Supervised, "predict", lambda self, image, generator=None: torch.zeros_like(image[:, :1]))
    monkeypatch.setattr(Supervised, "updates", lambda self, batch, progress: iter(()))
    run = train(UNTRAINED, cases, tmp_path / "run", device="cpu")
    assert any("ignores its input" in text for text in json.loads((run / "run.json").read_text())["warnings"])


def test_one_that_reads_it_is_not(cases, tmp_path):
    run = train({**UNTRAINED, "seed": 1}, cases, tmp_path / "run", device="cpu")
    assert not any("ignores" in text for text in json.loads((run / "run.json").read_text())["warnings"])


def test_samples_that_are_all_alike_are_named(cases, tmp_path, monkeypatch):
    vae = resolve("vae")
    monkeypatch.setattr(vae, "sample", lambda self, count, generator, temperature=1.0: torch.zeros(count, 1, 16, 16))
    recipe = tiny.recipe(
        method="vae", patches={"size": [16, 16], "sampling": "centred"}, data={"target": None}, schedule=SCHEDULE
    ) | {"config": {"latent": 4, "width": 0.125, "levels": 2}}
    run = train(recipe, cases, tmp_path / "run", device="cpu")
    assert any("ignores its noise" in text for text in json.loads((run / "run.json").read_text())["warnings"])


def log_of(path, losses: list[float]):
    lines = (
        {"part": "stage0", "step": 10 * n, "losses": {"discriminator/real": value, "discriminator/fake": value}}
        for n, value in enumerate(losses)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("losses", "won"),
    [
        ([0.69] * 20 + [0.01] * FOR_GOOD, True),
        ([0.69] * 20 + [0.01] * (FOR_GOOD - 1), False),
        ([0.01] * 20 + [0.69], False),
        ([0.69] * 60 + [0.01] * 15, False),  # less than the last quarter
        ([0.69] * 60, False),
        ([], False),
    ],
)
def test_a_discriminator_wins_for_good(tmp_path, losses, won):
    method = ContextAwareGAN.__new__(ContextAwareGAN)
    told = winning_discriminator(log_of(tmp_path / "metrics.jsonl", losses), "stage0", method)
    assert bool(told) == won
    assert not winning_discriminator(tmp_path / "metrics.jsonl", "stage1", method)


@pytest.mark.parametrize("name", ["context_aware_gan", "cyclegan", "adversarial_detector", "gan"])
def test_a_discriminator_that_cannot_tell_has_the_loss_of_chance(name):
    """A discriminator whose output is 0 everywhere (0.5 for least squares) has the loss that the method states."""
    from test_methods import batch_for, small

    method = small(name, adversary_from=0.0)
    logit = 0.5 if name == "cyclegan" else 0.0
    for part in [each for each in method.children() if "discriminator" in type(each).__name__.lower()]:
        part.forward = lambda *images: torch.full((2, 1), logit, requires_grad=True)
    (opponent,) = method.opponents
    updates = [each for each in method.updates(batch_for(method), 0.9) if each.optimizer == opponent]
    assert sum(loss.item() for loss in updates[0].losses.values()) == pytest.approx(method.opponents[opponent])


def test_the_warnings_of_the_weights_that_were_kept_count(tmp_path):
    log = tmp_path / "metrics.jsonl"
    lines = [
        {"part": "stage0", "step": 9, "warnings": ["worse"]},
        {"part": "stage0", "step": 19, "warnings": []},
        {"part": "stage1", "step": 9, "warnings": []},
        {"part": "stage1", "step": 19, "warnings": ["blind"]},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = {"stage0": {"best_step": 20, "warnings": ["went back"]}, "stage1": {}}
    assert kept_warnings(log, done) == ["stage0: went back", "stage1: blind"]
    assert kept_warnings(log, {"stage0": {"best_step": 10}}) == ["stage0: worse"]
    assert kept_warnings(tmp_path / "none", {"stage0": {}}) == []
