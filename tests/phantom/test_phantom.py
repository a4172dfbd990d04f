"""The head phantom: physics against hand-computed values, anatomy, seeds, and bytes on disk."""

import csv
import gzip
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medgen.cases import read_cases
from medgen.errors import InputError, UsageError
from medgen.phantom import default_splits, make_head_phantom
from medgen.phantom.deformation import SubjectMap, misalignment
from medgen.phantom.grid import field_of_view
from medgen.phantom.head import template
from medgen.phantom.head.acquisition import make_scanner, scan_ct, scan_mr
from medgen.phantom.head.anatomy import Anatomy, build_head, tissue_fraction
from medgen.phantom.head.sequences import DOMAINS, PROTOCOLS, GradientEcho, InversionGradientEcho, SpinEcho
from medgen.phantom.head.tissues import HEALTHY, INDEX, NAMES, TissueTable, nominal_tissues, subject_tissues
from medgen.phantom.randomness import REALISATION, SCANNER, SUBJECT, Stream, smooth_field
from medgen.phantom.shapes import Capsule, Ellipsoid, coverage
from medgen.phantom.susceptibility import AIR, dephasing, field_shift
from medgen.volume import read_volume

SAMPLE = Path(__file__).parents[2] / "sample_data"
GRID = field_of_view(4.0)
SUBJECTS = range(4)


@pytest.fixture(scope="module")
def heads() -> list[Anatomy]:
    return [build_head(template.load_template(4.0), Stream(5, SUBJECT, index), GRID) for index in SUBJECTS]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    return make_head_phantom(out, subjects=3, seed=0, spacing=4, workers=1).parent


def one_tissue(**values: float) -> TissueTable:
    table = {"t1": 1000.0, "t2": 100.0, "t2_star": 50.0, "density": 1.0, "hounsfield": 0.0, "susceptibility": 0.0}
    return TissueTable(**{name: np.array([value]) for name, value in (table | values).items()})


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def all_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------ sequences


def test_spin_echo_by_hand():
    # TR = T1 ln 2 recovers one half; TE = T2 ln 4 leaves a quarter.
    signal = SpinEcho(1000 * np.log(2), 100 * np.log(4)).signal(one_tissue(density=0.8))
    assert signal[0] == pytest.approx(0.8 * 0.5 * 0.25)


def test_gradient_echo_by_hand():
    # E1 = 1/2, flip 60 degrees: sin 60 * (1/2) / (1 - 1/4) = 0.5774; TE = T2* ln 2 halves it.
    signal = GradientEcho(1000 * np.log(2), 50 * np.log(2), 60).signal(one_tissue())
    assert signal[0] == pytest.approx(0.5 * np.sqrt(3) / 2 * 0.5 / 0.75)


def test_flair_nulls_nominal_fluid_and_nothing_else():
    signal = PROTOCOLS["flair"].sequence.signal(nominal_tissues())
    assert signal[INDEX["csf"]] < 1e-12
    assert signal[INDEX["white"]] > 0.1


def test_mprage_closed_form_equals_pulse_by_pulse_simulation():
    sequence = InversionGradientEcho(2300, 1050, 3, 9, 7, 176)
    t1, angle = 1331.0, np.deg2rad(9)
    magnetisation, middle = 1.0, 0.0
    for _cycle in range(40):
        magnetisation = 1 - (1 + magnetisation) * np.exp(-(1050 - 176 * 7 / 2) / t1)
        for pulse in range(176):
            if pulse == 88:
                middle = magnetisation
            magnetisation = 1 - (1 - magnetisation * np.cos(angle)) * np.exp(-7 / t1)
        magnetisation = 1 - (1 - magnetisation) * np.exp(-(2300 - 1050 - 176 * 7 / 2) / t1)
    expected = abs(np.sin(angle) * middle) * np.exp(-3 / 50)
    assert sequence.signal(one_tissue(t1=t1))[0] == pytest.approx(expected, rel=1e-9)


# ------------------------------------------------------------------ field


