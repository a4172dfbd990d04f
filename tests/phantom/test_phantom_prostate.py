"""The prostate phantom: signals, zones, tumours, distortion and grids."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from medgen.phantom.grid import SliceGrid
from medgen.phantom.prostate.anatomy import EXTENT, Space, draw_pelvis
from medgen.phantom.prostate.cohort import examine
from medgen.phantom.prostate.lesions import Findings, Focus, draw_findings
from medgen.phantom.prostate.painting import paint
from medgen.phantom.prostate.scan import Streams, _shifted, _truth, gas_field, resampled, scan_diffusion, scan_t2w
from medgen.phantom.prostate.tissues import HIGH, LOW, MIDDLE, NAMES, T2W, TISSUES, person_tissues, signals
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream
from medgen.phantom.shapes import Ellipsoid

SEED, COARSE = 5, (2.0, 2.0, 3.0)


def arrays(index: int, positive: bool, **options):
    made = examine(index, SEED, positive, **({"spacing": COARSE} | options))
    return {role: array for role, (array, _, _) in made.items()}


def streams(index: int) -> Streams:
    return Streams(Stream(SEED, SUBJECT, index), Stream(SEED, SCANNER, 2), Stream(SEED, REALISATION, index))


@pytest.fixture(scope="module")
def ill():
    """Three patients with solid tumours."""
    return [arrays(index, True, contrast=1.5) for index in range(3)]


@pytest.fixture(scope="module")
def well():
    """The same three without an aggressive tumour."""
    return [arrays(index, False) for index in range(3)]


# ------------------------------------------------------------------ signal


def test_signals_by_hand():
    table = signals(TISSUES, (T2W, HIGH))
    # 0.88 (1 - e^(-5000/1412)) e^(-100/37)
    assert table["muscle"][0] == pytest.approx(0.05727, rel=1e-3)
    # 0.90 (1 - e^(-3600/1450)) e^(-63/74) e^(-1400 * 640e-6)
    assert table["tumour"][1] == pytest.approx(0.14372, rel=1e-3)
    # Fat suppression leaves 4 %: 0.04 * 0.88 (1 - e^(-3600/371)) e^(-63/140) e^(-1400 * 30e-6)
    assert table["fat"][1] == pytest.approx(0.02152, rel=1e-3)


def test_order_of_the_signals_in_every_person():
    for index in range(60):
        tissues = person_tissues(Stream(SEED, SUBJECT, index))
        table = signals(tissues, (T2W, LOW, MIDDLE, HIGH))
        t2w = {name: values[0] for name, values in table.items()}
        adc = {name: np.log(values[1] / values[2]) / 750e-6 for name, values in table.items() if values[2] > 0}
        high = {name: values[3] for name, values in table.items()}
        for values, order in (
            (t2w, ("urine", "peripheral", "inflamed", "compact", "muscle")),
            (t2w, ("peripheral", "tumour", "muscle")),
            (t2w, ("glandular", "stroma", "muscle")),
            (adc, ("urine", "peripheral", "septum", "stroma", "compact", "tumour")),
            (adc, ("peripheral", "inflamed", "focal", "tumour")),
        ):
            found = [values[name] for name in order]
            assert all(first > second for first, second in pairwise(found)), (index, order, found)
        assert max(high, key=high.__getitem__) == "tumour"
        assert adc["tumour"] == pytest.approx(tissues["tumour"].adc, rel=1e-9)


def test_order_of_the_intensities_in_images(ill):
    for images in ill:
        zones, tumour = images["label"], images["label"] == 3
        mean = {
            role: [images[role][place].mean() for place in (zones == 1, zones == 2, tumour)]
            for role in ("t2w", "adc", "hbv")
        }
        assert mean["t2w"][0] > mean["t2w"][1]
        assert mean["t2w"][0] > mean["t2w"][2]
        assert mean["adc"][0] > mean["adc"][1] > mean["adc"][2]
        assert mean["hbv"][2] > 1.25 * max(mean["hbv"][:2])
    core = [image["adc"][image["label"] == 3] for image in ill]
    assert 600 < np.percentile(np.concatenate(core), 20) < 1000  # the tissue's own ADC is 640


def test_tumours_are_darker_in_t2w_than_both_zones_on_average(ill):
    ratios = [images["t2w"][images["label"] == 3].mean() / images["t2w"][images["label"] == 2].mean() for images in ill]
    assert np.mean(ratios) < 1


def test_urine_has_its_diffusion_and_fat_is_masked(well):
    for images in well:
        assert 2500 < np.percentile(images["adc"], 99.5) < 3500
        assert images["adc"].max() <= 4000
        empty = images["adc"] == 0
        assert 0.2 < empty.mean() < 0.8
        assert not images["hbv"][empty].any()
        assert not empty[images["label"] > 0].mean() > 0.08
        # Fat is bright in T2W all the same.
        assert images["t2w"][empty].mean() > 0.6 * images["t2w"][images["label"] == 1].mean()


# ------------------------------------------------------------------ truth


def test_label_and_lesion_agree(ill, well):
    for images in (*ill, *well):
        assert ((images["label"] == 3) == (images["lesion"] >= 2)).all()
        assert (images["mask"][images["label"] > 0] == 1).all()
        assert images["lesion"].max() <= 5
        assert (images["label"][images["lesion"] > 0] > 0).all()
        assert 15 < (images["label"] > 0).sum() * 0.012 < 110  # ml
        for zone in (1, 2):
            assert (images["label"] == zone).mean() > 0.005
    assert all((images["label"] == 3).any() for images in ill)
    assert not any((images["label"] == 3).any() for images in well)
    assert all(images["lesion"].max() <= 1 for images in well)


def test_the_same_person_with_and_without_a_tumour_differs_there_only(ill, well):
    for other, person in zip(ill, well, strict=True):
        near = ndimage.binary_dilation((other["lesion"] > 0) | (person["lesion"] > 0), iterations=3)
        for role in ("t2w", "label", "mask"):
            assert (other[role][~near] == person[role][~near]).all()
        assert (other["t2w"][near] != person["t2w"][near]).any()


def test_a_ball_has_its_volume_and_the_grade_is_kept():
    pelvis = draw_pelvis(Stream(SEED, SUBJECT, 0))
    space = Space(SliceGrid(EXTENT, (1.0, 1.0, 1.5)), pelvis, Stream(SEED, SUBJECT, 0))
    deep = np.unravel_index(space.gland.argmin(), space.gland.shape)
    place = tuple(float(value) for value in space.points[(slice(None), *deep)])
    ball = Focus(Ellipsoid(place, (6.0, 6.0, 6.0)), "tumour", 0.9, rough=0.0, grade=4)
    truth = _truth(space, Findings((ball,), (), ()), (1, 1, 2))
    assert set(np.unique(truth["lesion"])) == {0, 4}
    # The person's frame is bent, so the volume is that of the ball only nearly.
    assert (truth["lesion"] == 4).sum() * 3.0 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.25)
    speck = dataclasses.replace(ball, shape=Ellipsoid(place, (0.9, 0.9, 0.9)))
    assert (_truth(space, Findings((speck,), (), ()), (1, 1, 2))["lesion"] == 4).any()


def test_findings_of_many_people():
    tumours, distractors = [], 0
    for index in range(12):
        stream = Stream(SEED, SUBJECT, index)
        pelvis = draw_pelvis(stream)
        found = draw_findings(pelvis, stream, positive=True)
        harder = draw_findings(pelvis, stream, positive=True, contrast=0.5)
        assert found.tumours[0].grade >= 2
        assert 1 <= len(found.tumours) <= 3
        assert found.inflammation == harder.inflammation
        assert [focus.shape for focus in found.tumours] == [focus.shape for focus in harder.tumours]
        assert all(low.share < high.share for low, high in zip(harder.tumours, found.tumours, strict=True))
        without = draw_findings(pelvis, stream, positive=False)
        assert (without.inflammation, without.nodules) == (found.inflammation, found.nodules)
        assert [focus.grade for focus in without.tumours] in ([], [1])
        tumours += found.tumours
        distractors += len(found.inflammation)
    diameters = [2 * np.prod(focus.shape.radii) ** (1 / 3) for focus in tumours]
    assert 3 < min(diameters) < max(diameters) < 20
    assert 7 < np.median(diameters) < 12
    assert np.mean([focus.share for focus in tumours if focus.grade >= 4]) > np.mean(
        [focus.share for focus in tumours if focus.grade <= 2]
    )
    assert distractors > 12


# ------------------------------------------------------------------ distortion


def test_gas_field_is_that_of_a_sphere():
    """Outside a sphere it is chi / 3 (R / r)^3 (3 cos^2 - 1); Gaussian smoothing leaves a harmonic field as it is."""
    spacing, radius = (2.0, 2.0, 3.0), 8.0
    axes = [size * (np.arange(count) - count // 2) for size, count in zip(spacing, (48, 48, 32), strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    field = gas_field((x**2 + y**2 + z**2 <= radius**2).astype(float), spacing)
    volume = (x**2 + y**2 + z**2 <= radius**2).sum() * 12.0 / (4 / 3 * np.pi)  # of the stair-cased ball, as R^3
    assert field[24, 24 + 11, 16] == pytest.approx(-9.4 / 3 * volume / 22**3, rel=0.1)
    assert field[24, 24, 16 + 8] == pytest.approx(2 * 9.4 / 3 * volume / 24**3, rel=0.1)


def test_a_shift_moves_the_image_and_keeps_its_signal():
    image = np.zeros((1, 12, 1))
    image[0, 4] = 1.0
    moved = _shifted(image, np.full(image.shape, 2.0), 1.0)
    assert moved[0, 6, 0] == 1.0
    assert moved.sum() == 1.0
    y = np.linspace(-40, 40, 161)[None, :, None]
    bump = np.exp(-((y / 10) ** 2))
    shift = 3.0 * np.exp(-(((y - 5) / 12) ** 2))
    assert _shifted(bump, shift, 0.5).sum() == pytest.approx(bump.sum(), rel=1e-3)


def test_gas_distorts_diffusion_and_not_t2w():
    chance, grid = streams(0), SliceGrid(EXTENT, COARSE)
    pelvis = dataclasses.replace(draw_pelvis(chance.subject), rectum=15.0)
    findings = draw_findings(pelvis, chance.subject, positive=False)
    full, empty = (dataclasses.replace(pelvis, gas=gas, pocket=(-5.0, 15.0)) for gas in (0.9, 0.0))
    first, second = (scan_t2w(grid, person, findings, chance) for person in (full, empty))
    inside = first["label"] > 0
    assert (first["label"] == second["label"]).all()
    core = ndimage.binary_erosion(inside)
    assert (first["t2w"][core] == second["t2w"][core]).all()
    (_, filled), (_, plain) = (scan_diffusion(person, findings, chance) for person in (full, empty))
    y = grid.points()[1]
    back, front = core & (y < np.quantile(y[core], 0.3)), core & (y > np.quantile(y[core], 0.7))
    # Squeezed near the gas: the signal changes there; of the ADC, which is a ratio, only what moved.
    moved = np.abs(filled["hbv"] - plain["hbv"]) / plain["hbv"][core].mean()
    assert moved[back].mean() > 0.05
    assert moved[back].mean() > 2 * moved[front].mean()
    edge = inside & ~core
    assert np.abs(filled["adc"] - plain["adc"])[edge].max() > 100  # 1e-6 mm^2/s


def test_gas_is_where_the_rectum_is():
    chance = streams(1)
    pelvis = dataclasses.replace(draw_pelvis(chance.subject), gas=0.8, rectum=14.0)
    space = Space(SliceGrid(EXTENT, (2.0, 2.0, 3.0)), pelvis, chance.subject)
    gas = paint(space, Findings((), (), ()), {name: np.array([float(name == "gas")]) for name in NAMES})[0]
    assert 3 < gas.sum() * 0.012 < 60  # ml
    assert not gas[space.gland < -1].any()
    behind = (gas * space.points[1]).sum() / gas.sum()
    assert behind < pelvis.centre[1] - 0.8 * pelvis.radii[1]


def test_everything_is_laid_down_once():
    chance = streams(2)
    pelvis = draw_pelvis(chance.subject)
    space = Space(SliceGrid(EXTENT, (3.0, 3.0, 3.0)), pelvis, chance.subject)
    findings = draw_findings(pelvis, chance.subject, positive=True)
    total = paint(space, findings, {name: np.ones(1) for name in NAMES})
    assert np.abs(total - 1).max() < 1e-9


# ------------------------------------------------------------------ grids


def test_the_default_grid():
    grid = SliceGrid(EXTENT, (0.5, 0.5, 3.0))
    assert grid.shape == (192, 192, 19)
    assert grid.affine[:3, :3].tolist() == [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 3]]
    assert grid.affine[:3, 3].tolist() == [-47.75, -47.75, -27.0]
    assert (grid.points()[:, 3, 5, 7] == (grid.affine @ (3, 5, 7, 1))[:3]).all()


def test_resampling_is_linear():
    source, target = SliceGrid(EXTENT, (2.0, 2.0, 3.0)), SliceGrid(EXTENT, (0.5, 1.0, 3.0))
    ramp = np.tensordot((1.0, -2.0, 3.0), source.points(), axes=1)
    found = resampled(ramp, source, target)
    assert found.shape == target.shape
    inner = (slice(2, -2), slice(1, -1), slice(None))
    assert np.allclose(found[inner], np.tensordot((1.0, -2.0, 3.0), target.points(), axes=1)[inner])


def test_native_diffusion_stays_on_its_grid_and_does_not_depend_on_that_of_t2w():
    fine = examine(0, SEED, True, (1.0, 1.0, 3.0), native_diffusion=True)
    shapes = {role: array.shape for role, (array, _, _) in fine.items()}
    assert shapes["adc"] == shapes["hbv"] == (48, 48, 19)
    assert shapes["t2w"] == shapes["label"] == shapes["lesion"] == shapes["mask"] == (96, 96, 19)
    assert fine["adc"][1][:3, :3].diagonal().tolist() == [2, 2, 3]
    coarse = examine(0, SEED, True, COARSE)
    # At 2 x 2 x 3 mm both grids are one, so nothing is interpolated.
    for role in ("adc", "hbv"):
        assert (fine[role][0] == coarse[role][0]).all()
    # The tumour is in the same place, whatever the voxel.
    centres = [
        (affine @ np.append(np.argwhere(array > 0).mean(axis=0), 1))[:3]
        for array, affine, _ in (made["lesion"] for made in (fine, coarse))
    ]
    assert np.linalg.norm(centres[0] - centres[1]) < 1.5
    volumes = [(fine["lesion"][0] > 0).sum() * 3.0, (coarse["lesion"][0] > 0).sum() * 12.0]
    assert volumes[0] == pytest.approx(volumes[1], abs=60)
