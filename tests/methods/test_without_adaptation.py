"""With every extra weight 0, a method that adapts trains exactly the segmenter of supervised training."""

import pytest
import torch

from medgen.methods.base import Method, Shape
from medgen.methods.catalogue import create, method_names, resolve
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Adaptation, Labelled
from medgen.training.engine import Engine
from medgen.training.loop import train

NOTHING = {
    "adversarial_weight": 0.0,
    "consistency_weight": 0.0,
    "entropy_weight": 0.0,
    "pseudo_weight": 0.0,
    "agreement_weight": 0.0,
    "perturb_source": False,
}
"""What turns adaptation off, where a method knows it."""
NETWORKS = {
    "deepmedic": {"network": "deepmedic", "preset": "small", "width": 0.25, "norm": "batch"},
    "instance": {"network": "unet", "width": 0.25, "norm": "instance"},
    "batch": {"network": "unet", "width": 0.25, "norm": "batch"},
}
ADAPTING = [name for name in method_names() if resolve(name).adapts() and name != "confirmed_candidates"]
"""All but the one whose networks never see all channels."""


def trained(name: str, network: str) -> Method:
    known = resolve(name).config_class.model_fields
    small = {"discriminator_width": 4, "discriminator_depth": 1}
    settings = {key: value for key, value in {**NOTHING, **small}.items() if key in known}
    if name == "shared_channels":  # it has no weight: it adapts from ``begin`` on, and draws more patches
        settings |= {"begin": 1.0, "draws": 1}
    torch.manual_seed(0)
    method = create(name, {**NETWORKS[network], **settings, "learning_rate": 1e-2}, Shape(2, 2))
    side = 58 if network == "deepmedic" else 16
    generator = torch.Generator().manual_seed(1)
    batches = [batch(method, side, generator) for _ in range(5)]
    schedule = Schedule(steps=5, batch=2)
    assert len(list(train(method, method.optimizers(), batches, schedule, Engine("cpu"), seed=3))) == 5
    return method


def batch(method: Method, side: int, generator: torch.Generator) -> Labelled | Adaptation:
    source, target = (torch.randn(2, 2, side, side, side, generator=generator) for _ in range(2))
    ones = torch.ones(2, 1, side, side, side)
    labelled = Labelled(source, (source[:, :1] > 0).long(), ones)
    return Adaptation(*labelled, target, ones) if method.adapts() else labelled


@pytest.fixture(scope="module")
def supervised():
    return {network: trained("segmentation", network).network.state_dict() for network in NETWORKS}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ADAPTING)
def test_the_segmenter_is_that_of_supervised_training_bit_for_bit(name, network, supervised):
    if name == "adabn" and network == "instance":
        pytest.skip("AdaBN refuses a network without running statistics")
    found = trained(name, network).network.state_dict()
    assert found.keys() == supervised[network].keys()
    assert [key for key in found if not torch.equal(found[key], supervised[network][key])] == []


def test_training_moves_the_weights_that_are_compared(supervised):
    torch.manual_seed(0)
    start = create("segmentation", NETWORKS["instance"], Shape(2, 2)).network.state_dict()
    assert any(not torch.equal(start[key], value) for key, value in supervised["instance"].items())
