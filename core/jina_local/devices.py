"""Where and in what precision the model runs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from jina_local.errors import DeviceUnavailableError, InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["resolve_device", "resolve_dtype"]

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_DEVICES = ("cpu", "cuda", "mps")


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


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        InvalidOptionError: If the name is not of a dtype that the engine computes in.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in _DTYPES:
        msg = f"dtype {name!r} is not one of 'auto', {', '.join(map(repr, _DTYPES))}"
        raise InvalidOptionError(msg)
    return _DTYPES[name]
