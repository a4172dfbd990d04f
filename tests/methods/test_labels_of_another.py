"""What is learnt from labels that a network made are the losses of the recipe, whichever those are."""

import pytest
import torch

from medgen.methods.base import Shape
from medgen.methods.catalogue import create
from medgen.sampling.batches import Adaptation

KINDS = {
    "mean_teacher": ("consistency", {"consistency": "label", "consistency_full": 0.0}),
    "adversarial_mean_teacher": (
        "consistency",
        {"consistency": "label", "consistency_full": 0.0, "discriminator_width": 4, "discriminator_padding": "same"},
    ),
    "self_training": ("pseudo", {"begin": 0.0}),
    "co_training": ("agreement", {"begin": 0.0, "full": 0.0}),
}


@pytest.mark.parametrize("kept", ["cross_entropy", "dice", "focal"])
@pytest.mark.parametrize("name", KINDS)
def test_one_loss_alone_teaches_on_the_target_too(name, kept):
    term, settings = KINDS[name]
    weights = {f"{loss}_weight": float(loss == kept) for loss in ("cross_entropy", "dice", "focal")}
    torch.manual_seed(0)
    method = create(name, {"network": "unet", "width": 0.25, **settings, **weights}, Shape(2, 2))
    source, target = (torch.randn(2, 2, 16, 16, 16) for _ in range(2))
    ones = torch.ones(2, 1, 16, 16, 16)
    batch = Adaptation(source, (source[:, :1] > 0).long(), ones, target, ones)
    updates = [update for update in method.updates(batch, progress=0.5) if term in update.losses]
    assert updates
    assert all(update.losses[term] > 0 for update in updates)