def test_field_of_a_sphere_is_that_of_a_dipole():
    axis = np.arange(-40, 40) * 2.0 + 1
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    shift = field_shift(np.where(radius < 24, AIR + 1.0, AIR), 2.0)
    assert abs(shift[radius < 18]).max() < 0.02  # no field inside, after Lorentz' correction
    # 1.5 radii away: (1/3) (1/1.5)^3 (3 cos^2 - 1) = 0.198 on the axis, -0.099 across it.
    assert shift[39:41, 39:41, 57:59].mean() == pytest.approx(2 / 3 * (24 / 36) ** 3, rel=0.08)
    assert shift[57:59, 39:41, 39:41].mean() == pytest.approx(-1 / 3 * (24 / 36) ** 3, rel=0.12)


def test_dephasing_over_a_voxel():
    # 3 T, 20 ms: 2.5546 turns per ppm; a slope of 0.05 ppm/mm over 4 mm is 0.5109 turns.
    shift = np.broadcast_to(0.05 * 2.0 * np.arange(8), (8, 8, 8)).copy()
    left = dephasing(shift, 2.0, 20.0, (1.0, 1.0, 4.0))
    assert left == pytest.approx(np.full((8, 8, 8), np.sinc(42.577 * 3 * 0.02 * 0.05 * 4)))


# ------------------------------------------------------------------ shapes


