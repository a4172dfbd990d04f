"""Two views of one network: what is hidden, what is agreed on, what the target has a say in."""

import pytest
import torch

from medgen.batches import Adaptation
from medgen.errors import UsageError
from medgen.method import Channels, create
from medgen.methods.view_agreement import agreement

QUIET = {"curve": 0, "scale": 0, "shift": 0, "noise": 0}
SMALL = {"network": "unet", "width": 0.25, "perturbation": QUIET}


def method(**changes):
    torch.manual_seed(0)
    return create("view_agreement", {**SMALL, **changes}, Channels(3, 2))


def batch(size: int = 4) -> Adaptation:
    generator = torch.Generator().manual_seed(1)
    source, target = (torch.randn(size, 3, 16, 16, 16, generator=generator) for _ in range(2))
    ones = torch.ones(size, 1, 16, 16, 16)
    return Adaptation(source, (source[:, :1] > 0).long(), ones, target, ones)


def test_agreement_is_the_smaller_probability_and_the_background_gets_the_rest():
    first = torch.tensor([0.1, 0.6, 0.3]).reshape(1, 3, 1, 1, 1)
    second = torch.tensor([0.5, 0.1, 0.4]).reshape(1, 3, 1, 1, 1)
    assert agreement(first, second).flatten().tolist() == pytest.approx([0.6, 0.1, 0.3])


def test_prediction_is_what_the_network_with_and_without_the_channel_agree_on():
    found, x = method(hidden=[1]).eval(), batch().source
    with torch.no_grad():
        views = [found.network(view).softmax(1) for view in (x, x * torch.tensor([1.0, 0, 1]).reshape(1, 3, 1, 1, 1))]
        assert torch.allclose(found.predict(x)[:, 1], torch.minimum(views[0][:, 1], views[1][:, 1]))


def test_by_default_the_last_channel_is_hidden_from_about_half_of_the_patches():
    found, x = method(), batch(200).source
    torch.manual_seed(2)
    seen = found._some_hidden(x)
    gone = seen[:, 2].abs().amax(dim=(1, 2, 3)) == 0
    assert 70 < int(gone.sum()) < 130
    assert torch.equal(seen[:, :2], x[:, :2])
    assert torch.equal(seen[~gone], x[~gone])


def test_without_a_weight_no_target_image_is_looked_at():
    given = batch()
    broken = given._replace(target=torch.full_like(given.target, float("nan")))
    (update,) = method().updates(broken, progress=0.9)
    assert all(torch.isfinite(loss) for loss in update.losses.values())


def test_target_patches_teach_what_both_views_agree_on():
    found, given = method(agreement_weight=0.5, begin=0.0, full=0.0), batch()
    (update,) = found.updates(given, progress=0.5)
    assert update.losses["agreement"] > 0
    nothing = given._replace(target_mask=torch.zeros_like(given.target_mask))
    torch.manual_seed(3)
    (update,) = found.updates(nothing, progress=0.5)
    assert torch.isfinite(update.losses["agreement"])
    (early,) = method(agreement_weight=0.5, begin=0.6, full=0.7).updates(given, progress=0.5)
    assert "agreement" not in early.losses


@pytest.mark.parametrize("hidden", [[3], [0, 1, 2]])
def test_hidden_channels_must_exist_and_leave_something(hidden):
    with pytest.raises(UsageError, match=r"config\.hidden"):
        method(hidden=hidden)
