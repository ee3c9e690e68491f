"""Where and in what precision the model runs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from jina_local.errors import DeviceUnavailableError, InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

__all__ = ["check_dtype", "on_device", "resolve_device", "resolve_dtype"]

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_DEVICES = ("cpu", "cuda", "mps")
_LEAST_WIDTH = 512


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; MPS is used only by name.

    Raises:
        InvalidOptionError: If the name is not of a device that the engine can use.
        DeviceUnavailableError: If this machine does not have the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in _DEVICES:
        msg = f"device {name!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:N', 'mps'"
        raise InvalidOptionError(msg)
    if device.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = device.index if device.index is not None else 0
        if index >= n_devices:
            msg = f"device {name!r} is not there: PyTorch sees {n_devices} CUDA devices; use 'cpu'"
            raise DeviceUnavailableError(msg)
        return torch.device("cuda", index)
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            msg = "device 'mps' is not there: PyTorch sees no Apple GPU; use 'cpu'"
            raise DeviceUnavailableError(msg)
        warnings.warn("the MPS path has never been tested; compare with device='cpu'", stacklevel=3)
    return device


def check_dtype(name: str) -> None:
    """Refuse what is no dtype that the engine computes in.

    Raises:
        InvalidOptionError: If so.
    """
    if name != "auto" and name not in _DTYPES:
        msg = f"dtype {name!r} is not one of 'auto', {', '.join(map(repr, _DTYPES))}"
        raise InvalidOptionError(msg)


def resolve_dtype(name: str, device: torch.device, width: int) -> torch.dtype:
    """The dtype of a name; `auto` is the fastest whose vectors are as good.

    That is bfloat16 on CUDA and on processors that multiply it themselves, and float32 elsewhere.
    On a processor small models, such as the demo model, gain nothing by it.

    Args:
        name: A dtype, or `auto`.
        device: Where the model runs.
        width: D.

    Raises:
        InvalidOptionError: If the name is not of a dtype that the engine computes in.
    """
    check_dtype(name)
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16
    multiplies = device.type == "cpu" and width >= _LEAST_WIDTH and _processor_has_bfloat16()
    return torch.bfloat16 if multiplies else torch.float32


def _processor_has_bfloat16() -> bool:
    """Whether there is AMX or AVX512-BF16; PyTorch has no public question for it."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def on_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on the device; on CUDA without waiting for what the device is computing.

    It copies from pinned memory, which PyTorch keeps until the copy is done
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#use-pinned-memory-buffers).
    """
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
