"""Options of both embedders: what they are, how they are written down, and what is refused."""

from __future__ import annotations

import copy
import inspect
import json
from typing import Any

import pytest

pytest.importorskip("haystack")

from haystack.utils import ComponentDevice, DeviceMap, Secret

from haystack_integrations.components.embedders.jina_local import (
    JinaLocalDocumentEmbedder,
    JinaLocalTextEmbedder,
)
from support.embedders import DOCUMENTS, MOCKS, OURS, Subject, over

pytestmark = pytest.mark.usefixtures("_demo_stays")

PACKAGE = "haystack_integrations.components.embedders.jina_local"
TOKEN = {"type": "env_var", "env_vars": ["HF_API_TOKEN", "HF_TOKEN"], "strict": False}

DEFAULTS: dict[str, Any] = {
    "model": "jinaai/jina-embeddings-v3",
    "task": "retrieval.query",
    "adapters": None,
    "dimensions": None,
    "prefix": "",
    "suffix": "",
    "normalize_embeddings": True,
    "on_overflow": None,
    "device": None,
    "dtype": "auto",
    "token": TOKEN,
    "revision": None,
    "local_files_only": False,
    "cache_dir": None,
}
DOCUMENT_DEFAULTS: dict[str, Any] = DEFAULTS | {
    "task": "retrieval.passage",
    "batch_size": 32,
    "progress_bar": True,
    "meta_fields_to_embed": [],
    "embedding_separator": "\n",
    "late_chunking": False,
    "source_id_field": "source_id",
    "late_chunking_fallback": "warn",
}
CUSTOM: dict[str, Any] = {
    "model": "some/model",
    "task": "my-task",
    "adapters": {"my-task": "a/folder", "retrieval.query": "another"},
    "dimensions": 128,
    "prefix": "<",
    "suffix": ">",
    "normalize_embeddings": False,
    "on_overflow": "truncate",
    "device": {"type": "single", "device": "cuda:1"},
    "dtype": "bfloat16",
    "token": {"type": "env_var", "env_vars": ["MY_TOKEN"], "strict": True},
    "revision": "main",
    "local_files_only": True,
    "cache_dir": "elsewhere",
}
DOCUMENT_CUSTOM: dict[str, Any] = CUSTOM | {
    "batch_size": 7,
    "progress_bar": False,
    "meta_fields_to_embed": ["title", "author"],
    "embedding_separator": " | ",
    "late_chunking": True,
    "source_id_field": "origin",
    "late_chunking_fallback": "raise",
}
OBJECTS: dict[str, Any] = {
    "device": ComponentDevice.from_str("cuda:1"),
    "token": Secret.from_env_var("MY_TOKEN"),
}
BOTH = pytest.mark.parametrize(
    ("cls", "module", "defaults", "custom"),
    [
        pytest.param(JinaLocalTextEmbedder, "text_embedder", DEFAULTS, CUSTOM, id="text"),
        pytest.param(
            JinaLocalDocumentEmbedder,
            "document_embedder",
            DOCUMENT_DEFAULTS,
            DOCUMENT_CUSTOM,
            id="documents",
        ),
    ],
)


@BOTH
def test_defaults_are_attributes_and_what_is_serialized(
    cls: Any, module: str, defaults: dict[str, Any], custom: dict[str, Any]
) -> None:
    embedder = cls()
    assert embedder.to_dict() == {
        "type": f"{PACKAGE}.{module}.{cls.__name__}",
        "init_parameters": defaults,
    }
    objects = {"token": Secret.from_env_var(TOKEN["env_vars"], strict=False)}
    assert {name: getattr(embedder, name) for name in defaults} == defaults | objects
    assert custom.keys() == defaults.keys()


@BOTH
def test_parameters_are_attributes_and_what_is_serialized(
    cls: Any, module: str, defaults: dict[str, Any], custom: dict[str, Any]
) -> None:
    embedder = cls(**(custom | OBJECTS))
    assert {name: getattr(embedder, name) for name in defaults} == custom | OBJECTS
    data = embedder.to_dict()
    assert data == {"type": f"{PACKAGE}.{module}.{cls.__name__}", "init_parameters": custom}
    assert json.loads(json.dumps(data)) == data


@BOTH
def test_from_dict_is_the_inverse_of_to_dict(
    cls: Any, module: str, defaults: dict[str, Any], custom: dict[str, Any]
) -> None:
    for parameters in (defaults, custom):
        data = {"type": f"{PACKAGE}.{module}.{cls.__name__}", "init_parameters": parameters}
        made = cls.from_dict(copy.deepcopy(data))
        assert type(made) is cls
        assert made.to_dict() == data
    assert made.device == OBJECTS["device"]
    assert made.token == OBJECTS["token"]


