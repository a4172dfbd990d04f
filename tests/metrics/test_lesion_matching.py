"""Candidates matched with lesions as PI-CAI does: fractions by hand, and picai_eval itself where it is there."""

import numpy as np
import pytest
from random_lesions import SHAPE, random_maps

from medgen.metrics.detection import Finding, match_lesions


def boxes(*places, dtype=np.float32):
    """A map; ``(value, x, y, z)`` writes a value to the box of these (start, stop) pairs."""
    volume = np.zeros(SHAPE, dtype)
    for value, *sides in places:
        volume[tuple(slice(*side) for side in sides)] = value
    return volume


Z = (1, 3)
LESION = (1, (2, 8), (2, 8), Z)  # 72 voxels
SECOND = (1, (12, 16), (12, 16), Z)  # 32 voxels
# name -> detection map, truth, expected findings (lesion, confidence, overlap)
CASES = {
    "hit": ([(0.8, (2, 8), (2, 5), Z)], [LESION], [(1, 0.8, 36 / 72)]),
    "miss": ([], [LESION], [(1, 0, 0)]),
    "astray": ([(0.8, (12, 16), (2, 6), Z)], [LESION], [(1, 0, 0), (0, 0.8, 0)]),
    "healthy": ([], [], []),
    "invention": ([(0.4, (2, 4), (2, 4), Z), (0.6, (8, 9), (8, 9), Z)], [], [(0, 0.4, 0), (0, 0.6, 0)]),
    # one lesion found in two pieces: the larger overlap is the hit, the other is no false positive
    "split": (
        [(0.9, (2, 4), (2, 8), Z), (0.3, (5, 8), (2, 8), Z)],
        [LESION],
        [(1, 0.3, 36 / 72)],
    ),
    # one candidate over two lesions finds one of them
    "merged": (
        [(0.7, (2, 16), (2, 8), Z)],
        [LESION, (1, (10, 16), (2, 6), Z)],
        [(1, 0.7, 72 / 168), (1, 0, 0)],
    ),
    # two lesions that touch at a corner are one
    "touching": (
        [(0.5, (2, 5), (2, 5), Z)],
        [(1, (2, 5), (2, 5), Z), (1, (5, 8), (5, 8), (3, 5))],
        [(1, 0.5, 18 / 36)],
    ),
    "candidates that touch and are equally sure": (
        [(0.5, (2, 5), (2, 5), Z), (0.5, (5, 8), (5, 8), (3, 5))],
        [LESION],
        [(1, 0.5, 18 / (36 + 72 - 18))],
    ),
    "equal confidences apart": (
        [(0.5, (2, 8), (2, 8), Z), (0.5, (12, 16), (12, 16), Z)],
        [LESION],
        [(1, 0.5, 1), (0, 0.5, 0)],
    ),
    "a sixth": ([(0.5, (2, 8), (2, 8), Z)], [(1, (7, 8), (2, 8), Z)], [(1, 0.5, 12 / 72)]),
    "just below a tenth": ([(0.5, (2, 8), (2, 8), (0, 6))], [(1, (2, 5), (2, 5), (1, 3))], [(1, 0, 0), (0, 0.5, 0)]),
    # the long candidate and the long lesion overlap by more than both hits together
    "more hits before more overlap": (
        [(0.6, (3, 18), (2, 4), Z), (0.2, (0, 2), (2, 4), Z)],
        [(1, (0, 14), (2, 4), Z), (1, (15, 20), (2, 4), Z)],
        [(1, 0.2, 2 / 14), (1, 0.6, 3 / 17)],
    ),
}


def built(name):
    candidates, lesions, expected = CASES[name]
    return boxes(*candidates), boxes(*lesions, dtype=np.uint8), expected


@pytest.mark.parametrize("name", CASES)
def test_findings_worked_out_by_hand(name):
    candidates, truth, expected = built(name)
    found = match_lesions(candidates, truth)
    assert [finding.lesion for finding in found.findings] == [bool(lesion) for lesion, _, _ in expected]
    for finding, (_, confidence, overlap) in zip(found.findings, expected, strict=True):
        assert finding.confidence == pytest.approx(confidence, abs=1e-6)
        assert finding.overlap == pytest.approx(overlap, abs=1e-6)
    assert found.confidence == pytest.approx(candidates.max())
    assert found.lesions_true == sum(lesion for lesion, _, _ in expected)
    assert found.lesions_found == sum(lesion and confidence > 0 for lesion, confidence, _ in expected)
    assert found.false_positives == sum(not lesion for lesion, _, _ in expected)


