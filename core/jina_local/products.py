"""Activations times a weight, x·Wᵀ, in the form that is fastest for a device and dtype.

A layer needs three things of a product: the product itself, GELU of it, and its sum with the
residual. Both forms here do the sum inside the multiplication, where it is not rounded on its own
and costs no pass over memory; prepacked bfloat16 weights do GELU there as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional as F

from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_flag

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "PlainProduct",
    "PrepackedProduct",
    "Product",
    "WidenedProduct",
    "check_prepack",
    "choose_product",
]


class Product(Protocol):
    """Activations (T, K) times one weight (N, K); the results are (T, N).

    `scratch` is flat memory that a result may be laid into: large fresh memory costs a page fault
    for every 4 KiB, which at 2048 tokens is as much time as GELU takes.
    """

    def __call__(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """x·Wᵀ."""

    def gelu(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """GELU of x·Wᵀ, the exact one with erf."""

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Sum of `residual` (T, N) and x·Wᵀ; may be laid into `residual`."""


@dataclass(frozen=True, slots=True, eq=False)
class PlainProduct:
    """PyTorch's own product, for every device and dtype.

    Attributes:
        weight: (N, K).
    """

    weight: torch.Tensor

    def __call__(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `scratch`."""
        shape = (len(x), len(self.weight))
        return torch.mm(x, self.weight.t(), out=scratch[: shape[0] * shape[1]].view(shape))

    def gelu(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `scratch`."""
        y = self(x, scratch)
        torch.ops.aten.gelu_(y)
        return y

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `residual`."""
        return residual.addmm_(x, self.weight.t())


@dataclass(frozen=True, slots=True, eq=False)
class WidenedProduct:
    """A product of 16-bit numbers by way of float32, for processors that multiply only that.

    Each weight is widened when its turn comes: memory stays that of 16 bits. Sums and GELU are in
    float32 and rounded once, as instructions for 16 bits do it.

    Attributes:
        weight: (N, K), in 16 bits.
    """

    weight: torch.Tensor

    def __call__(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `scratch`."""
        return self._rounded(self._wide(x), scratch)

    def gelu(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `scratch`."""
        y = self._wide(x)
        torch.ops.aten.gelu_(y)
        return self._rounded(y, scratch)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `residual`."""
        return residual.copy_(residual.float().addmm_(x.float(), self.weight.float().t()))

    def _wide(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() @ self.weight.float().t()

    def _rounded(self, y: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        return scratch[: y.numel()].view(y.shape).copy_(y)


@dataclass(frozen=True, slots=True, eq=False)
class PrepackedProduct:
    """oneDNN's product, with the weight kept in the order in which its kernel reads it.

    Attributes:
        weight: (N, K), opaque.
    """

    weight: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor) -> PrepackedProduct:
        """Reorder a weight (N, K)."""
        return cls(torch.ops.mkldnn._reorder_linear_weight(weight))  # noqa: SLF001 - no public op

    def __call__(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`."""
        del scratch  # the op brings its own
        return self._pointwise(x, "none", "")

    def gelu(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`."""
        del scratch
        if self.weight.dtype == torch.bfloat16:
            return self._pointwise(x, "gelu", "none")
        y = self._pointwise(x, "none", "")  # in float32 the fused GELU takes longer than a pass
        torch.ops.aten.gelu_(y)
        return y

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """See `Product`."""
        op = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001
        result: torch.Tensor = op(x, residual, self.weight, None, "add")
        return result

    def _pointwise(self, x: torch.Tensor, name: str, algorithm: str) -> torch.Tensor:
        op = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        result: torch.Tensor = op(x, self.weight, None, name, [], algorithm)
        return result


def choose_product(
    device: torch.device, dtype: torch.dtype, *, prepack: bool = False
) -> Callable[[torch.Tensor], Product]:
    """What makes products of weights on this device and in this dtype.

    Bfloat16 is prepacked on processors whose oneDNN computes it, with AMX or AVX-512; elsewhere 16
    bits are widened, because PyTorch's own product of them is many times slower. Float32 is
    left to MKL unless asked for: it is faster with thousands of tokens, and spends most of the time
    of a few on rearranging the weight (`benchmarks/dtype_speed.py`, `query_latency.py`).

    Args:
        device: Where they are computed.
        dtype: In which dtype.
        prepack: Whether float32 is prepacked; see `check_prepack`.
    """
    if device.type != "cpu":
        return PlainProduct
    if dtype == torch.float32:
        return PrepackedProduct.of if prepack else PlainProduct
    prepacks = dtype == torch.bfloat16 and _prepacks(dtype)
    return PrepackedProduct.of if prepacks else WidenedProduct


def check_prepack(prepack: object, device: torch.device, dtype: str) -> None:
    """Refuse to prepack what cannot be.

    Args:
        prepack: Whether float32 is to be prepacked.
        device: Where the products are computed.
        dtype: The dtype that was asked for, or `auto`.

    Raises:
        InvalidOptionError: If `prepack` is no flag, or true where float32 cannot be prepacked.
    """
    check_flag("prepack", prepack)
    if not prepack:
        return
    if device.type != "cpu" or dtype == "float16":
        msg = (
            f"prepack=True is for float32 on a processor, not for {dtype} on {device}: "
            "leave it out, or give device='cpu' and dtype='float32'"
        )
        raise InvalidOptionError(msg)
    if not _prepacks(torch.float32):
        msg = "prepack=True needs operations of oneDNN that this PyTorch lacks: leave it out"
        raise InvalidOptionError(msg)


def _prepacks(dtype: torch.dtype) -> bool:
    """Whether this PyTorch and processor have the private ops, and these mean what they should."""
    x, weight, residual = (torch.eye(32, dtype=dtype, device="cpu") * n for n in (1, 2, 3))
    try:
        product = PrepackedProduct.of(weight)
        found = (product(x, x), product.gelu(x, x), product.added(x, residual))
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = (weight, F.gelu(weight), residual + weight)
    return all(torch.allclose(a, b, rtol=0.02) for a, b in zip(found, expected, strict=True))
