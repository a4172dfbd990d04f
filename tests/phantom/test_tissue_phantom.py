"""Heads with tissue labels, in scans of any contrast."""

from itertools import pairwise

import numpy as np
import pytest

from medgen.cases import read_cases
from medgen.cli import main
from medgen.errors import UsageError
from medgen.phantom import make_tissue_phantom
from medgen.phantom.grid import field_of_view
from medgen.phantom.head.anatomy import build_head
from medgen.phantom.head.atrophy import Atrophy
from medgen.phantom.head.contrasts import CLASSES, IMAGE, any_scanner, stripped_mask, tissue_labels
from medgen.phantom.head.pathology import brain_mask
from medgen.phantom.head.sequences import DrawnContrast, SpinEcho
from medgen.phantom.head.template import load_template
from medgen.phantom.head.tissues import INDEX, nominal_tissues
from medgen.phantom.randomness import SCANNER, SUBJECT, Stream
from medgen.volume import read_label, read_volume

SMALL = {"subjects": 4, "scans": 3, "seed": 3, "spacing": 6, "workers": 1}
GREY, WHITE, CSF = 1, 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tissue_phantom(tmp_path_factory.mktemp("tissues"), splits=(2, 1, 1), **SMALL).parent


@pytest.fixture(scope="module")
def head():
    return build_head(load_template(2.0), Stream(0, SUBJECT, 0), field_of_view(2.0))


def pairs(folder):
    for case in read_cases(folder / "cases.csv").cases:
        yield case, read_volume(case.images["image"]).data[0], read_label(case.images["label"]).data[0]


def test_all_scans_of_a_person_are_of_one_patient_and_split(folder):
    cases = read_cases(folder / "cases.csv").cases
    assert len(cases) == SMALL["subjects"] * SMALL["scans"]
    assert {(case.patient, case.split) for case in cases} == {
        ("head_000", "train"),
        ("head_001", "train"),
        ("head_002", "val"),
        ("head_003", "test"),
    }


def test_scans_of_one_person_differ_in_contrast_and_not_in_tissue(folder):
    whole = {}
    for case, image, label in pairs(folder):
        if (label > CSF).any():
            whole.setdefault(case.patient, []).append((image, label))
    several = [scans for scans in whole.values() if len(scans) > 1]
    assert several
    for scans in several:
        for (one, label), (other, again) in pairwise(scans):
            np.testing.assert_array_equal(label, again)
            assert np.abs(np.corrcoef(one[label > 0], other[label > 0])[0, 1]) < 0.97


def test_some_scans_have_no_skull_and_are_zero_around_the_brain(folder):
    kinds = {"whole": 0, "stripped": 0}
    for _, image, label in pairs(folder):
        stripped = not (label > CSF).any()
        kinds["stripped" if stripped else "whole"] += 1
        if stripped:
            assert (image[label == 0] == 0).mean() > 0.95  # an edge outside the brain leaves a rim without a label
        else:
            assert (label == len(CLASSES)).any()
    assert min(kinds.values()) > 0


def test_the_labels_are_the_tissue_that_takes_most(head):
    labels = tissue_labels(head)
    for number, names in enumerate(CLASSES.values(), 1):
        share = head.fractions[[INDEX[name] for name in names]].sum(axis=0)
        assert share[(labels == number)].min() > 0.15
        assert (share[labels == number].mean()) > 0.7
    assert not labels[~head.head].any()
    assert labels[head.head].all()


def test_a_stripped_head_has_an_edge_near_that_of_the_brain(head):
    brain = brain_mask(head)
    volumes = [stripped_mask(head, np.random.default_rng(seed)).sum() / brain.sum() for seed in range(12)]
    assert 0.6 < min(volumes) < 1 < max(volumes) < 1.4


def test_a_shrunken_brain_has_wide_furrows_and_ventricles_and_a_gap_at_the_skull(head):
    def shrunken(**how):
        return tissue_labels(build_head(load_template(2.0), Stream(0, SUBJECT, 0), field_of_view(2.0), Atrophy(**how)))

    whole = tissue_labels(head)
    np.testing.assert_array_equal(shrunken(), whole)
    deep = head.brain_distance < -40
    thin = shrunken(cortex=2.0)
    lost = (whole == GREY) & (thin == CSF)
    assert lost.sum() > 0.2 * (whole == GREY).sum()
    assert not lost[deep].any()  # nuclei stay
    assert (thin == WHITE)[whole == WHITE].mean() > 0.97
    wide = shrunken(widening=4.0)
    assert (wide == CSF)[deep].sum() > 2 * (whole == CSF)[deep].sum()
    np.testing.assert_array_equal(wide[~deep & (head.brain_distance > -25)], whole[~deep & (head.brain_distance > -25)])
    assert (shrunken(gap=3.0) == CSF).sum() > 1.2 * (whole == CSF).sum()


def test_three_of_five_brains_have_shrunk():
    drawn = [Atrophy.draw(Stream(0, SUBJECT, number)) for number in range(200)]
    assert 65 < drawn.count(Atrophy()) < 95
    some = [each for each in drawn if each != Atrophy()]
    for values, low, high in (
        ([each.widening for each in some], 0, 5),
        ([each.cortex for each in some], 1.8, 7),
        ([each.gap for each in some], 0, 3),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.2 * (high - low) < max(values) <= high


def test_one_of_five_contrasts_is_free_and_none_hides_grey_in_white():
    scanners = [any_scanner(Stream(0, SCANNER, number)) for number in range(200)]
    assert any_scanner(Stream(0, SCANNER, 7)) == scanners[7]
    sequences = [scanner.protocols[IMAGE].sequence for scanner in scanners]
    echoes = [each for each in sequences if isinstance(each, SpinEcho)]
    t2 = [each for each in echoes if each.repetition >= 2500 and each.echo >= 60 and not each.invert]
    assert 35 < len(t2) < 62  # three of ten physical contrasts
    assert 27 < sum(each.invert for each in echoes) < 53  # FLAIR, a quarter
    free = [sequence for sequence in sequences if isinstance(sequence, DrawnContrast)]
    assert 27 < len(free) < 55
    signals = np.array([sequence.signal(nominal_tissues()) for sequence in free])
    assert np.abs(signals[:, INDEX["grey"]] - signals[:, INDEX["white"]]).min() >= 0.06
    assert 0.3 < (signals[:, INDEX["grey"]] > signals[:, INDEX["white"]]).mean() < 0.7
    assert not signals[:, INDEX["air"]].any()
    assert all(not scanner.protocols[IMAGE].susceptible for scanner in scanners)
    assert max(max(scanner.protocols[IMAGE].voxel) for scanner in scanners) <= 5


def test_the_result_does_not_depend_on_the_number_of_people(folder, tmp_path):
    make_tissue_phantom(tmp_path, **(SMALL | {"subjects": 1, "scans": 2}))
    for name in ("head_000_00/head_000_00_image.nii.gz", "head_000_01/head_000_01_label.nii.gz"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("wrong", [{"scans": 0}, {"subjects": 0}, {"splits": (1, 1, 1)}, {"spacing": 0.1}])
def test_what_cannot_be_made_is_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        make_tissue_phantom(tmp_path, **(SMALL | wrong))
    assert not list(tmp_path.iterdir())


def test_on_the_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["phantom", "tissues", str(tmp_path / "x"), "--subjects", "1", "--scans", "1", "--spacing", "8"])
    assert exit_.value.code == 0
    assert "cases.csv" in capsys.readouterr().out
