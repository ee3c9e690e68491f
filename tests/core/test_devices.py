"""Device and dtype by name: `auto` is what the machine has, and nothing is guessed from a typo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from jina_local.devices import check_dtype, resolve_device, resolve_dtype
from jina_local.errors import DeviceUnavailableError, InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Callable

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
needs_no_mps = pytest.mark.skipif(
    torch.backends.mps.is_available(), reason="this machine has an Apple GPU"
)


def test_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == CPU


@needs_no_cuda
def test_auto_is_the_cpu_where_there_is_no_cuda() -> None:
    assert resolve_device("auto") == CPU


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_cuda_is_its_first_device_unless_told_otherwise(name: str) -> None:
    assert resolve_device(name) == CUDA


@needs_no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_that_is_not_there_is_named_and_never_replaced_by_the_cpu(name: str) -> None:
    with pytest.raises(
        DeviceUnavailableError, match=rf"device '{name}' is not there.* 0 CUDA.*use 'cpu'"
    ) as raised:
        resolve_device(name)
    assert isinstance(raised.value, RuntimeError)


def test_an_index_beyond_the_last_device_is_not_there() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"'cuda:99' is not there: PyTorch sees \d+"):
        resolve_device("cuda:99")


@needs_no_mps
def test_mps_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"'mps' is not there.*use 'cpu'"):
        resolve_device("mps")


@pytest.mark.parametrize(
    "name",
    ["gpu", "GPU", "CPU", "tpu", "xpu", "meta", "cuda:", "cuda:x", "cuda:-1", "cpu cuda", ""],
)
def test_an_unknown_device_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        resolve_device(name)
    assert isinstance(raised.value, ValueError)
    expected = f"device {name!r} is not one of 'auto', 'cpu', 'cuda', 'cuda:N', 'mps'"
    assert str(raised.value) == expected


@pytest.mark.parametrize("name", [None, 0, 1.5])
def test_a_device_is_a_name(name: object) -> None:
    with pytest.raises(InvalidOptionError, match=f"device {name!r} is not one of 'auto', 'cpu'"):
        resolve_device(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [64, 256, 1024])
@pytest.mark.parametrize("has_bfloat16", [False, True])
@pytest.mark.parametrize("device", [CPU, CUDA, torch.device("mps")], ids=str)
def test_auto_is_bfloat16_where_it_is_multiplied_and_pays(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, has_bfloat16: bool, width: int
) -> None:
    monkeypatch.setattr("jina_local.devices._processor_has_bfloat16", lambda: has_bfloat16)
    pays = device == CUDA or (device == CPU and has_bfloat16 and width >= 512)
    expected = torch.bfloat16 if pays else torch.float32
    assert resolve_dtype("auto", device, width) is expected


@pytest.mark.parametrize("amx", [False, True])
@pytest.mark.parametrize("avx512", [False, True])
def test_processors_are_asked_for_either_instruction(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx512: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    expected = torch.bfloat16 if amx or avx512 else torch.float32
    assert resolve_dtype("auto", CPU, 1024) is expected


def test_a_pytorch_that_cannot_say_has_no_such_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert resolve_dtype("auto", CPU, 1024) is torch.float32


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_named_dtype_is_that_dtype_on_any_device(
    dtype: torch.dtype, device: torch.device
) -> None:
    assert resolve_dtype(str(dtype).removeprefix("torch."), device, 1024) is dtype


@pytest.mark.parametrize("name", ["float64", "fp16", "bf16", "int8", "torch.float32", "AUTO", ""])
@pytest.mark.parametrize(
    "refuses", [check_dtype, lambda name: resolve_dtype(name, CPU, 64)], ids=["check", "resolve"]
)
def test_an_unknown_dtype_is_refused_with_the_choices(
    refuses: Callable[[str], object], name: str
) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        refuses(name)
    expected = f"dtype {name!r} is not one of 'auto', 'float32', 'bfloat16', 'float16'"
    assert str(raised.value) == expected
