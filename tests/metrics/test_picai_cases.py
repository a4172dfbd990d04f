"""The ten crafted cases of picai_eval's own tests, built again from their description, and the results it publishes.

Its repository describes them by their overlaps (tests/test-maps/overview.md) and states what each gives
(tests/output-expected/metrics-expected.json). Where the two differ (case 7), the stated result counts. Case 9 is
described by two candidates that overlap a lesion and stated as a miss beside a false positive; here it is the latter.
Its confidences of 1 and 2 are 0.5 and 1 here, where a confidence has a range; only their order matters.
"""

import numpy as np
import pytest

from medgen.metrics.detection import match_lesions, summarise

# truth as (start, stop) along one axis; candidates likewise with their confidence; what is published
CASES = [
    ([], [], []),
    ([(2, 9)], [], [(1, 0.0, 0.0)]),
    ([], [(2, 9, 0.5)], [(0, 0.5, 0.0)]),
    ([(2, 9)], [(20, 25, 0.5)], [(1, 0.0, 0.0), (0, 0.5, 0.0)]),
    ([(2, 4)], [(3, 5, 0.5)], [(1, 0.5, 1 / 3)]),
    ([(20, 50)], [(41, 61, 0.5), (3, 23, 1.0)], [(1, 0.5, 9 / 41), (0, 1.0, 0.0)]),
    ([(20, 26)], [(20, 22, 0.5), (24, 27, 1.0)], [(1, 0.5, 1 / 3)]),
    ([(11, 14), (15, 18)], [(12, 17, 0.5)], [(1, 0.5, 1 / 3), (1, 0.0, 0.0)]),
    ([(10, 19), (20, 25)], [(14, 21, 0.5)], [(1, 0.5, 5 / 11), (1, 0.0, 0.0)]),
    ([(2, 9)], [(20, 25, 0.5)], [(1, 0.0, 0.0), (0, 0.5, 0.0)]),
]
CONFIDENCE = [0, 0, 0.5, 0.5, 0.5, 1, 1, 0.5, 0.5, 0.5]


def line(*places):
    volume = np.zeros((70, 3, 3), np.float32)
    for start, stop, value in places:
        volume[start:stop, 1, 1] = value
    return volume


def results():
    return [
        match_lesions(line(*candidates), line(*((*lesion, 1) for lesion in lesions)).astype(np.uint8))
        for lesions, candidates, _ in CASES
    ]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_each_case_gives_the_published_findings(number):
    found = results()[number]
    expected = [(lesion, sure, pytest.approx(overlap, abs=1e-6)) for lesion, sure, overlap in CASES[number][2]]
    assert [tuple(finding) for finding in found.findings] == expected
    assert found.confidence == CONFIDENCE[number]


def test_the_ten_together_give_the_published_areas():
    found = summarise({f"case-{number}": each for number, each in enumerate(results())})
    assert found.auroc == pytest.approx(0.75)
    assert found.ap == pytest.approx(0.2777777777777778)
