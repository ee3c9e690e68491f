"""One task as ONNX: the graph says what the engine says, from one token to thousands.

The module that graphs are made of is tested wherever torch is; files where the extra is installed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from jina_local import Engine, onnx_export, save_adapter
from jina_local.checkpoint import open_checkpoint
from jina_local.errors import (
    DimensionsError,
    InvalidOptionError,
    MissingExtraError,
    UnknownTaskError,
)
from jina_local.loading import LoadedModel, load_model
from jina_local.onnx_export import Parity, export_onnx
from jina_local.onnx_graph import ExportedModel
from jina_local.source import resolve_source
from support.checkpoints import INSTRUCTIONS, TASKS, TINY, Checkpoint, write_tiny
from support.command_line import CommandLine, assert_refused
from support.fences import run_fences
from support.ours import Ours
from support.tiny_tokenizers import PAD_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

MODES = (None, *TASKS)
LENGTHS = (1, 2, 3, 16, 17, 64, 129, 512)
UP_TO_2000 = (
    *range(1, 10),
    *(15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 400),
    *(511, 512, 513, 777, 999, 1000, 1001, 1023, 1024, 1025, 1500, 1999, 2000),
)
TASK = "retrieval.query"
HAS_EXTRA = all(onnx_export.find_spec(name) for name in onnx_export._PACKAGES)
needs_extra = pytest.mark.skipif(not HAS_EXTRA, reason="needs jina-local[onnx]")
# of onnx's and onnxscript's own imports
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def ragged_ids(lengths: Sequence[int], *, vocab_size: int = TINY.vocab_size) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    inner = [torch.randint(4, vocab_size - 1, (n,), generator=generator) for n in lengths]
    return [[0, *row.tolist()[2:], 2][:n] for row, n in zip(inner, lengths, strict=True)]


def padded(batch: Sequence[Sequence[int]], *, left: bool = False) -> dict[str, torch.Tensor]:
    longest = max(map(len, batch))
    rows, masks = [], []
    for row in batch:
        filling = longest - len(row)
        pad, mask = [PAD_ID] * filling, [0] * filling
        rows.append([*pad, *row] if left else [*row, *pad])
        masks.append([*mask, *[1] * len(row)] if left else [*[1] * len(row), *mask])
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}


def english_ids(model: LoadedModel, lengths: Sequence[int]) -> list[list[int]]:
    """Beginnings of a long text, as many tokens each."""
    license_text = (Path(__file__).parents[2] / "LICENSE").read_text()
    (whole,) = model.tokenizer.tokenize([license_text], [""])
    assert len(whole) >= max(lengths)
    return [[*whole.ids[: n - 1].tolist(), 2] for n in lengths]


def cut(vectors: np.ndarray, dimensions: int | None) -> np.ndarray:
    """The first components, at unit length."""
    kept = vectors[:, :dimensions]
    return kept / np.linalg.norm(kept, axis=1, keepdims=True)


def tiny_model(folder: Path, **adapters: Any) -> LoadedModel:
    cpu = torch.device("cpu")
    source = resolve_source(folder)
    return load_model(source, device=cpu, dtype=torch.float32, canary=False, adapters=adapters)


# The module


@pytest.mark.parametrize("layout", ["original", "hub"])
@pytest.mark.parametrize("task", MODES)
def test_the_module_is_the_engine(task: str | None, layout: str, tmp_path: Path) -> None:
    write_tiny(tmp_path, layout, delta_factor=100.0)
    ours, checkpoint = Ours(tmp_path), open_checkpoint(tmp_path)
    module = ExportedModel(
        checkpoint,
        checkpoint.tasks.find(task),
        dimensions=TINY.hidden_size,
        dtype=torch.float32,
        table_dtype=torch.float32,
    )
    texts = ragged_ids(LENGTHS)
    expected = ours.vectors(texts, [task] * len(texts))
    for left in (False, True):
        with torch.no_grad():
            found = module(**padded(texts, left=left)).numpy()
        assert abs(found - expected).max() <= 1e-6


def test_a_row_without_tokens_is_zeros_and_its_neighbours_stay(tiny: Checkpoint) -> None:
    checkpoint = open_checkpoint(tiny.folder)
    module = ExportedModel(
        checkpoint,
        checkpoint.tasks.find(TASK),
        dimensions=8,
        dtype=torch.float32,
        table_dtype=torch.float32,
    )
    inputs = padded(ragged_ids([5, 9]))
    with torch.no_grad():
        before = module(**inputs)
        inputs["attention_mask"][0] = 0
        after = module(**inputs)
    assert torch.equal(after[0], torch.zeros(8))
    assert torch.allclose(after[1], before[1], atol=1e-7)
    assert after.shape == (2, 8)


# What is refused, before anything is computed


def test_without_the_extra_the_message_has_the_command(
    tiny: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr(onnx_export, "_PACKAGES", ("no-such-package",))
    with pytest.raises(MissingExtraError, match=r"pip install 'jina-local\[onnx\]'"):
        export_onnx(tiny_model(tiny.folder), tmp_path / "out", task=TASK)
    jina_local = CommandLine(monkeypatch, capfdbinary)
    finished = jina_local("export", "onnx", "nowhere", "--task", "none", "-o", tmp_path / "out")
    assert_refused(finished, "pip install 'jina-local[onnx]'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": "nonsense"}, UnknownTaskError, "nonsense"),
        ({"task": TASK, "dimensions": 65}, DimensionsError, "65"),
        ({"task": TASK, "precision": "int4"}, InvalidOptionError, "int4"),
    ],
)
def test_options_outside_their_sets(
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    tiny: Checkpoint,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        export_onnx(tiny_model(tiny.folder), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_model_in_another_dtype_is_nothing_to_hold_a_file_against(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    source = resolve_source(tiny.folder)
    half = load_model(source, device=torch.device("cpu"), dtype=torch.bfloat16, canary=False)
    with pytest.raises(InvalidOptionError, match="bfloat16"):
        export_onnx(half, tmp_path / "out", task=TASK)


def test_a_folder_with_something_in_it_stays_as_it_is(
    tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_PACKAGES", ())
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InvalidOptionError, match="not an empty folder"):
            export_onnx(tiny_model(tiny.folder), place, task=TASK)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# The files


class Exported:
    """A folder, and what its file makes of ids."""

    def __init__(self, parity: Parity) -> None:
        onnxruntime = pytest.importorskip("onnxruntime", reason="needs jina-local[onnx]")
        self.parity = parity
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(parity.folder / "model.onnx", options)
        self.facts: dict[str, str] = self.session.get_modelmeta().custom_metadata_map

    def vectors(self, batch: Sequence[Sequence[int]]) -> np.ndarray:
        inputs = {name: tensor.numpy() for name, tensor in padded(batch).items()}
        (vectors,) = self.session.run(None, inputs)
        return np.asarray(vectors)


@pytest.fixture(scope="module")
def exported(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("onnx") / "float32"
    return Exported(export_onnx(tiny_model(tiny.folder), folder, task=TASK))


@pytest.fixture
def folders(tiny: Checkpoint, demo: Engine) -> dict[str, Path]:
    """Checkpoints by name."""
    return {"tiny": tiny.folder, "demo": Path(demo._model.source.folder)}


@needs_extra
@quiet
@pytest.mark.parametrize(
    ("name", "task", "dimensions"),
    [
        *(("tiny", task, None) for task in MODES),
        ("tiny", "separation", 40),
        ("demo", TASK, None),
        ("demo", "classification", 64),
    ],
)
def test_a_file_is_the_engine_from_one_token_to_thousands(
    name: str, task: str | None, dimensions: int | None, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Every length alone, and short and long ones in one padded batch."""
    model = tiny_model(folders[name])
    file = Exported(export_onnx(model, tmp_path / "x", task=task, dimensions=dimensions))
    ours = Ours(folders[name])
    vocab_size = model.checkpoint.config.vocab_size
    for lengths in (LENGTHS, *((length,) for length in UP_TO_2000)):
        texts = ragged_ids(lengths, vocab_size=vocab_size)
        expected = cut(ours.vectors(texts, [task] * len(texts)), dimensions)
        found = file.vectors(texts)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        assert abs(found - expected).max() <= 1e-5, lengths
    other = cut(ours.vectors(texts, ["text-matching" if task is None else None]), dimensions)
    assert abs(other - expected).max() > 1e-3, "the premise needs an adapter that matters"


