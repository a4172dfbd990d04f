"""A model with the target's statistics is looked at, on images of the source, with the source's."""

import json

import pytest
import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create, resolve
from medgen.networks.shadow_weights import statistics_of
from medgen.recipe.settings import load_recipe
from medgen.run.experiment import prepare, train
from medgen.run.monitor.signals import Subset, measure
from medgen.run.validation import on_domain
from medgen.training.engine import Engine
from tests.tiny_domains import recipe, write_domains

SMALL = {"network": "unet", "width": 0.25, "norm": "batch", "discriminator_width": 4, "discriminator_depth": 1}
WITH_STATISTICS = (
    "domain_adversarial",
    "entropy_minimisation",
    "mean_teacher",
    "self_training",
    "adversarial_mean_teacher",
)
IMAGE = torch.randn(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(1))


def method(name, **settings):
    """With statistics of the target, a teacher where it has one, and a student that nobody would confuse."""
    known = resolve(name).config_class.model_fields
    torch.manual_seed(0)
    made = create(name, {key: value for key, value in {**SMALL, **settings}.items() if key in known}, Shape(2, 2))
    for buffer in made.statistics.buffers():
        if buffer.is_floating_point():
            buffer += 0.7
    if hasattr(made, "teacher"):
        for tensor in made.teacher.buffers():
            if tensor.is_floating_point():
                tensor += 0.01
    return made.eval()


def predicted(network):
    with torch.no_grad():
        return network(IMAGE).float().softmax(1)


@pytest.mark.parametrize("name", ["adabn", "domain_adversarial", "entropy_minimisation"])
def test_an_image_of_the_source_is_predicted_as_by_the_source_network(name):
    adapted = method(name, statistics="target")
    with torch.no_grad(), on_domain(adapted, "source"):
        ours, (logits, _) = adapted.predict(IMAGE), adapted.named_maps(IMAGE)
    assert torch.equal(ours, predicted(adapted.network))
    assert torch.equal(logits.softmax(1), ours)
    with torch.no_grad():
        assert not torch.allclose(ours, adapted.predict(IMAGE), atol=1e-3)


@pytest.mark.parametrize("name", ["mean_teacher", "self_training", "adversarial_mean_teacher"])
def test_of_a_teacher_only_the_statistics_are_replaced(name):
    adapted = method(name, statistics="target", predict_with="teacher")
    with torch.no_grad(), on_domain(adapted, "source"):
        ours = adapted.predict(IMAGE)
    state, own = adapted.network.state_dict(), statistics_of(adapted.network)
    by_hand = create("segmentation", {key: SMALL[key] for key in ("network", "width", "norm")}, Shape(2, 2)).eval()
    teacher = {
        key: state[key] if key in own or not tensor.is_floating_point() else tensor + 0.01
        for key, tensor in state.items()
    }
    by_hand.network.load_state_dict(teacher)
    assert torch.equal(ours, predicted(by_hand.network))
    assert not torch.allclose(ours, predicted(adapted.network), atol=1e-4)


@pytest.mark.parametrize("name", ["adabn", *WITH_STATISTICS])
def test_an_image_of_the_target_is_predicted_as_a_patient_will_be(name):
    adapted = method(name, statistics="target")
    with torch.no_grad():
        expected = adapted.predict(IMAGE)
        with on_domain(adapted, "source"):
            adapted.predict(IMAGE)
        with on_domain(adapted, "target"):
            assert torch.equal(adapted.predict(IMAGE), expected)
        assert torch.equal(adapted.predict(IMAGE), expected)  # nothing is left of the block


@pytest.mark.parametrize("statistics", ["shared", "source"])
@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_a_model_that_predicts_with_other_statistics_is_as_it_was(name, statistics):
    adapted = method(name, statistics=statistics)
    with torch.no_grad():
        expected = adapted.predict(IMAGE)
        for domain in ("source", "target"):
            with on_domain(adapted, domain):
                assert torch.equal(adapted.predict(IMAGE), expected)


# A run.


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_domains(tmp_path_factory.mktemp("domains"), train=1, val=1)


def source_dice(run):
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    return [line["validation"]["dice"] for line in lines if "validation" in line]


def test_dice_on_the_source_is_that_of_the_source_network(cases, tmp_path):
    settings = {
        "config": {"norm": "batch"},
        "schedule": {"steps": 24, "validate_every": 12, "health": None, "keep": "last"},
    }
    plain = recipe(**settings, data={"domains": ["source"]})
    adapted = recipe(**{**settings, "config": {"norm": "batch", "begin": 0.1}}, method="adabn")
    runs = [train(each, cases, tmp_path / f"run{n}", device="cpu") for n, each in enumerate((plain, adapted))]
    first, second = map(source_dice, runs)
    assert first == second
    assert first[-1] > 0.1


def test_signals_of_the_source_are_those_of_the_source_network(cases, tmp_path):
    settings = load_recipe(recipe(method="entropy_minimisation", schedule={"health": {"cases": 1, "segments": 4}}))
    store = prepare(settings, cases, tmp_path / "store")
    subset = Subset(*(store.select(split="val", domain=domain) for domain in ("source", "target")))
    adapted = method("entropy_minimisation", statistics="target")
    plain = create("segmentation", {key: SMALL[key] for key in ("network", "width", "norm")}, Shape(2, 2))
    plain.network.load_state_dict(adapted.network.state_dict())
    ours, theirs = (measure(each, subset, settings, Engine("cpu")) for each in (adapted, plain))
    for signal in ("entropy", "volume"):
        assert ours[f"{signal}_source"] == theirs[f"{signal}_source"]
        assert ours[f"{signal}_target"] != theirs[f"{signal}_target"]


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_statistics_that_the_network_does_not_have_are_warned_of(name):
    config = resolve(name).config_class
    for settings in ({"network": "unet"}, {"network": "deepmedic", "norm": "instance"}):
        (said,) = config(**settings, statistics="source").warnings(100)
        assert "config.statistics is source, and the network normalises each image by itself" in said
        assert not config(**settings).warnings(100)
    for settings in ({"network": "unet", "norm": "batch"}, {"network": "deepmedic"}, {"preset": "small"}):
        assert not config(**settings, statistics="source").warnings(100)


def test_hidden_channels_without_a_second_network_are_warned_of():
    config = resolve("domain_adversarial").config_class
    (said,) = config(hidden=(1,)).warnings(100)
    assert "config.hidden changes nothing" in said
    assert not config(hidden=(1,), candidates=0.2).warnings(100)
