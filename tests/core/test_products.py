"""Every form of a product is the same product; which one runs where is chosen in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from jina_local import Engine, products, shared_engine
from jina_local.errors import InvalidOptionError
from jina_local.products import (
    PlainProduct,
    PrepackedProduct,
    WidenedProduct,
    check_prepack,
    choose_product,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jina_local.products import Product
    from support.checkpoints import Checkpoint

CPU = torch.device("cpu")
PREPACKS = products._prepacks(torch.float32)
FORMS = [
    pytest.param(PlainProduct, id="plain"),
    pytest.param(WidenedProduct, id="widened"),
    pytest.param(
        PrepackedProduct.of,
        id="prepacked",
        marks=pytest.mark.skipif(not PREPACKS, reason="this PyTorch has no such operation"),
    ),
]


@pytest.mark.parametrize("form", FORMS)
@given(n_tokens=st.integers(1, 70), n_in=st.integers(1, 90), n_out=st.integers(1, 90))
def test_a_product_is_its_definition(
    form: Callable[[torch.Tensor], Product], n_tokens: int, n_in: int, n_out: int
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(n_tokens, n_in), torch.randn(n_out, n_in)
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


def test_float32_and_other_devices_are_left_to_pytorch() -> None:
    assert choose_product(CPU, torch.float32) is PlainProduct
    assert choose_product(torch.device("cuda", 0), torch.bfloat16) is PlainProduct


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


def test_float16_is_widened_on_processors_and_nowhere_else() -> None:
    assert choose_product(CPU, torch.float16) is WidenedProduct
    assert choose_product(CPU, torch.float16, prepack=True) is WidenedProduct
    assert choose_product(torch.device("cuda", 0), torch.float16) is PlainProduct


@pytest.mark.skipif(not PREPACKS, reason="this PyTorch has no such operation")
@pytest.mark.parametrize("wrong", ["product", "gelu", "added"])
def test_bfloat16_is_prepacked_where_all_three_operations_work(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor is played by float32, which every oneDNN computes."""
    prepacks = products._prepacks
    monkeypatch.setattr(products, "_prepacks", lambda _: prepacks(torch.float32))
    assert choose_product(CPU, torch.bfloat16) == PrepackedProduct.of

    name = "__call__" if wrong == "product" else wrong
    monkeypatch.setattr(PrepackedProduct, name, lambda *_: torch.zeros(32, 32))
    assert choose_product(CPU, torch.bfloat16) is WidenedProduct


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError, RuntimeError])
def test_where_the_operations_are_missing_bfloat16_is_left_to_pytorch(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(weight: torch.Tensor) -> PrepackedProduct:
        raise error(weight.shape)

    monkeypatch.setattr(PrepackedProduct, "of", missing)
    assert choose_product(CPU, torch.bfloat16) is WidenedProduct


@pytest.mark.skipif(not PREPACKS, reason="this PyTorch has no such operation")
def test_a_prepacked_engine_gives_the_vectors_of_a_plain_one(tiny: Checkpoint) -> None:
    texts = ["one", "a few words more", "and again " * 40]
    with (
        Engine.load(tiny.folder, device="cpu", dtype="float32") as plain,
        Engine.load(tiny.folder, device="cpu", dtype="float32", prepack=True) as packed,
        packed.add_adapter("mine", packed.adapter("separation")) as more,
    ):
        for engine in (packed, more):
            products_of = engine._model.encoder.layers[0]
            assert isinstance(products_of.qkv.product, PrepackedProduct)
            assert isinstance(products_of.fc2.product, PrepackedProduct)
            for task in (None, *plain.tasks):
                expected = plain.embed(texts, task=task).vectors
                assert np.abs(engine.embed(texts, task=task).vectors - expected).max() <= 1e-6


@pytest.mark.skipif(not PREPACKS, reason="this PyTorch has no such operation")
def test_prepacked_and_plain_weights_are_shared_apart(tiny: Checkpoint) -> None:
    engines = [
        shared_engine(tiny.folder, device="cpu", dtype="float32", prepack=prepack)
        for prepack in (False, True, True, False)
    ]
    plain, packed, packed_again, plain_again = (engine._model.encoder for engine in engines)
    assert plain is plain_again
    assert packed is packed_again
    assert plain is not packed
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("load", [Engine.load, shared_engine])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prepack": 1}, "prepack is 1; give True or False"),
        ({"prepack": True, "dtype": "float16"}, "not for float16 on cpu"),
    ],
)
def test_what_cannot_be_prepacked_is_refused_before_anything_is_read(
    load: Callable[..., Engine], options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        load("no/such/model", device="cpu", **options)


def test_prepacking_is_refused_on_other_devices_and_without_its_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InvalidOptionError, match="not for auto on cuda:0"):
        check_prepack(True, torch.device("cuda", 0), "auto")
    monkeypatch.setattr(products, "_prepacks", lambda _: False)
    with pytest.raises(InvalidOptionError, match="operations of oneDNN"):
        check_prepack(True, CPU, "float32")
