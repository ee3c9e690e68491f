"""Rotation by complex multiplication is the rotation that the checkpoint was trained with."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jina_local.rotary import Rotary, pair_halves

BASE = 20000.0


def halves_rotated(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """RoFormer's rotation of (T, H, d), dimension i with i + d/2, in float64."""
    width = x.shape[-1]
    pair = torch.arange(0, width, 2, dtype=torch.float64)
    angles = positions[:, None, None] / BASE ** (pair / width)
    first, second = x.double().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


@given(half=st.integers(1, 8), n_heads=st.integers(1, 4))
def test_halves_are_paired_within_each_head_of_q_and_k_and_values_stay(
    half: int, n_heads: int
) -> None:
    width = 2 * half * n_heads
    rows = pair_halves(width, 2 * half)
    assert sorted(rows.tolist()) == list(range(3 * width))
    assert torch.equal(rows[2 * width :], torch.arange(2 * width, 3 * width))
    partners = rows[: 2 * width].view(-1, 2)
    assert (partners[:, 1] - partners[:, 0] == half).all()
    heads = torch.arange(2 * n_heads).repeat_interleave(half)
    assert torch.equal(partners[:, 0] // (2 * half), heads)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 4e-3)])
def test_a_rotation_is_roformers_on_rows_in_the_order_of_pairs(
    dtype: torch.dtype, tolerance: float
) -> None:
    """Bfloat16 is turned in float32 and rounded once: half a step of its eight bits."""
    torch.manual_seed(0)
    n_heads, head_width = 3, 8
    width = n_heads * head_width
    positions = torch.arange(7)
    qkv = torch.randn(7, 3 * width).to(dtype)
    rows = pair_halves(width, head_width)
    turned = Rotary.at(positions, head_width, BASE)(
        qkv[:, rows].view(7, 3, n_heads, head_width)[:, :2]
    )
    assert turned.dtype == dtype
    back = torch.empty(7, 2 * width, dtype=dtype)
    back[:, rows[: 2 * width]] = turned.flatten(1)
    found = back.view(7, 2 * n_heads, head_width).double()
    expected = halves_rotated(qkv[:, : 2 * width].view(7, 2 * n_heads, head_width), positions)
    assert ((found - expected).abs() <= tolerance * expected.abs() + 1e-6).all()


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    qk = torch.randn(1, 2, 1, 64)

    def score(i: int, j: int) -> float:
        rotary = Rotary.at(torch.tensor([i, j]), 64, BASE)
        rotated = rotary(qk.repeat(2, 1, 1, 1))
        assert torch.allclose(rotated.norm(dim=-1), qk.norm(dim=-1).expand(2, 2, 1), atol=1e-5)
        return float((rotated[0, 0] * rotated[1, 1]).sum())

    assert score(3, 10) == pytest.approx(score(103, 110), abs=1e-4)
    assert abs(score(3, 10) - score(3, 11)) > 1e-3