@needs_extra
@quiet
def test_the_metadata_says_how_to_use_it(exported: Exported, engine: Engine) -> None:
    assert exported.facts["task"] == TASK
    assert exported.facts["instruction"] == INSTRUCTIONS[TASK]
    assert exported.facts["dimensions"] == str(TINY.hidden_size)
    assert exported.facts["max_tokens"] == str(engine.max_tokens)
    assert exported.facts["fingerprint"] == engine.fingerprint(
        task=TASK, dimensions=None, normalize=True, instruction=True
    )
    assert exported.parity.is_ok
    assert sorted(path.name for path in exported.parity.folder.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
    ]


@needs_extra
@quiet
def test_one_opset_as_stated(exported: Exported) -> None:
    onnx = pytest.importorskip("onnx", reason="needs jina-local[onnx]")
    model = onnx.load(exported.parity.folder / "model.onnx", load_external_data=False)
    assert {one.domain: one.version for one in model.opset_import} == {"": onnx_export.OPSET}
    root = Path(__file__).parents[2]
    assert f"Opset {onnx_export.OPSET}." in (root / "docs" / "onnx.md").read_text()


@needs_extra
@quiet
@pytest.mark.parametrize("name", ["tiny", "demo"])
@pytest.mark.parametrize(("precision", "least"), [("float16", 0.999), ("int8", 0.95)])
def test_smaller_files_point_the_same_way(
    precision: Any, least: float, name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """To the bounds that docs/onnx.md states: of English texts in the demo model, one at a time.

    In int8 the largest activation of a batch rounds all of it; very short texts have large ones.
    """
    document = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text()
    (row,) = (line for line in document.splitlines() if line.startswith(f"| `{precision}`"))
    assert f"≥ {least}" in row
    model = tiny_model(folders[name])
    small, exact = (
        Exported(
            export_onnx(model, tmp_path / one, task=TASK, dimensions=40, precision=one)  # type: ignore[arg-type]
        )
        for one in (precision, "float32")
    )
    ours = Ours(folders[name])
    for length in (*LENGTHS, 1000, 2000):
        texts = ragged_ids([length]) if name == "tiny" else english_ids(model, [length])
        expected = cut(ours.vectors(texts, [TASK] * len(texts)), 40)
        found = small.vectors(texts)
        assert found.shape == expected.shape
        assert found.dtype == np.float32
        assert abs(np.linalg.norm(found, axis=1) - 1).max() <= 1e-5
        assert (found * expected).sum(1).min() >= least, length

    def size(one: Exported) -> int:
        return sum(path.stat().st_size for path in one.parity.folder.glob("model.onnx*"))

    assert size(small) < 0.75 * size(exact)


@needs_extra
@quiet
def test_the_command_writes_an_adapter_of_ones_own(
    demo: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    save_adapter(demo.adapter("separation").named("mine", "Do: "), tmp_path / "mine")
    jina_local = CommandLine(monkeypatch, capfdbinary)
    finished = jina_local(
        *("export", "onnx", "demo", "--adapter", f"mine={tmp_path / 'mine'}", "--task", "mine"),
        *("--dimensions", 32, "--output", tmp_path / "out", "--json"),
    )
    assert finished.code == 0, finished.stderr
    assert finished.record["largest_difference"] <= 1e-5
    facts = Exported(Parity(**finished.record | {"folder": tmp_path / "out"})).facts
    assert (facts["task"], facts["instruction"], facts["dimensions"]) == ("mine", "Do: ", "32")


@needs_extra
@quiet
def test_a_file_that_says_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    right = ExportedModel.forward

    def wrong(
        self: ExportedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        return right(self, input_ids, attention_mask).flip(1)

    monkeypatch.setattr(ExportedModel, "forward", wrong)
    jina_local = CommandLine(monkeypatch, capfdbinary)
    finished = jina_local("export", "onnx", "demo", "--task", "query", "-o", tmp_path / "out")
    assert finished.code == 1
    assert "wrote nothing" in finished.stderr
    assert list(tmp_path.iterdir()) == []


@needs_extra
@quiet
def test_the_documents_code_runs(
    demo: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tiny_model(Path(demo._model.source.folder))
    assert export_onnx(model, "queries", task=TASK).is_ok
    names = run_fences(Path(__file__).parents[2] / "docs" / "onnx.md")
    vectors = demo.embed_queries(["ships", "and a longer text"]).vectors
    assert abs(names["embed"](["ships", "and a longer text"]) - vectors).max() <= 1e-5


@pytest.mark.parametrize("given", ["mine", "=x", "mine=", "a=b,a=c"])
def test_adapters_on_the_command_line_are_names_and_folders(
    given: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr(onnx_export, "_PACKAGES", ())
    options = [part for one in given.split(",") for part in ("--adapter", one)]
    finished = CommandLine(monkeypatch, capfdbinary)(
        "export", "onnx", "demo", "--task", "none", "-o", tmp_path / "out", *options
    )
    assert finished.code == 2
    assert "NAME=FOLDER" in finished.stderr


def test_onnxruntime_is_loaded_by_nobody_else() -> None:
    code = "import jina_local.onnx_export, sys; print([m for m in sys.modules if 'onnxr' in m])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