def test_distances_and_coverage_by_hand():
    points = np.array([[0.0, 10.0], [0.0, 0.0], [0.0, 0.0]])
    assert Ellipsoid((0, 0, 0), (5, 5, 5)).distance(points[:, 1:]) == pytest.approx([5.0])
    assert Capsule((0, -3, 0), (0, 3, 0), 2, 2).distance(points) == pytest.approx([-2.0, 8.0])
    assert coverage(np.array([-2.0, -0.5, 0.0, 0.5, 2.0]), 2.0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_mirrored_shape_is_the_mirror_image():
    shape = Ellipsoid((20, 3, 5), (4, 9, 6), tilt=20, roll=-30)
    points = np.random.default_rng(0).normal(0, 15, (3, 50))
    mirrored = points * np.array([[-1], [1], [1]])
    assert shape.distance(points) == pytest.approx(shape.mirrored().distance(mirrored))


# ------------------------------------------------------------------ anatomy


def test_fractions_sum_to_one(heads):
    for head in heads:
        assert head.fractions.min() >= -1e-12
        assert np.abs(head.fractions.sum(axis=0) - 1).max() < 1e-12


def test_every_tissue_occurs_and_the_mask_is_filled(heads):
    for head in heads:
        volumes = head.fractions.sum(axis=(1, 2, 3)) * 4**3 / 1000  # ml
        assert volumes.min() > 0.5, dict(zip(HEALTHY, volumes, strict=True))
        brain = volumes[INDEX["grey"]] + volumes[INDEX["white"]]
        assert 950 < brain < 1650
        assert (ndimage.binary_fill_holes(head.head) == head.head).all()
        assert tissue_fraction(head, "air")[head.head].sum() * 4**3 / 1000 > 15  # sinuses and airways, ml


def test_subjects_differ_and_are_not_symmetric(heads):
    bones = [tissue_fraction(head, "cortical", "marrow") > 0.5 for head in heads]
    for first in range(len(heads)):
        overlap_mirror = dice(bones[first], bones[first][::-1])
        assert overlap_mirror < 0.9
        for second in range(first):
            assert dice(bones[first], bones[second]) < 0.8


def dice(first, second) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_distance_to_the_brain_does_not_predict_bone(heads):
    # The best guess from distance alone, fitted to the very same head, must still fail often below the vault.
    low = GRID.points()[2] < -20
    for head in heads:
        bone = tissue_fraction(head, "cortical", "marrow", "tooth") > 0.5
        near = low & head.head & (head.brain_distance > 0) & (head.brain_distance < 25)
        rates = [bone[near & (head.brain_distance >= d) & (head.brain_distance < d + 1)].mean() for d in range(0, 25)]
        sizes = [(near & (head.brain_distance >= d) & (head.brain_distance < d + 1)).sum() for d in range(0, 25)]
        wrong = np.average(np.minimum(rates, 1 - np.array(rates)), weights=sizes)
        assert wrong > 0.12


def test_deformation_is_invertible():
    for index in range(6):
        points = SubjectMap(Stream(1, SUBJECT, index))(GRID)
        jacobian = np.stack([np.stack(np.gradient(part, 4.0)) for part in points])
        determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
        assert determinant.min() > 0.3
        assert determinant.std() > 0.02


def test_same_subject_at_another_spacing():
    stream = Stream(5, SUBJECT, 0)
    fine = build_head(template.load_template(2.0), stream, field_of_view(2.0)).fractions
    coarse = build_head(template.load_template(4.0), stream, GRID).fractions
    averaged = fine.reshape(len(HEALTHY), 44, 2, 59, 2, 50, 2).mean(axis=(2, 4, 6))
    assert np.abs(averaged - coarse).sum(axis=0).mean() < 0.05
    volumes = averaged.sum(axis=(1, 2, 3)), coarse.sum(axis=(1, 2, 3))
    for name in ("csf", "grey", "white", "cortical", "marrow", "muscle"):
        assert volumes[1][INDEX[name]] == pytest.approx(volumes[0][INDEX[name]], rel=0.06), name


def test_missing_maps_are_named(monkeypatch):
    monkeypatch.setattr(template, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="nilearn"):
        template.read_map("t1")


# ------------------------------------------------------------------ contrasts

ORDERS = {
    "t1": ("fat", "white", "grey", "csf", "air"),
    "t2": ("csf", "grey", "white", "muscle", "air"),
    "pd": ("grey", "white", "csf", "air"),
    "flair": ("grey", "white", "muscle", "csf"),
    "ge": ("grey", "white", "air"),
    "swi": ("white", "grey", "air"),
}


@pytest.mark.parametrize("index", SUBJECTS)
def test_order_of_the_tissues_in_every_sequence(heads, index):
    head, realisation = heads[index], Stream(5, REALISATION, index)
    tissues = subject_tissues(Stream(5, SUBJECT, index))
    for domain, sequences in DOMAINS.items():
        scanner = make_scanner(domain, Stream(5, SCANNER, 0))
        images = scan_mr(head, tissues, scanner, realisation, sequences)
        for name, image in images.items():
            assert image.dtype == np.int16
            assert image.min() >= 0
            assert_decreasing([mean(head, image, tissue) for tissue in ORDERS[name]], name)
    ge = scan_mr(head, tissues, scanner, realisation, ("ge",))["ge"]
    assert mean(head, ge, "cortical") < 0.5 * mean(head, ge, "muscle")


@pytest.mark.parametrize("index", SUBJECTS)
def test_ct_numbers(heads, index):
    scanner = make_scanner("source", Stream(5, SCANNER, 0))
    tissues = subject_tissues(Stream(5, SUBJECT, index))
    image = scan_ct(heads[index], tissues, scanner, Stream(5, REALISATION, index))["ct"]
    assert image.min() >= -1024
    assert_decreasing([mean(heads[index], image, t) for t in ("cortical", "muscle", "fat", "air")], "ct")
    outside = ~ndimage.binary_dilation(heads[index].head, iterations=2)
    assert image[outside].mean() == pytest.approx(-1000, abs=0.1)
    white = tissue_fraction(heads[index], "white") > 0.97
    assert image[white].mean() == pytest.approx(tissues.hounsfield[INDEX["white"]], abs=2.0)


def mean(head: Anatomy, image, tissue: str) -> float:
    fraction = tissue_fraction(head, tissue)
    inside = head.head & (fraction >= min(0.9, np.sort(fraction[head.head])[-60]))
    assert fraction[inside].min() > 0.6, tissue
    return float(image[inside].mean())


def assert_decreasing(values, name):
    assert all(first > second for first, second in pairwise(values)), (name, values)


def test_rician_floor_in_air(heads):
    scanner = make_scanner("source", Stream(5, SCANNER, 0))
    image = scan_mr(heads[0], nominal_tissues(), scanner, Stream(5, REALISATION, 0), ("t1",))["t1"]
    outside = ~ndimage.binary_dilation(heads[0].head, iterations=3)
    # In a 4 mm voxel the noise is (2/4)^1.5 of that in a 2 mm voxel; a Rician without signal has mean sigma sqrt(pi/2).
    sigma = scanner.noise * 0.5**1.5 * PROTOCOLS["t1"].white * scanner.gains["t1"]
    assert image[outside].mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.03)