@BOTH
def test_options_are_keywords_and_the_same_ones_in_both_runs(
    cls: Any, module: str, defaults: dict[str, Any], custom: dict[str, Any]
) -> None:
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    assert {one.kind for one in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert [one.name for one in parameters] == list(cls().to_dict()["init_parameters"])
    assert inspect.signature(cls.run) == inspect.signature(cls.run_async)
    assert module
    assert custom.keys() == defaults.keys()


@over(*OURS)
def test_a_missing_or_null_device_stays_null(subject: Subject) -> None:
    """Also after loading: what is serialized on one machine is for any machine."""
    embedder = subject.make(device=None)
    embedder.warm_up()
    data = embedder.to_dict()
    assert data["init_parameters"]["device"] is None
    assert subject.cls.from_dict(data).device is None
    del data["init_parameters"]["device"]
    assert subject.cls.from_dict(data).device is None
    embedder.close()


@over(*OURS)
def test_a_token_in_plain_text_refuses_to_be_serialized(subject: Subject) -> None:
    embedder = subject.make(token=Secret.from_token("hf_very_secret"))
    with pytest.raises(ValueError, match="Cannot serialize token-based secret"):
        embedder.to_dict()


COMMON_REFUSALS = [
    ({"model": ""}, "model is ''; give a folder, a name on the hub, or 'demo'"),
    ({"model": None}, "model is None; give a folder, a name on the hub, or 'demo'"),
    (
        {"task": "retrieval"},
        "task is 'retrieval'; give one of 'retrieval.query', 'retrieval.passage', 'separation', "
        "'classification', 'text-matching', or None for the base model",
    ),
    ({"dimensions": 0}, "dimensions is 0; "),
    ({"dimensions": True}, "dimensions is True; "),
    ({"dimensions": 12.0}, "dimensions is 12.0; "),
    ({"prefix": None}, "prefix is None; give a string"),
    ({"suffix": 1}, "suffix is 1; give a string"),
    ({"normalize_embeddings": "yes"}, "normalize_embeddings is 'yes'; "),
    (
        {"on_overflow": "warn"},
        "on_overflow is 'warn'; give one of None, 'error', 'truncate', 'window'",
    ),
    (
        {"dtype": "int8"},
        "dtype is 'int8'; give one of 'auto', 'float32', 'bfloat16', 'float16'",
    ),
    (
        {"device": "cpu"},
        "Invalid component device type 'str'. Must either be None or ComponentDevice.",
    ),
    (
        {"device": ComponentDevice.from_multiple(DeviceMap.from_hf({"layer": "cpu"}))},
        "device is a map of several; give one, such as ComponentDevice.from_str('cuda:0')",
    ),
    ({"token": "hf_abc"}, "token is a str; give a haystack.utils.Secret, or None"),
    ({"local_files_only": 1}, "local_files_only is 1; "),
]
DOCUMENT_REFUSALS = [
    ({"batch_size": 0}, "batch_size is 0; "),
    ({"progress_bar": 1}, "progress_bar is 1; "),
    (
        {"meta_fields_to_embed": "title"},
        "meta_fields_to_embed is 'title'; give a list of metadata keys, or None",
    ),
    ({"meta_fields_to_embed": [1]}, "meta_fields_to_embed is [1]; give a list"),
    ({"embedding_separator": None}, "embedding_separator is None; give a string"),
    ({"late_chunking": "no"}, "late_chunking is 'no'; "),
    ({"source_id_field": None}, "source_id_field is None; give a string"),
    (
        {"late_chunking_fallback": "skip"},
        "late_chunking_fallback is 'skip'; give one of 'warn', 'raise', 'ignore'",
    ),
    (
        {"late_chunking": True, "task": "retrieval.query"},
        "late_chunking with task 'retrieval.query': queries are no chunks of a document; use "
        "'retrieval.passage', the default",
    ),
]
REFUSALS = [
    *((subject, *row) for subject in OURS for row in COMMON_REFUSALS),
    *((DOCUMENTS, *row) for row in DOCUMENT_REFUSALS),
]


@pytest.mark.parametrize(
    ("subject", "options", "message"),
    REFUSALS,
    ids=[f"{one.name}-{i}-{next(iter(options))}" for i, (one, options, _) in enumerate(REFUSALS)],
)
def test_options_outside_their_set_are_refused_at_once(
    subject: Subject, options: dict[str, Any], message: str
) -> None:
    """The message names the value and what to give."""
    with pytest.raises(ValueError, match=r"give|use|None") as refused:
        subject.make(**options)
    assert str(refused.value).startswith(message)
    assert "hf_abc" not in str(refused.value)


@over(*OURS, *MOCKS)
def test_no_dimensions_are_refused(subject: Subject) -> None:
    with pytest.raises(ValueError, match="dimension"):
        subject.make(**{subject.dimensions: 0})
