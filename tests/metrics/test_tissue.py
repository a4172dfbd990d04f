"""Tissue classes at their thresholds and the body mask."""

import numpy as np

from medgen.metrics.tissue import body_mask, tissue


def test_each_voxel_has_exactly_one_tissue():
    ct = np.array([-1024, -250.5, -250, 0, 199.5, 200, 3000])
    assert tissue(ct, "air").tolist() == [True, True, False, False, False, False, False]
    assert tissue(ct, "soft").tolist() == [False, False, True, True, True, False, False]
    assert tissue(ct, "bone").tolist() == [False, False, False, False, False, True, True]


def test_body_is_the_largest_piece_with_its_cavities():
    ct = np.full((12, 9, 9), -1000.0)
    ct[1:8, 1:8, 1:8] = 40
    ct[4, 4, 4] = -1000  # a sinus
    ct[10, 1:8, 1:8] = 100  # the couch
    body = body_mask(ct)
    assert body.sum() == 7**3
    assert body[4, 4, 4]
    assert not body[10].any()


def test_no_body_in_air():
    assert not body_mask(np.full((3, 3, 3), -1000.0)).any()