def test_bias_field_has_the_stated_size_and_no_preferred_sign():
    from medgen.phantom.artefacts import non_uniformity

    grid, head = field_of_view(8.0), np.zeros(field_of_view(8.0).shape, bool)
    head[4:-4, 4:-4, 4:-4] = True
    leans = []
    for index in range(40):
        generator = Stream(3, REALISATION, index).generator("bias")
        factor = non_uniformity(smooth_field(generator, grid, 90.0)[0], head, 0.2)
        assert np.abs(factor[head] - 1).max() == pytest.approx(0.1)
        leans.append(factor[-5][head[-5]].mean() > factor[4][head[4]].mean())
    assert 10 < sum(leans) < 30


# ------------------------------------------------------------------ seeds


def test_the_three_seeds_are_separate(tmp_path):
    def mr_and_mask(name, **seeds):
        folder = make_head_phantom(tmp_path / name, subjects=1, spacing=6, workers=1, **seeds).parent
        return [read_volume(folder / "head_000" / f"head_000_{role}.nii.gz").data[0] for role in ("t1", "mask")]

    t1, mask = mr_and_mask("base", seed=3)
    other_noise, same_mask = mr_and_mask("noise", seed=3, realisation_seed=4)
    other_scanner, same_mask_2 = mr_and_mask("scanner", seed=3, scanner_seed=4)
    _, other_mask = mr_and_mask("subject", seed=4, scanner_seed=3, realisation_seed=3)
    assert (mask == same_mask).all()
    assert (mask == same_mask_2).all()
    assert (mask != other_mask).any()
    inside = mask > 0
    assert (t1 != other_noise)[inside].mean() > 0.5
    assert np.corrcoef(t1[inside], other_noise[inside])[0, 1] > 0.97
    assert (t1 != other_scanner)[inside].mean() > 0.5
    assert np.corrcoef(t1[inside], other_scanner[inside])[0, 1] > 0.99


def test_subject_does_not_depend_on_how_many_there_are(cohort, tmp_path):
    make_head_phantom(tmp_path, subjects=1, seed=0, spacing=4, workers=1)
    for name in all_files(tmp_path / "head_000"):
        assert content(tmp_path / "head_000" / name) == content(cohort / "head_000" / name)


def test_a_new_tissue_changes_no_other():
    draws = [Stream(0, SUBJECT, 1).generator(f"tissue {name}").random() for name in NAMES]
    assert len(set(draws)) == len(NAMES)
    table = subject_tissues(Stream(0, SUBJECT, 1))
    assert table.hounsfield[INDEX["air"]] == -1000
    ratio = table.t1 / nominal_tissues().t1
    assert 0.01 < np.abs(ratio - 1).mean() < 0.1


# ------------------------------------------------------------------ misalignment


def test_misalignment_has_the_stated_size(heads):
    for amount in (0.5, 2.0):
        displacement = misalignment(Stream(0, REALISATION, 0), GRID, heads[0].head, amount)
        squared = (displacement[:, heads[0].head] ** 2).sum(axis=0)
        assert np.sqrt(squared.mean()) == pytest.approx(amount, rel=1e-9)


def test_misalignment_moves_the_ct_and_nothing_else(cohort, tmp_path):
    moved = make_head_phantom(tmp_path, subjects=3, seed=0, spacing=4, misalignment=3.0, workers=1).parent
    for case in ("head_000", "head_001"):
        for role in ("t1", "t2", "pd", "flair", "ge", "mask"):
            name = f"{case}/{case}_{role}.nii.gz"
            assert content(moved / name) == content(cohort / name)
        assert content(moved / case / f"{case}_ct_exact.nii.gz") == content(cohort / case / f"{case}_ct.nii.gz")
    name = "head_002/head_002_ct.nii.gz"
    assert content(moved / name) == content(cohort / name)  # test cases stay exact
    table = read_cases(moved / "cases.csv")
    assert [case.path("ct_exact") is not None for case in table.cases] == [True, True, False]


def test_moved_ct_is_the_exact_one_seen_through_the_displacement(heads):
    scanner, stream = make_scanner("source", Stream(0, SCANNER, 0)), Stream(0, REALISATION, 0)
    scans = scan_ct(heads[0], nominal_tissues(), scanner, stream, moved=4.0)
    displacement = misalignment(stream, GRID, heads[0].head, 4.0) / 4.0
    exact, moved = scans["ct_exact"].astype(float), scans["ct"].astype(float)
    seen = ndimage.map_coordinates(exact, np.indices(exact.shape) + displacement, order=3, mode="nearest")
    inside = heads[0].head
    assert np.abs(moved - seen)[inside].mean() < 0.25 * np.abs(moved - exact)[inside].mean()


