"""The encoder in its differentiable form: the same weights, with gradients for adapters.

Embedding fuses all adapters into one product and writes results over one another, which no gradient
survives. Training needs neither all adapters nor the last bit of speed: here each adapter is a side
path, `x Wᵀ + b + s · (x Aᵀ) Bᵀ`, and everything is a new tensor. Only what is trained asks for
gradients. Numbers equal those of `jina_local.encoder` up to rounding.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recomputed

from jina_local.adapter_files import LowRank
from jina_local.adapter_store import Adapter
from jina_local.errors import InvalidOptionError
from jina_local.inputs import check_integer, check_supported
from jina_local.tasks import NO_ADAPTER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jina_local.checkpoint import Checkpoint
    from jina_local.packing import PackedBatch

__all__ = ["TrainableEncoder"]


class TrainableEncoder(nn.Module):
    """The whole model, in float32, as parameters; autocast may compute in less.

    Args:
        checkpoint: Where the weights are, adapters of the user's own among them.
        trained: Tasks whose adapters are trained.
        train_base: Whether the weights that all tasks share are trained as well, which changes the
            vectors of every task.

    Raises:
        UnknownTaskError: If there is no adapter for a trained task.
        InvalidOptionError: If nothing would be trained.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        trained: Sequence[str],
        train_base: bool = False,
    ) -> None:
        super().__init__()
        self.tasks = checkpoint.tasks
        self.trained = tuple(dict.fromkeys(trained))
        self.train_base = train_base
        self.config = checkpoint.config
        numbers = [self.tasks.find(name).adapter for name in self.trained]
        if not numbers and not train_base:
            msg = "nothing would be trained: name at least one task, or train the base weights"
            raise InvalidOptionError(msg)

        self.word = _Lookup(checkpoint, "word")
        self.token_type = _Lookup(checkpoint, "token_type")
        self.embedding_norm = _norm(checkpoint, "embedding_norm")
        self.layers = nn.ModuleList(
            _Layer(checkpoint, f"layers.{i}") for i in range(checkpoint.config.n_layers)
        )
        self.requires_grad_(train_base)
        for module in self.modules():
            if isinstance(module, _LowRanks):
                for number, part in enumerate(module.parts):
                    part.requires_grad_(number in numbers)
        self._recompute_every = 0

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: Mapping[str, object] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Compute layers again in the backward pass instead of keeping what is inside of them.

        Args:
            gradient_checkpointing_kwargs: At most `use_reentrant=False`, which holds anyway.
            every_n_layers: Only every n-th layer is computed again.
            offload: Only false.

        Raises:
            InvalidOptionError: If it is something else.
        """
        check_supported(
            {
                "offload": (offload, False),
                "gradient_checkpointing_kwargs": (
                    dict(gradient_checkpointing_kwargs or {"use_reentrant": False}),
                    {"use_reentrant": False},
                ),
            }
        )
        self._recompute_every = check_integer("every_n_layers", every_n_layers, 1)

    def gradient_checkpointing_disable(self) -> None:
        """Keep what the backward pass needs."""
        self._recompute_every = 0

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        """Hidden states of every token, (T, D)."""
        sides = _sides(batch.adapters)
        types = torch.zeros_like(batch.ids)
        embedded = self.word(batch.ids, sides) + self.token_type(types, sides)
        x: torch.Tensor = self.embedding_norm(embedded)
        turns = _turns(batch.positions, self.config.head_width, self.config.rope_base)
        every = self._recompute_every if self.training and torch.is_grad_enabled() else 0
        for i, layer in enumerate(self.layers):
            if every and i % every == 0:
                x = recomputed(layer, x, sides, turns, batch.lengths, use_reentrant=False)
            else:
                x = layer(x, sides, turns, batch.lengths)
        return x

    def adapter(self, task: str) -> Adapter:
        """The adapter of a task as it is now, in memory of its own.

        Raises:
            UnknownTaskError: If there is no such task.
        """
        found = self.tasks.find(task)
        if found.adapter == NO_ADAPTER:
            msg = "task is None, the base model, which has no adapter; give a task's name"
            raise InvalidOptionError(msg)
        updates = {
            name.removesuffix(".updates"): part.low_rank()
            for name, module in self.named_modules()
            if isinstance(module, _LowRanks)
            for part in [module.part(found.adapter)]
            if part.rank
        }
        return Adapter(task=task, instruction=found.instruction, updates=updates)

    def base_tensors(self) -> dict[str, torch.Tensor]:
        """The weights that all tasks share, by canonical name, in memory of their own."""
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.named_parameters()
            if ".updates." not in name
        }


class _Side(NamedTuple):
    """The tokens of one adapter in a batch.

    Attributes:
        adapter: Its number.
        mask: Ones for its tokens, (T, 1); `None` if all tokens are its own.
    """

    adapter: int
    mask: torch.Tensor | None


def _sides(adapters: torch.Tensor) -> list[_Side]:
    present: list[int] = torch.unique(adapters).tolist()
    if len(present) == 1:
        return [_Side(adapter, None) for adapter in present if adapter != NO_ADAPTER]
    return [
        _Side(adapter, (adapters == adapter)[:, None].float())
        for adapter in present
        if adapter != NO_ADAPTER
    ]


class _LowRank(nn.Module):
    """`scale * left @ right`, of one module by one task."""

    blocks: torch.Tensor | None

    def __init__(self, update: LowRank, blocks: torch.Tensor | None) -> None:
        super().__init__()
        self.left = nn.Parameter(update.left.float().clone())
        self.right = nn.Parameter(update.right.float().clone())
        self.scale = update.scale
        self.register_buffer("blocks", blocks, persistent=False)

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    def masked_left(self) -> torch.Tensor:
        """`left`, with zeros where the parts of qkv that were adapted apart do not meet."""
        return self.left if self.blocks is None else self.left * self.blocks

    def low_rank(self) -> LowRank:
        left, right = self.masked_left().detach(), self.right.detach()
        return LowRank(left.cpu().clone(), right.cpu().clone(), self.scale)


def _blocks(left: torch.Tensor) -> torch.Tensor | None:
    """Ones on the diagonal blocks of q, k and v; `None` for a `left` that has no such blocks.

    A fused update of three different factors is block diagonal, and has to stay so: as three
    updates again, it has no place for anything else.
    """
    rows, rank = left.shape
    if rank == 0 or rank % 3 or rows % 3:
        return None
    ones = torch.ones(rows // 3, rank // 3)
    blocks = torch.block_diag(ones, ones, ones)  # type: ignore[no-untyped-call] # not annotated
    is_block_diagonal = not (left.cpu().float() * (1 - blocks)).any()
    return blocks if is_block_diagonal and left.any() else None


class _LowRanks(nn.Module):
    """The updates of one module by all tasks."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        super().__init__()
        may_be_apart = name.endswith(".qkv")
        self.parts = nn.ModuleList(
            _LowRank(update, _blocks(update.left) if may_be_apart else None)
            for update in checkpoint.low_ranks(name)
        )

    def part(self, adapter: int) -> _LowRank:
        found = self.parts[adapter]
        assert isinstance(found, _LowRank)  # noqa: S101 - nn.ModuleList forgets its type
        return found

    def of(self, sides: list[_Side]) -> Iterator[tuple[_LowRank, torch.Tensor | None]]:
        for side in sides:
            part = self.part(side.adapter)
            if part.rank:
                yield part, side.mask


