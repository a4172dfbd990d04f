"""VICReg's three terms by hand and by NumPy."""

import numpy as np
import pytest
import torch

from medgen.losses.embedding import EPSILON, covariance, invariance, variance


def test_invariance_is_the_mean_squared_difference() -> None:
    assert float(invariance(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]]))) == 2.0


def test_variance_is_a_hinge_at_a_standard_deviation_of_1() -> None:
    """Columns with variances 8 (beyond the hinge), 0.5 and 0."""
    table = torch.tensor([[0.0, 0.0, 7.0], [4.0, 1.0, 7.0]])
    expected = (0 + (1 - (0.5 + EPSILON) ** 0.5) + (1 - EPSILON**0.5)) / 3
    assert float(variance(table)) == pytest.approx(expected, abs=1e-6)


def test_a_collapsed_embedding_has_a_gradient_that_is_finite() -> None:
    table = torch.ones(4, 3, requires_grad=True)
    variance(table).backward()
    assert torch.isfinite(table.grad).all()


def test_covariance_leaves_out_the_variances() -> None:
    table = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    matrix = np.cov(table.T)
    np.fill_diagonal(matrix, 0)
    assert float(covariance(torch.from_numpy(table))) == pytest.approx((matrix**2).sum() / 4, rel=1e-5)
    assert float(covariance(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))) == pytest.approx((2**2 + 2**2) / 2)
