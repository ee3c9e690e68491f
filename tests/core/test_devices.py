"""Device and dtype by name: `auto` is what the machine has, and nothing is guessed from a typo."""

from __future__ import annotations

import pytest
import torch

from jina_local.devices import resolve_device, resolve_dtype
from jina_local.errors import DeviceUnavailableError, InvalidOptionError

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


@pytest.mark.parametrize(
    ("device", "dtype"),
    [(CPU, torch.float32), (CUDA, torch.bfloat16), (torch.device("mps"), torch.float32)],
    ids=str,
)
def test_auto_is_bfloat16_on_cuda_and_float32_elsewhere(
    device: torch.device, dtype: torch.dtype
) -> None:
    assert resolve_dtype("auto", device) is dtype


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_named_dtype_is_that_dtype_on_any_device(
    dtype: torch.dtype, device: torch.device
) -> None:
    assert resolve_dtype(str(dtype).removeprefix("torch."), device) is dtype


@pytest.mark.parametrize("name", ["float64", "fp16", "bf16", "int8", "torch.float32", "AUTO", ""])
def test_an_unknown_dtype_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(InvalidOptionError) as raised:
        resolve_dtype(name, CPU)
    expected = f"dtype {name!r} is not one of 'auto', 'float32', 'bfloat16', 'float16'"
    assert str(raised.value) == expected
