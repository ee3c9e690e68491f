"""An engine's weights in another form of product, for comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from jina_local import Engine
    from jina_local.products import Product

__all__ = ["LINEARS", "with_products"]

LINEARS = ("qkv", "out", "fc1", "fc2")


def with_products(engine: Engine, form: Callable[[torch.Tensor], Product]) -> Engine:
    """Another engine over the same weights.

    Args:
        engine: One whose products know their weight: plain, narrowed or widened.
        form: What makes the other product of a weight (N, K).
    """
    from jina_local import Engine

    model = engine._model  # noqa: SLF001 - its parts are put together in another way here

    def other(layer: object) -> object:
        changed = {}
        for name in LINEARS:
            linear = getattr(layer, name)
            changed[name] = replace(linear, product=form(linear.product.weight))
        return replace(layer, **changed)  # type: ignore[type-var]

    layers = tuple(map(other, model.encoder.layers))
    return Engine(replace(model, encoder=replace(model.encoder, layers=layers)))  # type: ignore[arg-type]
