"""The progressive GAN: its losses against autograd, what the critic sees, a resume inside a fade, averaged weights."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.progressive_gan import Config, ProgressiveGAN
from medgen.networks.progressive import Growth
from medgen.recipe.settings import Schedule
from medgen.sampling.batches import Images
from medgen.training.engine import Engine
from medgen.training.loop import moving_average, train

STEPS = 20


def made(size=(16, 16), **config) -> ProgressiveGAN:
    torch.manual_seed(0)
    return ProgressiveGAN(Config(width=0.25, latent=8, **config), Shape(1, 1, size))


def batch(size=(16, 16), count: int = 2) -> Images:
    image = torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(1))
    return Images(image, torch.ones_like(image))


def run(method, optimizers, start=0, stop=STEPS, average=None, batches=None):
    schedule = Schedule(steps=STEPS, batch=2)
    given = batches or [batch()] * (STEPS - start)
    steps = train(method, optimizers, given, schedule, Engine("cpu"), average=average, start=start)
    for record in steps:
        if record.step + 1 == stop:
            break


def test_the_published_values_are_the_defaults():
    config = Config()
    (group,) = made().optimizers()["critic"].param_groups
    assert (group["lr"], group["betas"], group["eps"]) == (1e-3, (0.0, 0.99), 1e-8)
    assert (config.penalty_weight, config.penalty_target, config.drift, config.latent) == (10.0, 1.0, 1e-3, 512)
    assert config.recipe()["schedule"]["averaging"] == 0.999


@pytest.mark.parametrize("target", [1.0, 2.0])
def test_the_losses_of_the_critic_against_autograd(target):
    method, growth = made(penalty_target=target), Growth(1, 0.5)
    real, fake = torch.randn(2, 2, 1, 8, 8)
    torch.manual_seed(4)
    terms = method._critic_terms(real, fake, growth)
    torch.manual_seed(4)
    share = torch.rand(2, 1, 1, 1)
    between = (real + share * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(method.critic(between, growth).sum(), between)
    norms, value = slope.flatten(1).norm(dim=1), method.critic(real, growth)
    assert terms["real"].item() == pytest.approx(-value.mean().item(), abs=1e-6)
    assert terms["fake"].item() == pytest.approx(method.critic(fake, growth).mean().item(), abs=1e-6)
    assert terms["penalty"].item() == pytest.approx(10 / target**2 * (norms - target).square().mean().item(), rel=1e-4)
    assert terms["drift"].item() == pytest.approx(1e-3 * value.square().mean().item(), rel=1e-4)


def test_real_patches_are_averaged_down_and_fade_as_the_networks_do():
    method, image = made(), torch.arange(256.0).reshape(1, 1, 16, 16)
    pooled = image.reshape(1, 1, 4, 4, 4, 4).mean((3, 5))
    assert torch.allclose(method.seen(image, Growth(0, 1.0)), pooled)
    assert torch.equal(method.seen(image, Growth(2, 1.0)), image)
    below, fine = method.seen(image, Growth(1, 1.0)), method.seen(image, Growth(2, 0.25))
    doubled = below.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(fine, 0.75 * doubled + 0.25 * image)


@pytest.mark.parametrize(("size", "stop"), [((16, 16), 6), ((8, 8, 8), 9)])
def test_a_run_that_is_interrupted_inside_a_fade_ends_with_the_same_weights(size, stop):
    """And the layers that had not come in yet have no state in the optimiser at the interruption."""
    given = [batch(size)] * STEPS
    whole, first, second = made(size), made(size), made(size)
    averages = [moving_average(each, 0.9) for each in (whole, first, second)]
    run(whole, whole.optimizers(), average=averages[0], batches=given)
    optimizers, others = first.optimizers(), second.optimizers()
    run(first, optimizers, stop=stop, average=averages[1], batches=given)
    assert first.generator.grown.alpha < 1
    late = [parameter for block in first.generator.blocks[1:] for parameter in block.parameters()]
    assert not any(parameter in optimizers["generator"].state for parameter in late)
    second.load_state_dict(first.state_dict())
    averages[2].load_state_dict(averages[1].state_dict())
    for name, optimizer in others.items():
        optimizer.load_state_dict(optimizers[name].state_dict())
    run(second, others, start=stop, average=averages[2], batches=given[stop:])
    for one, two in ((whole, second), (averages[0], averages[2])):
        state = two.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())
    assert whole.generator.grown == Growth(len(whole.generator.blocks), 1.0)


def test_the_averaged_generator_is_as_grown_as_the_one_that_trains():
    """Growth is no statistic: an average of it would draw images of a level that was trained long ago."""
    method = made()
    average = moving_average(method, 0.999)
    run(method, method.optimizers(), stop=6, average=average)
    assert average.module.generator.grown == method.generator.grown
    assert method.generator.grown.alpha < 1
    with torch.no_grad():
        image = average.module.decode(torch.randn(2, 8))
    assert image.shape == (2, 1, 16, 16)


def test_a_level_is_averaged_from_the_moment_it_comes_in():
    """Until then its averaged weights are those that it begins with."""
    method = made()
    average = moving_average(method, 0.9)
    begin = [parameter.clone() for parameter in method.generator.blocks[1].parameters()]
    run(method, method.optimizers(), stop=6, average=average)
    assert all(map(torch.equal, begin, average.module.generator.blocks[1].parameters()))
    run(method, method.optimizers(), average=average)
    assert not any(map(torch.equal, begin[::2], list(average.module.generator.blocks[1].parameters())[::2]))


def test_a_model_that_has_not_grown_up_draws_repeated_voxels_of_the_size_of_the_patches():
    method = made()
    method.generator.grown = Growth(1, 1.0)
    with torch.no_grad():
        image = method.decode(torch.randn(2, 8))
    assert torch.equal(image, image[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_features_are_the_maps_of_the_critic_and_do_not_depend_on_the_batch():
    method, image = made(), batch(count=4).image
    method.generator.grown = Growth(2, 1.0)
    with torch.no_grad():
        together, alone = method.features(image), method.features(image[:1])
    assert [tuple(each.shape[2:]) for each in together] == [(16, 16), (8, 8), (4, 4)]
    assert all(torch.allclose(one[:1], two, atol=1e-5) for one, two in zip(together, alone, strict=True))


@pytest.mark.parametrize("size", [(15, 15), (4, 4, 4), (18, 18)])
def test_a_size_that_cannot_be_halved_to_four_voxels_is_refused(size):
    with pytest.raises(UsageError, match="cannot be halved down to 4 to 7 voxels") as told:
        made(size)
    assert "DCGAN" not in str(told.value)
