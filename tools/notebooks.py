"""Execute the notebooks from a clean kernel, and compare what they print with what is committed.

    python tools/notebooks.py [--write] [--model MODEL] [NUMBER ...]

Each notebook runs in a kernel of its own, in its folder, without network. Its text outputs must be
those that are committed: words and whole numbers exactly, other numbers to one unit of their last
digit, and durations and rates not at all, nor anything below a cell with the tag `varies`. Images
must be there and show something. `--write` commits to what was seen instead; `--model` runs the
notebooks with another model, which only has to work.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent.parent / "notebooks"
MODEL_LINE = 'MODEL = "demo"'
VARIES = "varies"
_SECONDS_A_CELL = 300
_SMALLEST_IMAGE = 100  # pixels on each side
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",  # nobody listens: whatever goes out fails at once
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}
_DURATION = re.compile(r"\b\d[\d,]*(?:\.\d+)? ?(?:ns|µs|ms|s|seconds?|min|minutes?)\b")
_RATE = re.compile(r"\b\d[\d,]*(?:\.\d+)? ?(?:[A-Za-z]+ ?)?(?:per second|/ ?s\b)")
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*)?\.\d+(?:e[-+]?\d+)?")


def notebooks(numbers: list[str] | None = None) -> list[Path]:
    """The notebooks in their order: all, or those that are named by their first two digits.

    Raises:
        SystemExit: If a number names no notebook.
    """
    found = {path.name[:2]: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))}
    missing = sorted(set(numbers or ()) - set(found))
    if missing:
        sys.exit(f"no notebook {', '.join(missing)}: there are {', '.join(found)}")
    return [path for number, path in found.items() if not numbers or number in numbers]


def execute(path: Path, *, model: str | None = None) -> Any:  # noqa: ANN401 - nbformat has no types
    """A copy of a notebook with the outputs of a clean kernel.

    Args:
        path: The notebook.
        model: What to put in the place of the demo model.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
        nbclient.exceptions.CellTimeoutError: If it takes five minutes.
        nbclient.exceptions.DeadKernelError: If the kernel is gone.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
        if model is not None:
            cell.source = cell.source.replace(MODEL_LINE, f"MODEL = {model!r}")
    with tempfile.TemporaryDirectory() as clean:
        # no spec but this interpreter's own, whatever kernels the user has installed
        manager = AsyncKernelManager(
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
            transport="ipc",  # sockets in a folder of ours: nobody else on the machine can listen
            ip=f"{clean}/kernel",
        )
        NotebookClient(
            notebook,
            km=manager,
            timeout=_SECONDS_A_CELL,
            startup_timeout=_SECONDS_A_CELL,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(path.parent)}},
        ).execute(env={**os.environ, **_OFFLINE, "IPYTHONDIR": clean}, cleanup_kc=True)
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def code_cells(notebook: Any) -> list[Any]:  # noqa: ANN401
    """The cells of a notebook that are code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def differences(committed: Any, seen: Any) -> Iterator[str]:  # noqa: ANN401
    """What an executed notebook shows otherwise than the committed one, one line each."""
    for number, (old, new) in enumerate(
        zip(code_cells(committed), code_cells(seen), strict=True), start=1
    ):
        before, after = shown(old.outputs), shown(new.outputs)
        kinds = [kind for kind, _ in before], [kind for kind, _ in after]
        if kinds[0] != kinds[1]:
            yield f"cell {number} has {kinds[1] or 'no output'}, not {kinds[0] or 'no output'}"
            continue
        for (kind, old_content), (_, new_content) in zip(before, after, strict=True):
            if kind == "image":
                problem = image_problem(new_content)
                if problem:
                    yield f"cell {number}: {problem}"
            elif VARIES not in new.metadata.get("tags", []) and not same(old_content, new_content):
                yield f"cell {number} shows\n{new_content}\nand not\n{old_content}"


def shown(outputs: list[Any]) -> list[tuple[str, str]]:
    """Kinds and contents of outputs: each stream as a whole, then of rich outputs image or text."""
    streams: dict[str, str] = {}  # which of the two comes first is a matter of chance
    rich: list[tuple[str, str]] = []
    for output in outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
        elif output.output_type == "error":
            rich.append(("error", f"{output.ename}: {output.evalue}"))
        elif "image/png" in output.data:
            rich.append(("image", output.data["image/png"]))
        else:
            rich.append(("text", output.data.get("text/plain", "")))
    return sorted(streams.items()) + rich


def same(old: str, new: str) -> bool:
    """Whether two texts say the same: see the top of this module."""
    old, new = masked(old), masked(new)
    if _words(old) != _words(new):
        return False
    return all(
        abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= 1.01 * max(_unit(a), _unit(b))
        for a, b in zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    )


def masked(text: str) -> str:
    """A text without its durations and rates, which are another each time."""
    return _DURATION.sub("<time>", _RATE.sub("<rate>", text))


def _words(text: str) -> list[str]:
    return _NUMBER.sub(" <number> ", text).split()


def _unit(number: str) -> float:
    """What one more in the last digit of a number is: 0.01 for 1.25."""
    digits, _, exponent = number.partition("e")
    return float(f"1e{int(exponent or 0) - len(digits.partition('.')[2])}")


def image_problem(png: str) -> str:
    """What is wrong with a picture in base64; empty if nothing is."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        width, height = image.size
        darkest, lightest = image.convert("L").getextrema()
    if min(width, height) < _SMALLEST_IMAGE:
        return f"the image is {width} x {height} pixels"
    return "" if darkest < lightest else "the image is of one colour"


def write(notebook: Any, path: Path) -> None:  # noqa: ANN401
    """Put a notebook in its file, the same bytes for the same content."""
    import nbformat

    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook).rstrip("\n") + "\n")


def main() -> int:
    """Execute notebooks; the exit code is 1 if one shows something else than what is committed."""
    import nbformat
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="such as 02; default: all")
    parser.add_argument("--write", action="store_true", help="keep the new outputs")
    parser.add_argument("--model", help="run with another model, and compare nothing")
    arguments = parser.parse_args()
    if arguments.write and arguments.model:
        parser.error("committed outputs are those of the demo model: not --write with --model")
    failed = []
    for path in notebooks(arguments.numbers):
        start = time.perf_counter()
        try:
            seen = execute(path, model=arguments.model)
            committed = nbformat.read(path, as_version=4)
            compared = not (arguments.write or arguments.model)
            problems = list(differences(committed, seen)) if compared else []
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            problems = [str(error)]
        seconds = time.perf_counter() - start
        print(f"{path.name}: {'FAILED' if problems else 'ok'}, {seconds:.1f} s", flush=True)
        for problem in problems:
            print(problem)
        if problems:
            failed.append(path.name)
        elif arguments.write:
            write(seen, path)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
