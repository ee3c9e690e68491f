"""Rotary positions: each pair of dimensions of a head turns by an angle that grows with position.

The angles are those of RoFormer (arXiv 2104.09864, eq. 34). The checkpoint was trained with the
halves of a head paired: dimension i with i + D/2H. Scores do not change when the dimensions of q
and k are put into another order, so `pair_halves` puts partners side by side once, in the weights;
then a pair is a complex number, and turning all of them is one multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Rotary", "pair_halves"]


def pair_halves(width: int, head_width: int) -> torch.Tensor:
    """The order of the rows of a fused qkv weight in which partners are neighbours.

    Args:
        width: D.
        head_width: D/H, even.

    Returns:
        Rows of the checkpoint's weight, int64 (3D,); the last D, of the values, stay in place.
    """
    rows = torch.arange(3 * width, device="cpu")
    heads = rows[: 2 * width].view(-1, 2, head_width // 2)
    rows[: 2 * width] = heads.transpose(1, 2).flatten()
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """What the pairs of one batch are multiplied with.

    Attributes:
        turns: cos + i·sin of the angles, complex64 (T, 1, 1, D/2H).
    """

    turns: torch.Tensor

    @classmethod
    def at(cls, positions: torch.Tensor, head_width: int, base: float) -> Rotary:
        """For positions (T,)."""
        pair = torch.arange(0, head_width, 2, dtype=torch.float32, device=positions.device)
        frequencies = 1.0 / (base ** (pair / head_width))
        angles = positions.float()[:, None, None, None] * frequencies
        return cls(torch.complex(angles.cos(), angles.sin()))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Turn q and k, (T, 2, H, D/H), in float32 and rounded once; float32 is turned in place."""
        pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs.mul_(self.turns)).flatten(-2).to(x.dtype)
