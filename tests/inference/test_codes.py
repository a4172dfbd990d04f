"""Codes of samples: truncation draws again and changes nothing else; the arc between two keeps the norm."""

import math

import pytest
import torch

from medgen.inference.codes import draw_code, slerp

SHAPE = (40, 50)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestTruncation:
    def test_components_beyond_are_drawn_again_and_the_others_kept(self) -> None:
        plain, cut = (draw_code(SHAPE, generator(), truncation=limit) for limit in (None, 0.8))
        within = plain.abs() <= 0.8
        assert torch.equal(cut[within], plain[within])
        assert cut.abs().max() <= 0.8
        assert torch.equal(cut, draw_code(SHAPE, generator(), truncation=0.8))

    def test_the_standard_deviation_is_that_of_a_truncated_normal(self) -> None:
        """1 - 2 T phi(T) / (2 Phi(T) - 1) with T = 1: phi = 0.24197, Phi = 0.84134, so 0.2911; clipping gives 0.516."""
        cut = draw_code((200_000,), generator(), truncation=1.0)
        assert cut.var().item() == pytest.approx(0.2911, rel=0.02)

    def test_what_no_component_is_beyond_changes_nothing(self) -> None:
        assert torch.equal(draw_code(SHAPE, generator(), truncation=9.0), draw_code(SHAPE, generator()))
        assert torch.equal(draw_code(SHAPE, generator())[0], torch.randn(SHAPE, generator=generator()))

    def test_the_temperature_comes_after_it(self) -> None:
        hot, warm = (draw_code(SHAPE, generator(), temperature=t, truncation=0.5) for t in (2.0, 1.0))
        assert torch.equal(hot, 2 * warm)
        assert 0.5 < hot.abs().max() <= 1

    def test_the_least_one_ends(self) -> None:
        assert draw_code((4000,), generator(), truncation=0.02).abs().max() <= 0.02


class TestSlerp:
    def test_by_hand(self) -> None:
        """A quarter of a turn from (2, 0) to (0, 4): half way 45 degrees and 3 long, at a third 30 degrees."""
        first, last = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
        torch.testing.assert_close(slerp(first, last, 0.5), torch.full((2,), 3 / math.sqrt(2)))
        third = (2 + 2 / 3) * torch.tensor([math.cos(math.pi / 6), 0.5])
        torch.testing.assert_close(slerp(first, last, 1 / 3), third)

    def test_ends_are_exact_and_norms_stay(self) -> None:
        first, last = (draw_code(SHAPE, generator(seed)) for seed in (1, 2))
        assert torch.equal(slerp(first, last, 0), first)
        assert torch.equal(slerp(first, last, 1), last)
        low, high = sorted(each.norm().item() for each in (first, last))
        norms = [slerp(first, last, share).norm().item() for share in (0.1, 0.5, 0.9)]
        assert all(low - 1e-3 < norm < high + 1e-3 for norm in norms), "a straight line has 0.71 of it in the middle"

    def test_opposite_codes_go_round_and_not_through_nothing(self) -> None:
        first = draw_code(SHAPE, generator())
        for last in (-first, -first * (1 + 1e-6), -2 * first):
            halves = [slerp(first, last, share) for share in (0.25, 0.5, 0.75)]
            assert min(half.norm().item() for half in halves) >= first.norm().item() * (1 - 1e-5)
            steps = [(b - a).norm().item() for a, b in zip([first, *halves], [*halves, last], strict=True)]
            assert max(steps) < 1.2 * (last.norm().item() + first.norm().item()) / 2

    @pytest.mark.parametrize("factor", [1.0, 1 + 1e-7, 3.0])
    def test_parallel_codes(self, factor: float) -> None:
        first = draw_code(SHAPE, generator())
        torch.testing.assert_close(slerp(first, factor * first, 0.5), (1 + factor) / 2 * first)

    def test_codes_without_a_direction_are_joined_by_a_line(self) -> None:
        one, nothing = torch.tensor([[2.0]]), torch.zeros(1, 3)
        torch.testing.assert_close(slerp(one, -one, 0.25), 0.5 * one)
        torch.testing.assert_close(slerp(nothing, torch.ones(1, 3), 0.5), torch.full((1, 3), 0.5))
