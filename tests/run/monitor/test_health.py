"""Health without labels: what is seen, what is thought of it, and what it is worth."""

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from medgen.cases import DOMAINS
from medgen.errors import InputError
from medgen.methods.base import Predicts, Shape, Window
from medgen.methods.catalogue import create
from medgen.preparation import StoredCase
from medgen.recipe.settings import HealthConfig, load_recipe
from medgen.run.experiment import train
from medgen.run.monitor import RULE, MonitorRecord, adaptation_manifest, judge, rank_checkpoints, read_records
from medgen.run.monitor.monitor import monitored_cases
from medgen.run.monitor.signals import case_signals, choose_subset, measure
from medgen.run.monitor.snapshots import list_snapshots, write_snapshot_model
from medgen.sampling.batches import Labelled
from medgen.training.checkpoint import load_weights
from medgen.training.engine import Engine
from medgen.training.model_folder import exported_state, load_stages
from medgen.volume import Volume, write_volume

SIDE = 20
RECIPE = {
    "method": "domain_adversarial",
    "config": {
        "network": "unet",
        "width": 0.25,
        "norm": "instance",
        "optimizer": "adam",
        "layers": ["bottom", "up2"],
        "begin": 0.3,
        "discriminator_width": 4,
        "discriminator_depth": 1,
    },
    "data": {"inputs": ["t1"], "labels": "label", "mask": "mask", "classes": {"lesion": [1]}},
    "preparation": {"spacing": None},
    "patches": {"size": [16, 16, 16], "sampling": "balanced"},
    "schedule": {"steps": 6, "batch": 2, "validate_every": 2, "health": {"cases": 2, "segments": 4}},
    "seed": 3,
}


def write_domains(folder):
    """Heads with a bright lesion in the source and a dark one in the target, which nobody labelled."""
    rows = [["case", "split", "domain", "t1", "label", "mask"]]
    axes = np.meshgrid(*[np.arange(SIDE) - SIDE / 2] * 3, indexing="ij")
    for number, (split, domain) in enumerate(
        [("train", "source"), ("train", "target"), *[("val", "source")] * 2, *[("val", "target")] * 2]
    ):
        generator = np.random.default_rng(number)
        radius = np.sqrt(sum(axis**2 for axis in axes))
        brain, lesion = radius < 0.45 * SIDE, radius < generator.uniform(0.15, 0.25) * SIDE
        image = np.where(lesion, 300.0 if domain == "source" else 20.0, 100.0) + generator.normal(0, 5, brain.shape)
        arrays = {"t1": np.where(brain, image, 0.0), "label": lesion, "mask": brain}
        row = [f"c{number}", split, domain]
        for role, data in arrays.items():
            path = folder / f"c{number}_{role}.nii.gz"
            volume = Volume(np.asarray(data, np.float32)[None], np.diag([2.0, 2.0, 2.0, 1.0]))
            write_volume(volume, path, kind="scalar" if role == "t1" else "label")
            row.append("" if role == "label" and domain == "target" else path.name)
        rows.append(row)
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "cases.csv"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"))


