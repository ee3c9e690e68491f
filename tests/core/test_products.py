"""Every form of a product is the same product; which one runs where is chosen in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from jina_local import Engine, encoder, products
from jina_local.products import (
    NarrowedProduct,
    PlainProduct,
    PrepackedProduct,
    WidenedProduct,
    choose_product,
)
from support.checkpoints import write_tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jina_local.products import Product

CPU = torch.device("cpu")
PREPACKS = products._works(PrepackedProduct.of, torch.float32)
NARROWS = products._works(NarrowedProduct.of, torch.float32)
needs_prepacking = pytest.mark.skipif(not PREPACKS, reason="no oneDNN operations for it here")
needs_narrowing = pytest.mark.skipif(not NARROWS, reason="no FBGEMM operations for it here")
FORMS = [
    pytest.param(PlainProduct, id="plain"),
    pytest.param(WidenedProduct, id="widened"),
    pytest.param(PrepackedProduct.of, id="prepacked", marks=needs_prepacking),
    pytest.param(NarrowedProduct.of, id="narrowed", marks=needs_narrowing),
]


@pytest.mark.parametrize("form", FORMS)
@given(
    n_tokens=st.integers(1, 70),
    n_in=st.integers(1, 90),
    n_out=st.integers(1, 90),
    n_wide=st.integers(0, 10),
)
def test_a_product_is_its_definition(
    form: Callable[[torch.Tensor], Product], n_tokens: int, n_in: int, n_out: int, n_wide: int
) -> None:
    """Of weights in bfloat16 but for the last columns, as those of adapters in float32."""
    torch.manual_seed(0)
    x, weight = torch.randn(n_tokens, n_in), torch.randn(n_out, n_in)
    n_narrow = max(0, n_in - n_wide)
    weight[:, :n_narrow] = weight[:, :n_narrow].bfloat16().float()
    residual = torch.randn(n_tokens, n_out)
    expected = x.double() @ weight.double().T
    left_there = torch.full((2, n_tokens * n_out + 7), torch.nan)
    with torch.inference_mode():
        product = form(weight)
        for found, wanted in (
            (product(x, left_there[0]), expected),
            (product.gelu(x, left_there[1]), F.gelu(expected)),
            (product.added(x, residual.clone()), residual + expected),
        ):
            assert found.shape == wanted.shape
            assert found.is_contiguous()
            assert (found - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_sum_with_the_residual_is_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(50, 96).to(dtype), torch.randn(64, 96).to(dtype)
    residual = torch.randn(50, 64).to(dtype) * 100
    expected = residual.double() + x.double() @ weight.double().T
    with torch.inference_mode():
        found = choose_product(CPU, dtype)(weight).added(x, residual.clone())
    spacing = torch.finfo(dtype).eps * expected.abs()
    assert ((found.double() - expected).abs() <= 0.51 * spacing + 1e-3).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_devices_are_left_to_pytorch(dtype: torch.dtype) -> None:
    assert choose_product(torch.device("cuda", 0), dtype) is PlainProduct


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_widened_products_are_rounded_once(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(50, 96).to(dtype), torch.randn(64, 96).to(dtype)
    wide = x.double() @ weight.double().T
    product, scratch = WidenedProduct(weight), torch.empty(50 * 64, dtype=dtype)
    for found, expected in (
        (product(x, scratch.clone()), wide),
        (product.gelu(x, scratch.clone()), F.gelu(wide)),
    ):
        spacing = torch.finfo(dtype).eps * expected.abs()
        assert found.dtype == dtype
        assert ((found.double() - expected).abs() <= 0.51 * spacing + 1e-5).all()


def test_float16_is_widened_on_processors() -> None:
    assert choose_product(CPU, torch.float16) is WidenedProduct


@needs_prepacking
@pytest.mark.parametrize("wrong", ["product", "gelu", "added"])
def test_bfloat16_is_prepacked_where_all_three_operations_work(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor is played by float32, which every oneDNN computes."""
    works = products._works
    monkeypatch.setattr(products, "_works", lambda form, _: works(form, torch.float32))
    assert choose_product(CPU, torch.bfloat16) == PrepackedProduct.of

    name = "__call__" if wrong == "product" else wrong
    monkeypatch.setattr(PrepackedProduct, name, lambda *_: torch.zeros(32, 32))
    assert choose_product(CPU, torch.bfloat16) is WidenedProduct


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError, RuntimeError])
@pytest.mark.parametrize(
    ("form", "dtype", "instead"),
    [
        (PrepackedProduct, torch.bfloat16, WidenedProduct),
        (NarrowedProduct, torch.float32, PlainProduct),
    ],
)
def test_where_operations_are_missing_another_form_is_chosen(
    form: type,
    dtype: torch.dtype,
    instead: type,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on ARM processors, and on x86 ones without AVX2."""

    def missing(weight: torch.Tensor) -> Product:
        raise error(weight.shape)

    monkeypatch.setattr(form, "of", missing)
    assert choose_product(CPU, dtype) is instead


@needs_narrowing
@pytest.mark.parametrize("wrong", ["product", "gelu", "added"])
def test_float32_is_narrowed_where_all_three_operations_work(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_product(CPU, torch.float32) == NarrowedProduct.of
    name = "__call__" if wrong == "product" else wrong
    monkeypatch.setattr(NarrowedProduct, name, lambda *_: torch.zeros(32, 32))
    assert choose_product(CPU, torch.float32) is PlainProduct


def narrowed(weight: torch.Tensor) -> NarrowedProduct:
    """The product of a weight, which has to be a narrowed one."""
    product = NarrowedProduct.of(weight)
    assert isinstance(product, NarrowedProduct)
    return product


@needs_narrowing
def test_every_number_in_bfloat16_is_kept_to_the_rounding_of_float32_near_one() -> None:
    """All finite ones that float16 has room for; those from 2^-17 up exactly."""
    every = torch.arange(2**16).to(torch.int32).sub(2**15).to(torch.int16).view(torch.bfloat16)
    numbers = every[every.isfinite()].float()
    numbers = numbers[numbers.abs() < 65504]
    numbers = F.pad(numbers, (0, -len(numbers) % 64)).view(-1, 64)
    product = narrowed(numbers)
    assert product.rest.untyped_storage().nbytes() == 0
    difference = (product.weight - numbers).abs()
    assert difference.max() <= 2.0**-25
    assert not difference[numbers.abs() >= 2.0**-17].any()


@needs_narrowing
@pytest.mark.parametrize("width", [1, 7, 30])
def test_columns_in_float32_are_kept_whole_beside_the_others(width: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(48, 160)
    weight[:, :-width] = weight[:, :-width].half().float()
    product = narrowed(weight)
    assert product.rest.shape == (48, width)
    assert torch.equal(product.weight, weight)
    assert product.rest.untyped_storage().nbytes() == product.rest.nbytes  # the rest has gone
    weight[:, 100] = 1e-9  # less than float16 has, and less than it may be wrong by
    assert narrowed(weight).rest.shape == (48, width)


@needs_narrowing
def test_what_float16_cannot_hold_is_left_to_pytorch() -> None:
    """Weights in float32, and larger ones than its largest."""
    torch.manual_seed(0)
    narrow = torch.randn(16, 96).bfloat16().float()
    assert isinstance(NarrowedProduct.of(torch.randn(16, 96)), PlainProduct)
    for last in (7e4, -7e4):
        weight = narrow.clone()
        weight[3, 95] = last
        product = NarrowedProduct.of(weight)
        assert isinstance(product, PlainProduct)
        assert product.weight is weight


@needs_narrowing
@pytest.mark.parametrize("last", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_not_made_one(last: float) -> None:
    weight = torch.randn(16, 96).bfloat16().float()
    weight[3, 95] = last
    x, scratch = torch.ones(2, 96), torch.empty(32)
    for product in (NarrowedProduct.of(weight), PlainProduct(weight)):
        assert (~product(x, scratch).isfinite()).nonzero()[:, 1].tolist() == [3, 3]


@needs_narrowing
@given(n_tokens=st.integers(1, 40), tokens_at_once=st.integers(1, 12))
def test_large_results_are_computed_in_strips(n_tokens: int, tokens_at_once: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(24, 64).bfloat16().float()
    x, residual = torch.randn(n_tokens, 64), torch.randn(n_tokens, 24)
    product, scratch = narrowed(weight), torch.full((n_tokens * 24 + 5,), torch.nan)
    whole = [product(x, scratch), product.gelu(x, scratch), product.added(x, residual.clone())]
    whole = [one.clone() for one in whole]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(products, "_LARGEST_RESULT", tokens_at_once * 24 * 4)
        y = product(x, scratch)
        assert (y.data_ptr() == scratch.data_ptr()) == (n_tokens > tokens_at_once)
        assert (y - whole[0]).abs().max() <= 1e-5
        assert (product.gelu(x, scratch) - whole[1]).abs().max() <= 1e-5
        assert (product.added(x, residual.clone()) - whole[2]).abs().max() <= 1e-5


@needs_narrowing
def test_a_narrowed_engine_gives_the_vectors_of_a_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the checkpoint's adapters, and with one in float32 beside them."""
    write_tiny(tmp_path, dtype=torch.bfloat16)
    engine = Engine.load(tmp_path, device="cpu", dtype="float32")
    adapter = engine.adapter("separation")
    for update in adapter.updates.values():
        update.left.mul_(torch.pi)
    more = engine.add_adapter("mine", adapter)
    forms = [one._model.encoder.layers[0].fc2.product for one in (engine, more)]
    assert all(isinstance(form, NarrowedProduct) for form in forms)
    monkeypatch.setattr(encoder, "choose_product", lambda *_: PlainProduct)
    plain = Engine.load(tmp_path, device="cpu", dtype="float32").add_adapter("mine", adapter)
    texts = ["one", "a few words more", "and again " * 40]
    for task in (None, *engine.tasks):
        expected = plain.embed(texts, task=task).vectors
        for one in (engine, more):
            assert np.abs(one.embed(texts, task=task).vectors - expected).max() <= 1e-6
    expected = plain.embed(texts, task="mine").vectors
    assert np.abs(more.embed(texts, task="mine").vectors - expected).max() <= 1e-6
    assert np.abs(more.embed(texts, task="separation").vectors - expected).max() >= 1e-4
