"""What a number was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = [
    "GIVE_FREED_MEMORY_BACK",
    "describe_machine",
    "forget_peak",
    "multiplies_bfloat16",
    "peak_bytes",
]

GIVE_FREED_MEMORY_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}  # what glibc keeps is chance

_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # how threads wait, which short passes feel
_PACKAGES = (
    *("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "qdrant-client"),
    *("sentence-transformers", "onnxruntime", "flash-attn"),
)


def describe_machine() -> dict[str, object]:
    """Hardware, versions and commit of this run."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "amx": torch.cpu._is_amx_tile_supported(),  # noqa: SLF001 - there is no public question
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "waiting": {name: os.environ[name] for name in _WAITING if name in os.environ},
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES if _is_installed(name)},
        "commit": _commit(),
    }


def peak_bytes() -> int:
    """The most memory that this process ever had; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device has instructions for it; without them it is slower than float32."""
    import torch

    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device != "cpu" or any(getattr(torch.cpu, name)() for name in names)


def forget_peak() -> None:
    """Count the peak of `peak_bytes` from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
