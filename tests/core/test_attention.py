"""Attention never leaves a sequence, whichever backend computes it; one place chooses."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jina_local import attention as attention_module
from jina_local.attention import choose_attention, sdpa_attention, varlen_attention
from jina_local.packing import PackedBatch, pack
from jina_local.sequences import PooledSequence, PooledSpan

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local.attention import Attention

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def batch_of(lengths: list[int]) -> PackedBatch:
    ids = [np.arange(length, dtype=np.int32) for length in lengths]
    spans = [(PooledSpan(row, 0, length),) for row, length in enumerate(lengths)]
    return pack([PooledSequence(i, 0, row, spans[row]) for row, i in enumerate(ids)], CPU)


def by_definition(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q·k/√d)·v of one sequence, (n, H, d) each."""
    scores = torch.einsum("qhd,khd->hqk", q, k) / q.shape[2] ** 0.5
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v)


def kernel(  # noqa: PLR0917 - the signature of the kernels that it stands for
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
) -> torch.Tensor:
    """What flash-attn and PyTorch promise, with the checks that their CUDA code makes."""
    for starts, longest in ((cu_seqlens_q, max_seqlen_q), (cu_seqlens_k, max_seqlen_k)):
        assert starts.dtype == torch.int32
        assert starts.is_contiguous()
        assert longest == starts.diff().max()
    assert all(x.stride(-1) == 1 for x in (q, k, v))
    q_of, k_of, v_of = (
        x.tensor_split(starts[1:-1].long())
        for x, starts in ((q, cu_seqlens_q), (k, cu_seqlens_k), (v, cu_seqlens_k))
    )
    return torch.cat([by_definition(*one) for one in zip(q_of, k_of, v_of, strict=True)])


@pytest.mark.parametrize(
    "attention",
    [
        pytest.param(sdpa_attention, id="sdpa"),
        pytest.param(varlen_attention(kernel), id="varlen"),
    ],
)
@given(lengths=LENGTHS)
def test_attention_never_leaves_a_sequence(attention: Attention, lengths: list[int]) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(sum(lengths), 3, 2, 8).unbind(1)  # views, as the encoder passes them
    context = attention(q, k, v, batch_of(lengths))
    assert context.shape == q.shape
    for part, *one in zip(*(torch.split(x, lengths) for x in (context, q, k, v)), strict=True):
        assert (part - by_definition(*one)).abs().max() <= 1e-6


@given(lengths=LENGTHS, broken=st.integers(0, 11))
def test_a_sequence_that_is_not_finite_leaves_its_neighbours_bit_for_bit(
    lengths: list[int], broken: int
) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(sum(lengths), 3, 2, 8)
    sound = sdpa_attention(*qkv.unbind(1), batch_of(lengths)).split(lengths)
    broken %= len(lengths)
    qkv.split(lengths)[broken].fill_(torch.nan)
    found = sdpa_attention(*qkv.unbind(1), batch_of(lengths)).split(lengths)
    for row, (one, other) in enumerate(zip(sound, found, strict=True)):
        assert torch.equal(one, other) == (row != broken)


# The choice; where there is no GPU, kernels are tried on the processor.


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = attention_module._sample
    monkeypatch.setattr(attention_module, "_sample", lambda _, *rest: sample(CPU, *rest))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither kernel can be imported."""
    for name in ("flash_attn", "torch.nn.attention.varlen"):
        monkeypatch.setitem(sys.modules, name, None)


def offer(
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    works: Callable[..., torch.Tensor] = kernel,
) -> list[str]:
    """Put a kernel there; the list names it whenever it is called."""
    called: list[str] = []

    def spy(*args: object) -> torch.Tensor:
        called.append(module)
        return works(*args)

    fake = ModuleType(module)
    setattr(fake, name, spy)
    monkeypatch.setitem(sys.modules, module, fake)
    return called


def run(attention: Attention) -> None:
    attention(*torch.randn(5, 3, 2, 8).unbind(1), batch_of([2, 3]))


@pytest.mark.usefixtures("ampere", "without")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cuda_takes_flash_attn_then_pytorchs_own_kernel_then_sdpa(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_attention(CUDA, dtype, 64) is sdpa_attention
    own = offer(monkeypatch, "torch.nn.attention.varlen", "varlen_attn")
    chosen = choose_attention(CUDA, dtype, 64)
    own.clear()
    run(chosen)
    assert own
    own.clear()
    flash = offer(monkeypatch, "flash_attn", "flash_attn_varlen_func")
    chosen = choose_attention(CUDA, dtype, 64)
    flash.clear()
    run(chosen)
    assert flash
    assert not own


def refusing(*_: object) -> torch.Tensor:
    msg = "no kernel image is available"
    raise RuntimeError(msg)


def of_older_signature(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q + k


def leaking(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: object) -> torch.Tensor:
    return by_definition(q, k, v)


def spoiling(q: torch.Tensor, *_: object) -> torch.Tensor:
    return q * torch.nan


@pytest.mark.usefixtures("ampere", "without")
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (refusing, "RuntimeError: no kernel image"),
        (of_older_signature, "TypeError"),
        (leaking, "its results differ by"),
        (spoiling, "its results differ by nan"),
    ],
)
def test_a_kernel_is_tried_before_it_is_trusted(
    broken: Callable[..., torch.Tensor],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    offer(monkeypatch, "flash_attn", "flash_attn_varlen_func", broken)
    assert choose_attention(CUDA, torch.bfloat16, 64) is sdpa_attention
    assert f"flash_attn.flash_attn_varlen_func is not used for attention: {why}" in caplog.text
    own = offer(monkeypatch, "torch.nn.attention.varlen", "varlen_attn")
    chosen = choose_attention(CUDA, torch.bfloat16, 64)
    own.clear()
    run(chosen)
    assert own


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(
    ("device", "dtype", "head_width", "capability"),
    [
        (CPU, torch.bfloat16, 64, (8, 0)),
        (CUDA, torch.float32, 64, (8, 0)),
        (CUDA, torch.bfloat16, 12, (8, 0)),
        (CUDA, torch.bfloat16, 264, (8, 0)),
        (CUDA, torch.float16, 64, (7, 5)),
    ],
)
def test_what_the_kernels_do_not_take_goes_to_sdpa(
    device: torch.device,
    dtype: torch.dtype,
    head_width: int,
    capability: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    offer(monkeypatch, "flash_attn", "flash_attn_varlen_func")
    assert choose_attention(device, dtype, head_width) is sdpa_attention


def test_this_pytorchs_own_kernel_takes_what_it_is_called_with() -> None:
    """By its declared signature, since only CUDA runs it."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    with torch.device("meta"):
        q, k, v = torch.randn(5, 3, 2, 8, dtype=torch.bfloat16).unbind(1)
    context = varlen_attention(varlen.varlen_attn)(q, k, v, batch_of([2, 3]))
    assert context.shape == q.shape