# ------------------------------------------------------------------ files


def test_sample_data_is_regenerated_bit_for_bit(cohort):
    names = [name for name in all_files(SAMPLE) if name != "README.md"]
    assert names == all_files(cohort)
    for name in names:
        assert content(SAMPLE / name) == content(cohort / name), name
    assert sum((SAMPLE / name).stat().st_size for name in all_files(SAMPLE)) < 2_000_000


def test_workers_change_no_byte(cohort, tmp_path):
    steps = []
    out = tmp_path / "two"
    make_head_phantom(
        out, subjects=3, seed=0, spacing=4, workers=2, progress=lambda done, total, what: steps.append((done, total))
    )
    assert all_files(out) == all_files(cohort)
    for name in all_files(cohort):
        assert (out / name).read_bytes() == (cohort / name).read_bytes(), name
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_table_and_headers(cohort):
    with (cohort / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", "split", "domain", "t1", "t2", "pd", "flair", "ge", "ct", "mask"]
    assert [(row["case"], row["split"], row["domain"]) for row in rows] == [
        ("head_000", "train", "source"), ("head_001", "val", "source"), ("head_002", "test", "source"),
    ]  # fmt: skip
    assert rows[0]["ct"] == "head_000/head_000_ct.nii.gz"
    for role, kind in (("t1", np.int16), ("ct", np.int16), ("mask", np.uint8)):
        image = nibabel.load(cohort / rows[0][role])
        assert image.get_data_dtype() == kind
        assert image.shape == (44, 59, 50)
        assert np.allclose(image.get_sform(), image.get_qform())
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert json.loads((cohort / "phantom.json").read_text())["seeds"] == {"subject": 0, "scanner": 0, "realisation": 0}


def test_target_domain_is_the_same_person_on_another_scanner(cohort, tmp_path):
    out = make_head_phantom(tmp_path, subjects=1, seed=0, domain="target", spacing=4, workers=1).parent
    table = read_cases(out / "cases.csv")
    assert table.roles == ("t1", "t2", "pd", "flair", "swi", "ct", "mask")
    assert table.cases[0].name == "head_target_000"
    assert table.cases[0].domain == "target"
    mask = read_volume(table.cases[0].images["mask"]).data
    assert (mask == read_volume(cohort / "head_000" / "head_000_mask.nii.gz").data).all()


def test_splits():
    assert [default_splits(n) for n in (1, 2, 3, 8, 20)] == [(1, 0, 0), (1, 0, 1), (1, 1, 1), (5, 1, 2), (12, 3, 5)]


def test_explicit_splits(tmp_path):
    path = make_head_phantom(tmp_path, subjects=2, spacing=6, splits=(0, 0, 2), workers=1)
    assert [case.split for case in read_cases(path).cases] == ["test", "test"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"subjects": 0}, "0 subjects"),
        ({"domain": "moon"}, "no domain 'moon'"),
        ({"spacing": 0.1}, "spacing is 0.1"),
        ({"misalignment": -1.0}, "misalignment is -1.0"),
        ({"splits": (1, 1, 1)}, "do not divide 2 subjects"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        make_head_phantom(tmp_path / "out", **({"subjects": 2} | arguments))
    assert not (tmp_path / "out").exists()


def test_a_filled_folder_is_not_overwritten_unasked(tmp_path):
    path = make_head_phantom(tmp_path, subjects=1, spacing=6, workers=1)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="already holds"):
        make_head_phantom(tmp_path, subjects=1, seed=1, spacing=6, workers=1)
    assert path.read_bytes() == before
    make_head_phantom(tmp_path, subjects=1, seed=0, spacing=6, workers=1, overwrite=True)
    assert path.read_bytes() == before


def test_a_script_without_a_main_guard_ends_with_what_to_do(tmp_path):
    """Its processes die while they start; large arguments to them must not keep this one waiting for ever."""
    script = tmp_path / "script.py"
    call = f"make_head_phantom({str(tmp_path / 'out')!r}, subjects=2, spacing=8.0, splits=(1, 0, 1), workers=2)"
    script.write_text(f"from medgen.phantom import make_head_phantom\n{call}\n")
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert "if __name__ == '__main__'" in ended.stderr