class _Lookup(nn.Module):
    """An embedding with the adapters of all tasks; never an adapted table."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(checkpoint.tensor(f"{name}.weight").float())
        self.updates = _LowRanks(checkpoint, name)

    def forward(self, ids: torch.Tensor, sides: list[_Side]) -> torch.Tensor:
        y = F.embedding(ids, self.weight)
        for part, mask in self.updates.of(sides):
            update = part.scale * (F.embedding(ids, part.left) @ part.right)
            y = y + (update if mask is None else mask * update)
        return y


class _Linear(nn.Module):
    """A linear with the adapters of all tasks."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(checkpoint.tensor(f"{name}.weight").float())
        self.bias = nn.Parameter(checkpoint.tensor(f"{name}.bias").float())
        self.updates = _LowRanks(checkpoint, name)

    def forward(self, x: torch.Tensor, sides: list[_Side]) -> torch.Tensor:
        y = F.linear(x, self.weight, self.bias)
        for part, mask in self.updates.of(sides):
            update = part.scale * F.linear(F.linear(x, part.right), part.masked_left())
            y = y + (update if mask is None else mask * update)
        return y


class _Layer(nn.Module):
    """One layer; see `jina_local.encoder`."""

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        super().__init__()
        self.n_heads = checkpoint.config.n_heads
        self.qkv = _Linear(checkpoint, f"{name}.qkv")
        self.out = _Linear(checkpoint, f"{name}.out")
        self.fc1 = _Linear(checkpoint, f"{name}.fc1")
        self.fc2 = _Linear(checkpoint, f"{name}.fc2")
        self.attention_norm = _norm(checkpoint, f"{name}.attention_norm")
        self.mlp_norm = _norm(checkpoint, f"{name}.mlp_norm")

    def forward(
        self,
        x: torch.Tensor,
        sides: list[_Side],
        turns: tuple[torch.Tensor, torch.Tensor],
        lengths: Sequence[int],
    ) -> torch.Tensor:
        qkv = self.qkv(x, sides).view(len(x), 3, self.n_heads, -1)
        q, k = _turned(qkv[:, :2], *turns).unbind(1)  # (T, H, D/H)
        context = _attended(q, k, qkv[:, 2], lengths)
        x = self.attention_norm(x + self.out(context.flatten(1), sides))
        inner = F.gelu(self.fc1(x, sides))
        normed: torch.Tensor = self.mlp_norm(x + self.fc2(inner, sides))
        return normed


def _norm(checkpoint: Checkpoint, name: str) -> nn.LayerNorm:
    norm = nn.LayerNorm(checkpoint.config.width, eps=checkpoint.config.layer_norm_eps)
    with torch.no_grad():
        norm.weight.copy_(checkpoint.tensor(f"{name}.weight"))
        norm.bias.copy_(checkpoint.tensor(f"{name}.bias"))
    return norm


def _turns(
    positions: torch.Tensor, head_width: int, base: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of the angles of `jina_local.rotary`, each (T, 1, 1, D/2H)."""
    pair = torch.arange(0, head_width, 2, dtype=torch.float32, device=positions.device)
    angles = positions.float()[:, None, None, None] / (base ** (pair / head_width))
    return angles.cos(), angles.sin()


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Dimension i of a head turned with i + D/2H: (T, 2, H, D/H) in float32, and rounded once."""
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(x.dtype)


def _attended(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: Sequence[int]
) -> torch.Tensor:
    """Attention within each sequence, one call per run of equal lengths: (T, H, D/H)."""
    contexts: list[torch.Tensor] = []
    start = 0
    for length, run in groupby(lengths):
        n = len(list(run))
        stop = start + n * length
        q_run, k_run, v_run = (
            x[start:stop].view(n, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)
        )
        attended = F.scaled_dot_product_attention(q_run, k_run, v_run)  # (n, H, length, D/H)
        contexts.append(attended.transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(contexts)
