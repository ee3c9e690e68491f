"""Where a checkpoint comes from. The hub is a real server here, on this machine.

`huggingface_hub` reads its endpoint when it is imported, so what talks to the hub runs in a process
of its own; an error that it ends with is raised again in the test.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from jina_local import Engine, errors
from jina_local.errors import (
    GatedModelError,
    HubError,
    InvalidOptionError,
    ModelNotFoundError,
)
from jina_local.source import ModelSource, resolve_source
from support.checkpoints import TASKS, TINY, random_weights, write_native, write_original
from support.tiny_tokenizers import write_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

REPO = "somebody/tiny-v3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKENIZER_FILES = {"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
UNWANTED = (
    "README.md",
    "1_Pooling/config.json",
    "adapter_model.bin",
    "modeling_lora.py",
    "onnx/model.onnx",
    "onnx/model.onnx_data",
    "onnx/model.safetensors",
    "pytorch_model.bin",
    "separation/adapter_model.bin",
    "separation/custom.py",
    "training_args.bin",
)


# Folders and names


def test_demo_is_in_the_package() -> None:
    source = resolve_source("demo")
    assert source.is_demo
    assert (source.folder / "config.json").is_file()
    assert (source.folder / "model.safetensors").is_file()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_itself(kind: type, tmp_path: Path) -> None:
    source = resolve_source(kind(tmp_path))
    assert source == ModelSource(name=str(tmp_path), folder=tmp_path.resolve())
    assert not source.is_demo


def test_a_folder_may_be_relative_or_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "v3"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("models/v3", "./models/v3", "models//v3/", "~/models/v3")
    for spelling in (*names, *map(Path, names)):
        assert resolve_source(spelling).folder == folder.resolve()
        assert resolve_source(spelling).name == str(folder.resolve())


@pytest.mark.parametrize("spelling", ["./demo", Path("demo"), Path("./demo")], ids=repr)
def test_a_folder_that_is_called_demo_is_reached_by_path(
    spelling: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the bare string is the demo model; a path is never mistaken for it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "demo"
    folder.mkdir()
    source = resolve_source(spelling)
    assert source.folder == folder.resolve()
    assert not source.is_demo
    assert resolve_source(source.name).folder == source.folder, "the name leads back to it"
    assert resolve_source("demo").is_demo


@pytest.mark.parametrize(
    "name",
    [
        "",
        "no-such-model",
        "no/such/model",
        "/no/such",
        "has space/model",
        "~no-such-user/model",
        "https://huggingface.co/jinaai/jina-embeddings-v3",
        Path("no/such"),
    ],
    ids=repr,
)
def test_what_is_neither_folder_nor_hub_id_is_refused_with_the_choices(
    name: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without asking the network; and a `Path` is never a hub id."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError) as raised:
        resolve_source(name)
    shown = str(tmp_path / name) if isinstance(name, Path) else name
    assert str(raised.value) == (
        f"no model at {shown!r}: give a folder that exists, a hub id such as "
        "'jinaai/jina-embeddings-v3', or 'demo'"
    )
    assert isinstance(raised.value, FileNotFoundError)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match=r"model\.safetensors': give a folder"):
        resolve_source(file)


@pytest.mark.parametrize("name", ["../model", "./model", "a/b..c", "a/b--c", "a/-b", "a/b.git"])
def test_what_the_hub_would_never_take_is_not_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="neither a local folder nor a valid hub id"):
        resolve_source(name, cache_dir=tmp_path)


def test_only_hub_ids_have_revisions(tmp_path: Path) -> None:
    for source in (tmp_path, str(tmp_path), "demo"):
        with pytest.raises(
            InvalidOptionError, match=r"revision='v1' has no meaning for "
        ) as raised:
            resolve_source(source, revision="v1")
        assert isinstance(raised.value, ValueError)


# The hub


class Hub(ThreadingHTTPServer):
    """A hub with one repository, which remembers what it was asked."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.token: str | None = None
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.drops_connections = False
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def files(self) -> dict[str, bytes]:
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in found}

    def files_asked_for(self) -> set[str]:
        prefix = f"/{REPO}/resolve/{COMMIT}/"
        return {path.removeprefix(prefix) for path in self.asked if path.startswith(prefix)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.asked.append(path)
        if hub.drops_connections:
            self.close_connection = True
        elif hub.refusal:
            self._answer(hub.refusal[0], b"", hub.refusal[1])
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
            self._answer_json([_entry(name, content) for name, content in hub.files.items()])
        elif path in (f"/api/models/{REPO}", *_revisions("main", "v1", COMMIT)):
            siblings = [{"rfilename": name} for name in hub.files]
            self._answer_json({"id": REPO, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            content = hub.files[path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")]
            self._answer(200, content, {"ETag": f'"{_sha1(content)}"', "X-Repo-Commit": COMMIT})
        else:
            code = "RevisionNotFound" if path.startswith(f"/api/models/{REPO}") else "RepoNotFound"
            self._answer(404, b"", {"X-Error-Code": code})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer_json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Nothing on standard error."""


def _revisions(*names: str) -> list[str]:
    return [f"/api/models/{REPO}/revision/{name}" for name in names]


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _sha1(content)}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native folder, so with subfolders, and beside it what must never be downloaded."""
    folder = tmp_path_factory.mktemp("repository")
    write_native(folder, TINY, random_weights(TINY), prompts=TINY.task_instructions)
    write_tokenizer(folder)
    add_unwanted(folder)
    return folder


def add_unwanted(folder: Path) -> None:
    for name in UNWANTED:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('this was never to be run')", encoding="utf-8")


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Hub]:
    with Hub(repository) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def hub(server: Hub, repository: Path) -> Hub:
    """The hub as it should be, for a test to change."""
    server.folder, server.token, server.refusal = repository, None, None
    server.drops_connections = False
    server.asked.clear()
    return server


CLIENT = """
import json, sys

connections = []
watched = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, _: connections.append(event) if event in watched else None)

from jina_local.source import resolve_source

for line in sys.stdin:
    connections.clear()
    try:
        source = resolve_source(**json.loads(line))
        answer = {"folder": str(source.folder), "revision": source.revision}
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps({**answer, "connections": len(connections)}), flush=True)
"""


class Client:
    """A process that knows one hub, and asks it for checkpoints."""

    def __init__(self, address: str, home: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env=hub_environment(address, home) | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def resolve(self, cache_dir: Path, source: str = REPO, **options: object) -> dict[str, Any]:
        """What `resolve_source` gives in that process.

        Raises:
            JinaLocalError: What it raised there.
        """
        assert self._process.stdin
        assert self._process.stdout
        question = {"source": source, "cache_dir": str(cache_dir), **options}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" not in answer:
            return answer
        assert answer["error"] in errors.__all__, f"a raw {answer['error']}: {answer['message']}"
        raise getattr(errors, answer["error"])(answer["message"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate(timeout=30)


def hub_environment(address: str, home: Path) -> dict[str, str]:
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HF_") and not key.lower().endswith("_proxy")
    }
    return kept | {"HF_ENDPOINT": address, "HF_HOME": str(home)}


@pytest.fixture(scope="module")
def running_client(server: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(server.address, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def client(running_client: Client, hub: Hub) -> Client:
    assert hub.asked == []
    return running_client


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client whose hub does not answer: its port is closed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        port = gone.server_port
    with Client(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def cached(hub: Hub, client: Client, tmp_path: Path) -> Path:
    """A cache that has the repository."""
    cache = tmp_path / "cached"
    client.resolve(cache)
    hub.asked.clear()
    return cache


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_a_download_takes_data_and_neither_code_nor_pickles(
    revision: str | None, hub: Hub, client: Client, tmp_path: Path
) -> None:
    answer = client.resolve(tmp_path, revision=revision)
    assert answer["revision"] == revision
    adapters = {
        f"{task.replace('.', '_').replace('-', '_')}/{name}"
        for task in TASKS
        for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    base = {"config.json", "config_sentence_transformers.json", "model.safetensors"}
    assert hub.files_asked_for() == base | adapters | TOKENIZER_FILES
    folder = Path(answer["folder"])
    assert folder.is_relative_to(tmp_path)
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == hub.files_asked_for()


def test_a_download_takes_every_shard(hub: Hub, client: Client, tmp_path: Path) -> None:
    hub.folder = tmp_path / "repository"
    write_original(hub.folder, TINY, random_weights(TINY), shards=3)
    write_tokenizer(hub.folder)
    add_unwanted(hub.folder)
    client.resolve(tmp_path / "cache")
    shards = {f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)}
    index = {"config.json", "model.safetensors.index.json"}
    assert hub.files_asked_for() == shards | index | TOKENIZER_FILES


LOADER = """
import json, sys
from jina_local import Engine

with Engine.load(sys.argv[1], device="cpu", cache_dir=sys.argv[2]) as engine:
    print(json.dumps(engine.embed_queries(["from the hub"]).vectors.tolist()))
"""


def test_an_engine_from_the_hub_is_that_of_the_folder(
    hub: Hub, repository: Path, tmp_path: Path
) -> None:
    """First from the hub in a new process, then from its cache alone, in this one."""
    cache = tmp_path / "cache"
    finished = subprocess.run(
        [sys.executable, "-c", LOADER, REPO, str(cache)],
        env=hub_environment(hub.address, tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    hub.asked.clear()
    with Engine.load(repository, device="cpu") as engine:
        expected = engine.embed_queries(["from the hub"]).vectors
    online = np.array(json.loads(finished.stdout), dtype=np.float32)
    assert np.allclose(online, expected, rtol=0, atol=1e-6)
    with Engine.load(REPO, device="cpu", cache_dir=cache, local_files_only=True) as engine:
        assert engine.source == REPO
        assert np.array_equal(engine.embed_queries(["from the hub"]).vectors, expected)
    assert hub.asked == []


def test_what_is_cached_is_used_without_the_network(
    hub: Hub, client: Client, lost: Client, cached: Path
) -> None:
    answer = client.resolve(cached, local_files_only=True)
    assert Path(answer["folder"]).is_relative_to(cached)
    assert answer["connections"] == 0
    assert hub.asked == []
    assert lost.resolve(cached)["folder"] == answer["folder"]


def test_what_is_cached_is_used_while_the_hub_is_down(
    hub: Hub, client: Client, cached: Path
) -> None:
    hub.refusal = (503, {})
    answer = client.resolve(cached)
    assert Path(answer["folder"]).is_relative_to(cached)
    assert hub.files_asked_for() == set()


def test_what_is_not_cached_is_not_looked_for_where_the_network_is_forbidden(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    with pytest.raises(
        ModelNotFoundError,
        match=rf"'{REPO}' is not in the local cache.*local_files_only=True.*name a local folder",
    ):
        client.resolve(tmp_path, local_files_only=True)
    assert hub.asked == []


def test_another_revision_is_not_taken_from_the_cache(client: Client, cached: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"at revision 'v1' is not in the local cache"):
        client.resolve(cached, revision="v1", local_files_only=True)


def test_a_gated_repository_opens_to_its_token(hub: Hub, client: Client, tmp_path: Path) -> None:
    hub.token = "secret"
    with pytest.raises(
        GatedModelError, match=rf"'{REPO}' is gated: accept its terms.*token=….*hf auth login"
    ) as raised:
        client.resolve(tmp_path)
    assert isinstance(raised.value, ConnectionError)
    with pytest.raises(GatedModelError, match="gated"):
        client.resolve(tmp_path, token=f"not {hub.token}")
    assert Path(client.resolve(tmp_path, token=hub.token)["folder"]).is_dir()


@pytest.mark.parametrize("status", [401, 404])
def test_an_unknown_repository_is_not_found(
    status: int, hub: Hub, client: Client, tmp_path: Path
) -> None:
    """The hub says 401 where it does not want to tell whether there is a private one."""
    hub.refusal = (status, {"X-Error-Code": "RepoNotFound"})
    with pytest.raises(
        ModelNotFoundError, match=r"the hub has no 'no/such'.*private.*token=….*no local folder"
    ):
        client.resolve(tmp_path, "no/such")


def test_an_unknown_revision_is_not_found(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"the hub has no '{REPO}' at revision 'v9'"):
        client.resolve(tmp_path, revision="v9")


def test_a_rejected_token_is_said_to_be_one(hub: Hub, client: Client, tmp_path: Path) -> None:
    message = "Invalid credentials in Authorization header"
    hub.refusal = (401, {"X-Error-Message": message})
    with pytest.raises(HubError, match=rf"the hub failed for '{REPO}'(?s:.*){message}"):
        client.resolve(tmp_path, token=f"{hub.token}, but expired")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_error_of_the_hub_is_reported_with_its_status(
    status: int, hub: Hub, client: Client, tmp_path: Path
) -> None:
    """`Check the connection` alone would send the reader to the wrong place."""
    hub.refusal = (status, {})
    with pytest.raises(HubError, match=rf"'{REPO}'.*{status}.*local folder"):
        client.resolve(tmp_path)


def test_a_hub_that_cannot_be_reached_is_said_to_be_so(lost: Client, tmp_path: Path) -> None:
    with pytest.raises(
        HubError, match=rf"'{REPO}'.*(?i:refused).*check the connection, or name a local folder"
    ) as raised:
        lost.resolve(tmp_path)
    assert isinstance(raised.value, ConnectionError)


def test_a_hub_that_was_switched_off_is_said_to_be_so(hub: Hub, tmp_path: Path) -> None:
    with (
        Client(hub.address, tmp_path, HF_HUB_OFFLINE="1") as offline,
        pytest.raises(HubError, match=rf"'{REPO}'.*HF_HUB_OFFLINE.*local folder"),
    ):
        offline.resolve(tmp_path)
    assert hub.asked == []


def test_a_connection_that_breaks_is_an_error_of_ours(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    hub.drops_connections = True
    with pytest.raises(HubError, match=rf"the hub failed for '{REPO}'.*(?i:disconnect|connection)"):
        client.resolve(tmp_path)


def test_a_login_page_in_place_of_the_hub_is_an_error_of_ours(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    """As hotels and companies put it between their guests and the network."""
    hub.refusal = (200, {"Content-Type": "text/html"})
    with pytest.raises(HubError, match=rf"the hub failed for '{REPO}'"):
        client.resolve(tmp_path)


def test_a_repository_without_a_model_is_no_checkpoint(
    hub: Hub, client: Client, tmp_path: Path
) -> None:
    hub.folder = tmp_path / "repository"
    hub.folder.mkdir()
    add_unwanted(hub.folder)
    folder = Path(client.resolve(tmp_path / "cache")["folder"])
    assert hub.files_asked_for() == set()
    with pytest.raises(ModelNotFoundError, match=r"config\.json|no model"):
        Engine.load(folder)