def test_the_least_overlap_is_part_of_the_hit():
    truth = boxes((1, (0, 1), (0, 10), (0, 1)), dtype=np.uint8)
    one_of_ten = boxes((0.5, (0, 1), (0, 1), (0, 1)))
    assert match_lesions(one_of_ten, truth).lesions_found == 1
    assert match_lesions(one_of_ten, truth, overlap=0.1001).lesions_found == 0
    longer = boxes((1, (0, 1), (0, 11), (0, 1)), dtype=np.uint8)
    assert match_lesions(one_of_ten, longer).findings == (Finding(True, 0, 0), Finding(False, 0.5, 0))


@pytest.mark.parametrize(
    ("candidates", "truth", "message"),
    [
        (boxes((0.5, (2, 4), (2, 4), Z), (0.6, (4, 6), (2, 4), Z)), boxes(dtype=np.uint8), r"1 of 1 .*\(0.5, 0.6\)"),
        # as many values as pieces, so counting both would not tell
        (
            boxes((0.5, (2, 4), (2, 4), Z), (0.6, (4, 6), (2, 4), Z), (0.5, (12, 13), (2, 4), Z)),
            boxes(dtype=np.uint8),
            "1 of 2 candidates have several",
        ),
        (boxes((1.5, (2, 4), (2, 4), Z)), boxes(dtype=np.uint8), "0 to 1.5"),
        (boxes((-0.5, (2, 4), (2, 4), Z)), boxes(dtype=np.uint8), "-0.5 to 0"),
        (boxes((np.nan, (2, 4), (2, 4), Z)), boxes(dtype=np.uint8), "nan"),
        (boxes(), boxes(), "integers"),
        (boxes(), boxes(dtype=np.uint8)[1:], "one shape"),
        (boxes()[0], boxes(dtype=np.uint8)[0], r"\(X, Y, Z\)"),
    ],
)
def test_what_is_no_detection_map_is_refused(candidates, truth, message):
    with pytest.raises(ValueError, match=message):
        match_lesions(candidates, truth)


def test_the_least_overlap_must_be_a_share():
    with pytest.raises(ValueError, match="least overlap"):
        match_lesions(boxes(), boxes(dtype=np.uint8), overlap=0)


def theirs(candidates, truth):
    picai = pytest.importorskip("picai_eval.eval", reason="pip install medgen[test]")
    findings, confidence, *_ = picai.evaluate_case(candidates, truth.astype(np.int32))
    return findings, confidence


@pytest.mark.parametrize("name", CASES)
def test_findings_equal_picai_eval(name):
    candidates, truth, _ = built(name)
    found = match_lesions(candidates, truth)
    findings, confidence = theirs(candidates, truth)
    assert list(found.findings) == [
        (lesion, sure, pytest.approx(overlap, abs=1e-12)) for lesion, sure, overlap in findings
    ]
    assert found.confidence == confidence


def test_random_cases_equal_picai_eval():
    several = 0
    for seed in range(150):
        candidates, truth = random_maps(seed)
        found = match_lesions(candidates, truth)
        findings, confidence = theirs(candidates, truth)
        expected = [(lesion, sure, pytest.approx(overlap, abs=1e-12)) for lesion, sure, overlap in findings]
        assert list(found.findings) == expected, seed
        assert found.confidence == confidence
        several += found.lesions_found > 1 and found.false_positives > 0
    assert several > 30


def test_a_confidence_beside_one_by_rounding_is_one():
    above = np.nextafter(np.float32(1), np.float32(2))
    found = match_lesions(boxes((above, (2, 4), (2, 4), Z)), boxes((1, (2, 4), (2, 4), Z), dtype=np.uint8))
    assert [each.confidence for each in found.findings] == [1.0]
    with pytest.raises(ValueError, match=r"0 to 1\.0001"):
        match_lesions(boxes((1.0001, (2, 4), (2, 4), Z)), boxes(dtype=np.uint8))
