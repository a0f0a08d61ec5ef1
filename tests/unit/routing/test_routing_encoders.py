"""Encoders beside real servers and libraries: batches, order, trouble, and what libraries that are there give."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from tiny_dancer import (
    CachedEncoder,
    CallableEncoder,
    EndpointEncoder,
    OptionError,
    RequestError,
    Route,
    SemanticRoutes,
    _core,
)
from tiny_dancer.routing import encoders
from tiny_dancer.routing.encoders import fastembed_encoder, model2vec_encoder, sentence_transformers_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Server(BaseHTTPRequestHandler):
    """Embeds a text as its length and its first letter; ``trouble`` says what becomes of the next requests."""

    asked: ClassVar[list[dict[str, Any]]] = []
    trouble: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append({**body, "path": self.path, "key": self.headers.get("authorization")})
        trouble = self.trouble.pop(0) if self.trouble else None
        if isinstance(trouble, int):
            self.send_response(trouble)
            self.send_header("retry-after", "0")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        if trouble == "silence":
            time.sleep(0.6)
        rows = [
            {"index": at, "embedding": [float(len(text)), float(ord(text[0]))]}
            for at, text in enumerate(body["input"])
        ]
        answer: Any = {"data": rows[::-1]}
        if trouble == "twice":
            answer["data"][0] = answer["data"][-1]
        elif trouble == "fewer":
            del answer["data"][0]
        elif trouble == "wide":
            answer["data"] = [{**row, "embedding": [1.0, 2.0, 3.0]} for row in rows]
        data = (
            b"<html>"
            if trouble == "no JSON"
            else json.dumps(trouble if isinstance(trouble, list) else answer).encode()
        )
        self.send_response(200)
        self.send_header("content-length", str(len(data) + (9 if trouble == "cut off" else 0)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(encoders, "_FIRST_WAIT", 0.001)
    Server.asked, Server.trouble = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_texts_go_in_batches_and_vectors_come_in_their_order(url: str) -> None:
    encoder = EndpointEncoder(url, "small", 2, api_key="secret", batch=3)
    texts = [chr(97 + at) * (at + 1) for at in range(7)]
    found = encoder.encode(texts)
    assert found.dtype == np.float32 and found.tolist() == [[at + 1, 97 + at] for at in range(7)]
    assert [len(each["input"]) for each in Server.asked] == [3, 3, 1]
    assert {(each["model"], each["path"], each["key"]) for each in Server.asked} == {
        ("small", "/v1/embeddings", "Bearer secret")
    }
    assert encoder.encode([]).shape == (0, 2)


@pytest.mark.parametrize("trouble", [[429], [503, 500], ["cut off"], ["cut off", 502]])
def test_what_may_pass_is_asked_again(url: str, trouble: list[Any]) -> None:
    Server.trouble = list(trouble)
    assert EndpointEncoder(url, "m", 2).encode(["ab"]).tolist() == [[2, 97]]
    assert len(Server.asked) == len(trouble) + 1


@pytest.mark.parametrize(
    ("trouble", "times", "said"),
    [
        ([429, 429, 429], 3, "429"),
        ([401], 1, "401"),
        ([404], 1, "404"),
        (["cut off"] * 3, 3, "IncompleteRead"),
        (["silence"], 1, "timed out"),
        (["no JSON"], 1, "did not answer with embeddings"),
        ([[]], 1, "did not answer with embeddings"),
        (["twice"], 1, "2 vectors"),
        (["fewer"], 1, "1 vectors"),
        (["wide"], 1, "shape (2, 3)"),
    ],
)
def test_trouble_that_stays_is_said(url: str, trouble: list[Any], times: int, said: str) -> None:
    Server.trouble = list(trouble)
    with pytest.raises(RequestError) as caught:
        EndpointEncoder(url, "m", 2, timeout=0.2).encode(["ab", "c"])
    assert said in str(caught.value) and len(Server.asked) == times


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("dimension", {"dimension": 0}),
        ("batch", {"batch": 0}),
        ("timeout", {"timeout": 0.0}),
        ("timeout", {"timeout": float("nan")}),
    ],
)
def test_numbers_out_of_range_are_refused(field: str, change: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"dimension": 2, **change}
    with pytest.raises(OptionError) as caught:
        EndpointEncoder("http://localhost", "m", settings.pop("dimension"), **settings)
    assert caught.value.field == field


def test_a_cache_asks_an_endpoint_once_for_a_text(url: str) -> None:
    encoder = CachedEncoder(EndpointEncoder(url, "m", 2), 2)
    assert encoder.encode(["a", "bb", "a"]).tolist() == [[1, 97], [2, 98], [1, 97]]
    assert encoder.encode(["bb", "a"]).tolist() == [[2, 98], [1, 97]]
    assert [each["input"] for each in Server.asked] == [["a", "bb"]]
    encoder.encode(["c"])
    encoder.encode(["bb"])
    assert [each["input"] for each in Server.asked[1:]] == [["c"], ["bb"]], "the oldest was let go"


def test_nothing_is_encoded_as_nothing() -> None:
    assert CallableEncoder(np.stack, "stacks", 3).encode([]).shape == (0, 3)


def test_a_static_model_of_model2vec_gives_its_own_vectors(tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec", reason="model2vec is not installed")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "tea": 1, "milk": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.array([[0, 0, 0], [1, 0, 0], [0, 3, 4]], np.float32)
    made = model2vec.StaticModel(vectors, words, normalize=False)
    made.save_pretrained(str(tmp_path))
    encoder = model2vec_encoder(str(tmp_path))
    assert (encoder.name, encoder.dimension) == (str(tmp_path), 3)
    found = encoder.encode(["tea", "tea milk", "milk milk"])
    np.testing.assert_allclose(found, made.encode(["tea", "tea milk", "milk milk"]))
    np.testing.assert_allclose(found[1], [0.5, 1.5, 2.0])
    assert encoder.encode([]).shape == (0, 3)


def test_model2vec_and_the_engine_agree_on_the_shared_model(shared_data: Path) -> None:
    pytest.importorskip("model2vec", reason="model2vec is not installed")
    model = shared_data.parent / "models" / "static-minilm-256-int8"
    if not model.exists():
        pytest.skip(f"{model} is not there")
    texts = ["What is the capital of France?", "Überweise 3,50 € an Anna", "", "請總結", "word " * 600]
    found = model2vec_encoder(str(model)).encode(texts)
    own = np.frombuffer(_core.encoder().encode(texts), "<f4").reshape(len(texts), -1)
    np.testing.assert_allclose(
        found, own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12), atol=1e-5
    )


def test_fastembed_gives_one_row_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    fastembed = pytest.importorskip("fastembed", reason="fastembed is not installed")

    class Offline:
        """Its models are fetched from a hub, which tests do not ask."""

        def __init__(self, _: str) -> None: ...

        def embed(self, texts: list[str]) -> Iterator[np.ndarray]:
            yield from (np.full(4, len(text), np.float32) for text in texts)

    monkeypatch.setattr(fastembed, "TextEmbedding", Offline)
    encoder = fastembed_encoder("any")
    assert encoder.dimension == 4
    assert encoder.encode(["a", "bb"]).tolist() == [[1] * 4, [2] * 4]
    assert encoder.encode([]).shape == (0, 4)


def test_sentence_transformers_are_asked_for_no_more_than_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        """What all versions have: `encode`."""

        def __init__(self, _: str) -> None: ...

        def encode(self, texts: list[str], *, show_progress_bar: bool) -> np.ndarray:
            assert not show_progress_bar
            return np.ones((len(texts), 5), np.float32)

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Model))
    encoder = sentence_transformers_encoder("any")
    assert encoder.dimension == 5 and encoder.encode(["a", "b"]).shape == (2, 5)


@pytest.mark.parametrize("found", [[["a", "b"]], None, [[1.0]], [[float("nan"), 0.0]], [[1e300, 0.0]]])
def test_a_function_that_gives_no_vectors_is_named(found: Any) -> None:
    with pytest.raises(RequestError, match="toy"):
        CallableEncoder(lambda texts: found, "toy", 2).encode(["x"])
    routes = SemanticRoutes([Route("a", ["x"])], CallableEncoder(lambda texts: [[1.0, 2.0]], "toy", 2))
    with pytest.raises(RequestError, match="vector"):
        routes("x", vector="no vector")  # type: ignore[arg-type]
