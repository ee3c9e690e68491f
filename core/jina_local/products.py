"""Activations times a weight, x·Wᵀ, in the form that is fastest for a device and dtype.

A layer needs three things of a product: the product itself, GELU of it, and its sum with the
residual. In 16 bits every form does the sum before it rounds, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "NarrowedProduct",
    "PlainProduct",
    "PrepackedProduct",
    "Product",
    "WidenedProduct",
    "choose_product",
]

_MOST_LEFT_OUT = 2.0**-25  # half a step between the smallest numbers of float16
_LEAST_OVER_REST = 4  # columns in all, over those that need a second product
_ROWS_AT_ONCE = 64  # of a weight that is looked at, so that this takes no memory to speak of
_LARGEST_RESULT = 2**25 - 4096  # bytes; glibc gives larger pieces back, so that all are new ones


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
class NarrowedProduct:
    """A float32 product whose weight is kept in float16, without losing any of it.

    The published weights are bfloat16, and float16 has more digits: it holds them exactly, down to
    numbers so small that half a step of it, 3e-8, is what float32 rounds off a number near one.
    Columns it cannot hold, such as those of adapters trained in float32, have a second, float32
    product for what is missing. FBGEMM's kernel widens numbers as it multiplies, in float32: there
    is half as much memory to read, and nothing to rearrange.

    Attributes:
        packed: (N, K) in float16, opaque.
        rest: What float16 leaves out of the last columns, float32 (N, C) with C ≥ 0.
        n_out: N.
    """

    packed: torch.ScriptObject
    rest: torch.Tensor
    n_out: int

    @classmethod
    def of(cls, weight: torch.Tensor) -> Product:
        """Of a float32 weight (N, K), unless float16 cannot hold too many columns of it."""
        parts = torch.split(weight, _ROWS_AT_ONCE)
        most = torch.stack([_left_out(part).abs().amax(dim=0) for part in parts]).amax(dim=0)
        too_much = (most > _MOST_LEFT_OUT).nonzero()
        first = int(too_much[0]) if len(too_much) else weight.shape[1]
        n_rest = weight.shape[1] - first
        if n_rest * _LEAST_OVER_REST > weight.shape[1] or not most.isfinite().all():
            return PlainProduct(weight)
        packed = torch.ops.quantized.linear_prepack_fp16(weight, None)
        return cls(packed, _left_out(weight[:, first:]), len(weight))

    @property
    def weight(self) -> torch.Tensor:
        """What is multiplied with, float32 (N, K)."""
        weight: torch.Tensor = torch.ops.quantized.linear_unpack_fp16(self.packed)[0]
        weight[:, weight.shape[1] - self.rest.shape[1] :] += self.rest
        return weight

    def __call__(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`; a large result lies in `scratch`."""
        return self._finished(x, scratch, lambda y: y)

    def gelu(self, x: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
        """See `Product`; a large result lies in `scratch`."""
        return self._finished(x, scratch, torch.ops.aten.gelu_)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """See `Product`; the result lies in `residual`."""
        for part, into in zip(self._strips(x), self._strips(residual), strict=True):
            into.add_(self._product(part))
        return residual

    def _finished(
        self,
        x: torch.Tensor,
        scratch: torch.Tensor,
        finish: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        strips = self._strips(x)
        if len(strips) == 1:
            return finish(self._product(x))
        y = scratch[: len(x) * self.n_out].view(len(x), self.n_out)
        for part, into in zip(strips, self._strips(y), strict=True):
            into.copy_(finish(self._product(part)))
        return y

    def _strips(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        n_tokens = max(1, _LARGEST_RESULT // (self.n_out * x.itemsize))
        return torch.split(x, n_tokens)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        if self.rest.shape[1]:
            y.addmm_(x[:, x.shape[1] - self.rest.shape[1] :], self.rest.t())
        return y


def _left_out(weight: torch.Tensor) -> torch.Tensor:
    """What float16 loses of float32 numbers."""
    return weight - weight.half().float()


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
        return self._pointwise(x, "gelu", "none")

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """See `Product`."""
        op = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001
        result: torch.Tensor = op(x, residual, self.weight, None, "add")
        return result

    def _pointwise(self, x: torch.Tensor, name: str, algorithm: str) -> torch.Tensor:
        op = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        result: torch.Tensor = op(x, self.weight, None, name, [], algorithm)
        return result


def choose_product(device: torch.device, dtype: torch.dtype) -> Callable[[torch.Tensor], Product]:
    """What makes products of weights on this device and in this dtype.

    Float32 is narrowed on processors with FBGEMM's kernels (x86-64 with AVX2). Bfloat16 is
    prepacked on processors whose oneDNN computes it, with AMX or AVX-512; elsewhere 16 bits are
    widened, because PyTorch's own product of them is many times slower
    (`benchmarks/dtype_speed.py`, `query_latency.py`).

    Args:
        device: Where they are computed.
        dtype: In which dtype.
    """
    if device.type != "cpu":
        return PlainProduct
    if dtype == torch.float32:
        return NarrowedProduct.of if _works(NarrowedProduct.of, dtype) else PlainProduct
    prepacks = dtype == torch.bfloat16 and _works(PrepackedProduct.of, dtype)
    return PrepackedProduct.of if prepacks else WidenedProduct


def _works(form: Callable[[torch.Tensor], Product], dtype: torch.dtype) -> bool:
    """Whether this PyTorch and processor have its operations, and these mean what they should."""
    x, weight, residual = (torch.eye(32, dtype=dtype, device="cpu") * n for n in (1, 2, 3))
    scratch = torch.empty_like(x).view(-1)
    try:
        product = form(weight)
        found = (
            product(x, scratch).clone(),
            product.gelu(x, scratch),
            product.added(x, residual.clone()),
        )
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = (weight, F.gelu(weight), residual + weight)
    return all(torch.allclose(a, b, rtol=0.02) for a, b in zip(found, expected, strict=True))
