"""Views of an image: crops of its own voxels, other brightness; and losses of two of them."""

import pytest
import torch

from medgen.errors import UsageError
from medgen.methods.base import Shape
from medgen.methods.vicreg import Config, VICReg
from medgen.sampling.batches import Images


def made(size: tuple[int, ...] = (12, 8), **config) -> VICReg:
    torch.manual_seed(0)
    return VICReg(Config(width=0.125, levels=2, embedding=8, **config), Shape(1, 1, size))


def batch(count: int, *size: int) -> Images:
    image = torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(1))
    return Images(image, torch.ones_like(image))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("size", [(12, 8), (8, 12, 10)])
def test_a_view_is_a_crop_of_the_voxels_themselves(size: tuple[int, ...]) -> None:
    """Neither resampled nor blurred: every value is one of the image, in the order of the image."""
    method = made(size, crop=0.5, mirror=False, scale=0.0, shift=0.0)
    image = torch.arange(float(torch.tensor(size).prod())).reshape(1, 1, *size).repeat(20, 1, *[1] * len(size))
    views = method._view(image, seeded())
    assert views.shape == (20, 1, *(side // 2 for side in size))
    corners = set()
    for view in views[:, 0]:
        start = int(view.flatten()[0])
        place = [int(each) for each in torch.unravel_index(torch.tensor(start), size)]
        box = tuple(slice(low, low + side // 2) for low, side in zip(place, size, strict=True))
        assert torch.equal(view, image[0, 0][box])
        corners.add(start)
    assert len(corners) > 5


def test_half_of_the_views_are_mirrored_along_the_first_axis() -> None:
    method = made(crop=1.0, scale=0.0, shift=0.0)
    image = batch(1, 12, 8).image.expand(200, -1, -1, -1)
    views = method._view(image, seeded())
    same = (views == image).flatten(1).all(dim=1)
    mirrored = (views == image.flip(2)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_brightness_and_contrast_stay_within_their_limits() -> None:
    method = made(crop=1.0, mirror=False, scale=0.1, shift=0.2)
    views = method._view(torch.tensor([0.0, 1.0]).repeat(300, 1, 1, 6), seeded())
    low, high = views[:, 0, 0, 0], views[:, 0, 0, 1]
    assert low.abs().max() <= 0.2
    assert low.abs().max() > 0.18
    contrast = high - low
    assert 0.9 <= contrast.min() < 0.92
    assert 1.08 < contrast.max() <= 1.1 + 1e-6


def test_views_depend_on_the_seed_of_the_step_alone() -> None:
    method, images = made(), batch(4, 12, 8)
    first, again = ([torch.manual_seed(5), next(method.updates(images, 0.0)).losses][1] for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_scores_are_the_same_at_every_call_and_leave_the_seed_alone() -> None:
    method, images = made().eval(), batch(4, 12, 8)
    state = torch.get_rng_state()
    with torch.no_grad():
        assert method.score(images) == method.score(images)
    assert torch.equal(state, torch.get_rng_state())


def test_weights_of_the_losses() -> None:
    images = batch(4, 12, 8)
    plain = made(invariance_weight=1.0, variance_weight=1.0, covariance_weight=1.0)._losses(images.image, seeded())
    weighted = made()._losses(images.image, seeded())
    for name, weight in {"invariance": 25, "variance": 25, "covariance": 1}.items():
        assert float(weighted[name]) == pytest.approx(weight * float(plain[name]), rel=1e-5)


def test_one_image_has_nothing_to_differ_from() -> None:
    method = made()
    with pytest.raises(UsageError, match="compares the images of a batch"):
        next(method.updates(batch(1, 12, 8), 0.0))
    assert method.score(batch(1, 12, 8)) == {}


def test_features_tell_a_bright_image_from_a_dark_one() -> None:
    """Normalisation within an image would make a constant image of 1 and one of 3 the same."""
    maps = made().eval().features(torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1).expand(2, 1, 12, 8))
    assert [tuple(each.shape[2:]) for each in maps] == [(6, 4), (3, 2)]
    assert not torch.allclose(maps[-1][0], maps[-1][1], rtol=0.1)
