"""Heads of which each lies in another scanner."""

import csv
import json

import numpy as np
import pytest

from medgen.phantom import make_head_phantom
from medgen.phantom.head.acquisition import make_scanner
from medgen.phantom.head.sequences import PROTOCOLS
from medgen.phantom.head.tissues import INDEX, nominal_tissues
from medgen.phantom.head.varied import BIAS, NOISE, SHARPNESS_MM, varied_scanner
from medgen.phantom.randomness import SCANNER, Stream
from medgen.volume import read_volume

SPACING = 5.0


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    for name, varied in (("plain", False), ("varied", True), ("again", True)):
        make_head_phantom(folder / name, subjects=2, seed=3, spacing=SPACING, varied=varied, workers=1)
    return folder


def image(folder, case, role):
    return read_volume(folder / case / f"{case}_{role}.nii.gz").data[0]


def test_anatomy_and_ct_are_those_of_the_same_seed_and_the_mr_is_not(heads):
    for case in ("head_000", "head_001"):
        for role in ("ct", "mask"):
            np.testing.assert_array_equal(image(heads / "varied", case, role), image(heads / "plain", case, role))
        plain, varied = (image(heads / kind, case, "t1") for kind in ("plain", "varied"))
        assert not np.array_equal(plain, varied)
        np.testing.assert_array_equal(varied, image(heads / "again", case, "t1"))
    assert json.loads((heads / "varied" / "phantom.json").read_text())["varied"] is True
    assert "varied" not in json.loads((heads / "plain" / "phantom.json").read_text())


def test_what_is_known_of_each_patient_stands_beside_the_table(heads):
    """The same anatomy has the same fluid; noise and bias are those of the scanner that was drawn."""
    tables = {}
    for kind in ("plain", "varied"):
        with (heads / kind / "factors.csv").open() as file:
            tables[kind] = list(csv.DictReader(file))
    plain, varied = tables["plain"], tables["varied"]
    assert list(plain[0]) == ["case", "split", "domain", "csf_fraction", "noise", "bias"]
    assert [row["csf_fraction"] for row in plain] == [row["csf_fraction"] for row in varied]
    assert len({row["csf_fraction"] for row in plain}) == 2
    assert all(0.05 < float(row["csf_fraction"]) < 0.4 for row in plain)
    assert plain[0]["bias"] == plain[1]["bias"]
    for number, row in enumerate(varied):
        scanner = varied_scanner(make_scanner("source", Stream(3, SCANNER, 0)), Stream(3, SCANNER, 1000 + number))
        assert (float(row["noise"]), float(row["bias"])) == pytest.approx((scanner.noise, scanner.bias), rel=1e-5)


def scanners(count=200):
    return [
        varied_scanner(make_scanner("source", Stream(0, SCANNER, 0)), Stream(0, SCANNER, 1000 + n))
        for n in range(count)
    ]


def test_every_scanner_is_within_the_limits_and_t1_weighted():
    """White matter is brighter than grey and grey brighter than fluid, whatever was drawn."""
    tissues = nominal_tissues()
    drawn, contrast = scanners(), []
    for scanner in drawn:
        assert NOISE[0] <= scanner.noise <= NOISE[1]
        assert BIAS[0] <= scanner.bias <= BIAS[1]
        signal = scanner.protocols["t1"].sequence.signal(tissues)
        assert np.isfinite(signal).all()
        white, grey, fluid = (signal[INDEX[name]] for name in ("white", "grey", "csf"))
        assert white > grey > fluid
        contrast.append(fluid / white)
        for protocol in scanner.protocols.values():
            assert protocol.sequence.echo < protocol.sequence.repetition
            assert all(SHARPNESS_MM[0] <= edge <= SHARPNESS_MM[1] for edge in protocol.voxel)
    assert np.quantile(contrast, 0.95) > 1.5 * np.quantile(contrast, 0.05)
    assert len({type(scanner.protocols["t1"].sequence) for scanner in drawn}) == 3
    assert len({scanner.noise for scanner in drawn}) == len(drawn)
    assert all(scanner.protocols.keys() == PROTOCOLS.keys() for scanner in drawn)