@pytest.fixture(scope="module")
def run(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    return train(RECIPE, cases, folder, overrides=["schedule.snapshots=true"], device="cpu")


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_validation_of_a_run_is_looked_at(run):
    looks = read_records(run / "metrics.jsonl")
    assert [look.step for look in looks] == [1, 3, 5]
    assert [look.warming_up for look in looks] == [True, False, False]  # the adversary begins after 0.3 of 6 steps
    validated = {line["step"]: line["validation"]["dice"] for line in lines(run) if "validation" in line}
    for look in looks:
        assert look["source_dice"] == validated[look.step]
        for signal in ("entropy", "volume", "lesions"):
            assert math.isfinite(look[f"{signal}_source"])
            assert math.isfinite(look[f"{signal}_target"])
        assert look.layers == ["down1", "down2", "down3", "bottom", "up3", "up2"]
        for name in ("discriminator_accuracy", *(f"domain_accuracy/{layer}" for layer in look.layers)):
            head, _, layer = name.partition("/")
            suffix = f"/{layer}" if layer else ""
            assert 0 <= look[f"{head}_low{suffix}"] <= look[name] <= look[f"{head}_high{suffix}"] <= 1


def test_the_verdict_stands_in_the_facts_of_the_run_with_its_rule(run):
    said = json.loads((run / "run.json").read_text())["adaptation"]
    assert said["verdict"] == judge(read_records(run / "metrics.jsonl")).word == lines(run)[-1]["verdict"]
    assert said["rule"] == RULE
    assert said["before"]["step"] == 1
    assert said["signals"]["source_dice"] == lines(run)[-1]["health"]["source_dice"]
    assert adaptation_manifest(run / "nothing") is None


def test_looking_changes_no_weight(run, cases, tmp_path):
    blind = train(RECIPE, cases, tmp_path / "run", overrides=["schedule.health=null"], device="cpu")
    watched, other = (load_weights(each / "model" / "weights.safetensors") for each in (run, blind))
    assert all(torch.equal(watched[name], other[name]) for name in watched)
    assert read_records(blind / "metrics.jsonl") == []
    assert "adaptation" not in json.loads((blind / "run.json").read_text())
    assert list_snapshots(blind) == {}


def test_snapshots_are_the_weights_of_each_validation(run, tmp_path):
    snapshots = list_snapshots(run)
    assert list(snapshots) == [1, 3, 5]
    folder = write_snapshot_model(run, 3, tmp_path / "model")
    (middle,), _ = load_stages(folder)
    (last,), _ = load_stages(run)
    kept = load_weights(snapshots[3])
    assert all(torch.equal(tensor, kept[name]) for name, tensor in exported_state(middle).items())
    assert any(not torch.equal(tensor, kept[name]) for name, tensor in exported_state(last).items())
    with pytest.raises(InputError, match="no snapshot of step 4"):
        write_snapshot_model(run, 4, tmp_path / "none")


def test_without_held_out_targets_it_is_said_and_nothing_is_watched(cases, tmp_path, caplog):
    rows = [row for row in csv.reader(cases.open()) if row[1:3] != ["val", "target"]]
    table = cases.with_name("no_target.csv")
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    blind = train(RECIPE, table, tmp_path / "run", overrides=["schedule.steps=1"], device="cpu")
    assert "the health of the adaptation is not monitored" in caplog.text
    assert read_records(blind / "metrics.jsonl") == []


def test_a_run_without_the_target_has_nothing_to_be_told(caplog):
    recipe = SimpleNamespace(schedule=SimpleNamespace(health=HealthConfig()), seed=0)
    session = SimpleNamespace(recipe=recipe, engine=SimpleNamespace(rank=0))
    source, target = (SimpleNamespace(name=domain, domain=domain, files={"image", "label"}) for domain in DOMAINS)
    for learnt, teach, told in (((source,), 0.5, False), ((source, target), 0.5, True), ((source, target), 1, False)):
        caplog.clear()
        part = SimpleNamespace(cases=learnt, held_out=(source,))
        method = create("confirmed_candidates", {"teach": teach, "network": "unet", "width": 0.25}, Shape(2, 2))
        assert monitored_cases(session, part, method) is None
        assert ("is not monitored" in caplog.text) == told


# What is seen: a method whose answers are known.


class Bright(nn.Module, Predicts):
    """Calls bright voxels lesion; its one feature map is the image."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold, self.shape, self.window = threshold, Shape(1, 2), Window()
        self.batch_class = Labelled

    def predict(self, image, generator=None):
        lesion = torch.where(image > self.threshold, 0.9, 0.1)
        return torch.cat([1 - lesion, lesion], 1)

    def named_maps(self, image):
        return image, {"image": image, "dead": torch.zeros_like(image)}

    def domain_logits(self, image, *, of_target):
        return torch.cat([torch.zeros_like(image), torch.ones_like(image)], 1)  # source, whatever it sees


def stored(folder, name, domain, level, *, label=True):
    """A box of tissue at ``level`` with two lesions at 2, one of 8 voxels and one of 1; outside the mask all is 5."""
    folder.mkdir(parents=True)
    image = np.full((1, 12, 12, 12), 5.0, np.float32)
    image[0, 1:11, 1:11, 1:11] = level + np.random.default_rng(len(name)).normal(0, 0.01, (10, 10, 10))
    image[0, 2:4, 2:4, 2:4] = image[0, 8, 8, 8] = 2.0
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[1:11, 1:11, 1:11] = 1
    arrays = {"image": image, "mask": mask, "body": np.ones_like(mask), "candidates": np.flatnonzero(mask)}
    if label:
        arrays["label"] = (image[0] == 2).astype(np.uint8)
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    return StoredCase(
        name, "val", domain, folder, (12, 12, 12), (10.0, 10.0, 5.0), (0.0,), (1,) if label else (), frozenset(arrays)
    )


def measured(tmp_path, shift, threshold=1.5, **changes):
    settings = {"patches": {"size": [4, 4, 4]}, "schedule": {"health": {"cases": 4, "segments": 16}}}
    recipe = load_recipe({"method": "segmentation", "data": RECIPE["data"], **settings, **changes})
    cases = [
        stored(tmp_path / f"{domain}{n}", f"{domain}{n}", domain, level)
        for domain, level in (("source", 0.0), ("target", shift))
        for n in range(4)
    ]
    subset = choose_subset(cases, recipe.schedule.health, seed=0)
    return measure(Bright(threshold), subset, recipe, Engine("cpu"), source_dice=0.5)


def test_signals_of_known_predictions(tmp_path):
    signals = measured(tmp_path, shift=1.0)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)  # the same in every voxel
    assert signals["entropy_source"] == pytest.approx(entropy, rel=1e-5)
    assert signals["volume_target"] == pytest.approx(9 * 0.5)  # ml; what is bright outside the mask is none
    assert signals["lesions_source"] == signals["lesions_target"] == 2
    assert signals["source_dice"] == 0.5
    assert signals["agreement_target"] == 1.0
    assert signals["domain_accuracy/image"] == 1.0
    assert signals["domain_accuracy_low/image"] > 0.75
    assert signals["domain_accuracy/dead"] == 0.5
    assert signals["discriminator_accuracy"] == 0.5


def test_segments_of_which_the_discriminator_sees_nothing_are_not_counted(tmp_path, monkeypatch):
    def says_source_of_one_segment(self, image, *, of_target):
        said = torch.full_like(image.expand(-1, 2, -1, -1, -1), torch.nan)
        said[0] = torch.tensor([0.0, 1.0])[:, None, None, None]
        return said

    def sees_the_target_alone(self, image, *, of_target):
        return torch.full_like(image.expand(-1, 2, -1, -1, -1), 0.0 if of_target else torch.nan)

    monkeypatch.setattr(Bright, "domain_logits", says_source_of_one_segment)
    assert measured(tmp_path / "one", shift=1.0)["discriminator_accuracy"] == 0.5
    monkeypatch.setattr(Bright, "domain_logits", sees_the_target_alone)
    assert "discriminator_accuracy" not in measured(tmp_path / "none", shift=1.0)


def test_agreement_falls_where_the_disturbance_decides(tmp_path):
    signals = measured(tmp_path, shift=1.0, threshold=1.0)  # the tissue itself lies on the threshold
    assert signals["agreement_target"] < 0.95


def test_domains_that_are_alike_are_not_told_apart(tmp_path):
    signals = measured(tmp_path, shift=0.0)
    assert signals["domain_accuracy_low/image"] < 0.5 < signals["domain_accuracy_high/image"]


def test_the_same_cases_are_drawn(tmp_path):
    held_out = [stored(tmp_path / f"{d}{n}", f"{d}{n}", d, 0.0) for d in ("source", "target") for n in range(6)]
    subset = choose_subset(held_out, HealthConfig(cases=3), seed=1)
    assert subset == choose_subset(held_out, HealthConfig(cases=3), seed=1)
    assert [len(part) for part in subset] == [3, 3]
    assert subset != choose_subset(held_out, HealthConfig(cases=3), seed=2)
    assert choose_subset(held_out[:6], HealthConfig(), seed=1) is None


def test_entropy_counts_the_mask_alone(tmp_path):
    case = stored(tmp_path / "one", "one", "target", 0.0)
    even = np.full((2, 12, 12, 12), 0.5, np.float32)
    assert case_signals(even, case).entropy == pytest.approx(1.0)
    sure = np.stack([np.ones((12, 12, 12), np.float32), np.zeros((12, 12, 12), np.float32)])
    sure[:, 0] = 0.5  # outside the mask
    assert case_signals(sure, case).entropy == pytest.approx(0.0, abs=1e-5)


# What is thought of it.

START = {
    "source_dice": 0.6,
    "entropy_source": 0.05,
    "entropy_target": 0.10,
    "volume_source": 10.0,
    "volume_target": 45.0,
    **{f"domain_accuracy{end}/{layer}": 0.9 for end in ("", "_low", "_high") for layer in ("4", "6", "8", "10")},
}


def verdict(now, start=None):
    warm = MonitorRecord(99, {**START, **(start or {})}, warming_up=True)
    return judge([warm, MonitorRecord(199, {**warm.signals, **now})])


@pytest.mark.parametrize(
    ("now", "word", "reason"),
    [
        ({}, "not adapting", "told apart in the late layers (8: 0.90 [0.90, 0.90], 10"),
        ({"volume_target": 30.0}, "healthy", "its volume came near the source's (factor 3, before 4.5)"),
        ({"volume_target": 39.0}, "not adapting", "neither volume nor entropy"),  # 0.9 of the distance is left
        ({"entropy_target": 0.06}, "healthy", "its entropy came near"),
        ({"domain_accuracy_low/10": 0.79}, "healthy", "not surely told apart"),
        ({name: math.nan for name in START if name.startswith("domain")}, "unknown", "was not measured"),
        ({"domain_accuracy_low/4": 0.2, "domain_accuracy_low/6": 0.2}, "not adapting", "late layers"),
        ({"source_dice": 0.41}, "not adapting", ""),
        ({"source_dice": 0.39}, "collapsed", "the source Dice fell to 0.39 from 0.60 at step 99"),
        ({"entropy_target": 0.51}, "collapsed", "entropy"),
        ({"volume_target": 0.0}, "collapsed", "0 ml on a target case and 10 ml on a source case"),
        ({"volume_target": 150.0}, "collapsed", "1.5e+02 ml on a target case"),
    ],
)
def test_the_verdict_follows_its_rule(now, word, reason):
    found = verdict(now)
    assert found.word == word
    assert reason in found.reason


def test_a_volume_that_was_wrong_before_is_no_collapse():
    assert verdict({"volume_target": 300.0}, start={"volume_target": 200.0}).word == "not adapting"


def test_before_the_target_has_a_say_nothing_is_judged():
    warm = MonitorRecord(99, {**START, "volume_target": 0.0}, warming_up=True)
    assert judge([warm]).word == "warming up"
    assert judge([MonitorRecord(99, START)]).word == "unknown"


def test_a_source_that_never_worked_cannot_collapse():
    assert verdict({"source_dice": 0.01}, start={"source_dice": 0.09}).word != "collapsed"


# What it is worth.


def test_signals_rank_checkpoints_by_the_truth():
    looks = [
        MonitorRecord(step, {**START, "source_dice": dice, "volume_target": volume, "agreement_target": math.nan})
        for step, dice, volume in ((0, 0.4, 10.0), (1, 0.5, 20.0), (2, 0.6, 40.0), (3, 0.7, 80.0))
    ]
    ranks = rank_checkpoints(looks, {0: 0.5, 1: 0.4, 2: 0.2, 3: 0.1})
    assert ranks["volume gap"].spearman == 1.0  # nearest to the source's 10 ml is best
    assert ranks["volume gap"].chosen == 0
    assert ranks["volume gap"].regret == 0
    assert ranks["source Dice"].spearman == -1.0
    assert ranks["source Dice"].regret == pytest.approx(0.4)
    assert ranks["last step"].chosen == 3
    assert math.isnan(ranks["target entropy"].spearman)  # it never changed
    assert ranks["agreement"] == pytest.approx((math.nan, math.nan, None, 0), nan_ok=True)


def test_the_domain_accuracy_that_ranks_is_that_of_the_late_layers():
    """The late layers, 2 and 3, are best at step 1 (0.75, 0.65, 0.70); the first one is worst there."""
    probed = ({"1": 0.0, "2": 0.9, "3": 0.6}, {"1": 1.0, "2": 0.6, "3": 0.7}, {"1": 0.9, "2": 0.7, "3": 0.7})
    looks = [
        MonitorRecord(step, {f"domain_accuracy/{layer}": value for layer, value in layers.items()})
        for step, layers in enumerate(probed)
    ]
    ranks = rank_checkpoints(looks, {0: 0.1, 1: 0.3, 2: 0.2})
    assert ranks["domain accuracy"] == pytest.approx((1.0, 0.0, 1, 3))


def test_checkpoints_without_truth_are_left_out():
    looks = [MonitorRecord(step, {**START, "source_dice": step / 10}) for step in range(4)]
    ranks = rank_checkpoints(looks, {1: 0.3, 2: 0.5, 3: math.nan})
    assert ranks["source Dice"].n == 2
    assert ranks["source Dice"].chosen == 2
    with pytest.raises(ValueError, match="no checkpoint"):
        rank_checkpoints(looks, {9: 0.5})


def test_a_network_that_has_learnt_nothing_is_not_called_healthy():
    found = verdict({"source_dice": 0.05, "entropy_target": 0.06}, {"source_dice": 0.06})
    assert found.word == "unknown"
    assert "nothing is learnt yet" in found.reason


def test_from_too_much_to_nothing_is_a_collapse_and_not_as_before():
    found = verdict({"volume_target": 0.0}, {"volume_target": 200.0})
    assert found.word == "collapsed"
    assert verdict({"volume_target": 190.0}, {"volume_target": 200.0}).reason.endswith("as before")


def test_an_untrained_network_has_learnt_nothing_and_lost_nothing():
    uncertain = {"source_dice": 0.02, "entropy_target": 0.85}
    assert verdict(uncertain, uncertain).word == "unknown"
    assert verdict({"source_dice": math.nan}, {"source_dice": math.nan}).word == "unknown"
