"""Encoders of texts behind one protocol: the caller's, those of libraries, and any server of `/embeddings`.

An encoder's vectors mean something only to routes that were made with it: its name and dimension are kept in the
artifact and checked with every call.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tiny_dancer.errors import OptionError, RequestError
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

__all__ = [
    "CachedEncoder",
    "CallableEncoder",
    "Encoder",
    "EndpointEncoder",
    "check_vectors",
    "fastembed_encoder",
    "model2vec_encoder",
    "sentence_transformers_encoder",
]

_BATCH = 256
_ATTEMPTS = 3
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 5.0
"""Seconds before an endpoint is asked a second time, twice that before the third; and the longest a server may ask
for."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which asking again may help."""


@runtime_checkable
class Encoder(Protocol):
    """Makes vectors of texts."""

    @property
    def name(self) -> str:
        """Which encoder it is; two that give other vectors have other names."""
        ...

    @property
    def dimension(self) -> int:
        """Values of a vector."""
        ...

    def encode(self, texts: list[str]) -> Vectors:
        """Vectors of n texts, float32 [n, dimension]."""
        ...


class CallableEncoder:
    """Any function from texts to vectors."""

    def __init__(self, function: Callable[[list[str]], Any], name: str, dimension: int) -> None:
        """Wraps ``function``, which takes a list of n texts and gives n vectors of ``dimension`` values."""
        self.function, self.name, self.dimension = function, name, dimension

    def encode(self, texts: list[str]) -> Vectors:
        """See :class:`Encoder`."""
        if not texts:  # few libraries say what shape nothing has
            return np.empty((0, self.dimension), np.float32)
        return check_vectors(self, self.function(texts), len(texts))


class EndpointEncoder:
    """A server that speaks OpenAI's `/embeddings`. Requests go in batches, each with a time limit.

    What may pass (no connection, too many requests, a server's own fault) is asked up to three times; the server's
    ``Retry-After`` is heeded up to five seconds. A time limit that has passed is not tried again.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        dimension: int,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        batch: int = _BATCH,
    ) -> None:
        """An endpoint.

        Args:
            base_url: such as ``https://api.openai.com/v1``.
            model: that encodes.
            dimension: values of its vectors.
            api_key: sent as a bearer token.
            timeout: seconds a connection or the server may be silent.
            batch: most texts of one request.

        Raises:
            OptionError: an address that is neither http nor https, or a number out of range.
        """
        if not base_url.startswith(("http://", "https://")):
            raise OptionError("base_url", base_url, "give an address that begins with http:// or https://")
        for field, value in (("dimension", dimension), ("batch", batch)):
            if value < 1:
                raise OptionError(field, value, "give a whole number from 1 on")
        if not 0 < timeout < float("inf"):
            raise OptionError("timeout", timeout, "give seconds above 0")
        self.url, self.model, self.dimension = f"{base_url.rstrip('/')}/embeddings", model, dimension
        self.name = model
        self._key, self._timeout, self._batch = api_key, timeout, batch

    def encode(self, texts: list[str]) -> Vectors:
        """See :class:`Encoder`.

        Raises:
            RequestError: the server cannot be reached, refuses, or answers with something else.
        """
        parts = [self._ask(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    def _ask(self, texts: list[str]) -> Vectors:
        body = json.dumps({"model": self.model, "input": texts, "encoding_format": "float"}).encode()
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url, body, headers)
        remedy = "check the encoder's address, key and model"
        wait = _FIRST_WAIT
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return self._read(json.load(answer), len(texts))
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _PASSING or attempt == _ATTEMPTS:
                        raise RequestError("encoder", f"{self.url} answered {error.code}", remedy) from error
                    asked = error.headers.get("retry-after", "")
                wait = max(wait, min(float(asked), _LONGEST_WAIT)) if asked.isdecimal() else wait
            except (OSError, http.client.HTTPException) as error:
                silent = isinstance(error, TimeoutError) or isinstance(
                    getattr(error, "reason", None), TimeoutError
                )
                if silent or attempt == _ATTEMPTS:
                    raise RequestError("encoder", f"{self.url}: {error}", remedy) from error
            except (KeyError, TypeError, ValueError) as error:
                raise RequestError("encoder", f"{self.url} did not answer with embeddings", remedy) from error
            time.sleep(wait)
            wait *= 2
        raise AssertionError("unreachable")

    def _read(self, answer: Any, count: int) -> Vectors:
        """The vectors in the order they were asked for.

        Raises:
            KeyError, TypeError, ValueError: no embeddings.
            RequestError: others than were asked for.
        """
        rows = sorted(answer["data"], key=lambda row: row["index"])
        found = np.asarray([row["embedding"] for row in rows], np.float32)
        if [row["index"] for row in rows] != list(range(count)) or found.shape != (count, self.dimension):
            remedy = f"{self.model} has to give one vector of {self.dimension} values for each of {count} texts"
            raise RequestError("encoder", f"{self.url}: {len(rows)} vectors, shape {found.shape}", remedy)
        return found


class CachedEncoder:
    """Another encoder with a bounded memory of what it said, least recently used out first. Threads may share
    it."""

    def __init__(self, encoder: Encoder, most: int = 10_000) -> None:
        """Remembers the vectors of at most ``most`` texts."""
        if most < 1:
            raise OptionError("most", most, "give a whole number from 1 on")
        self.encoder, self.name, self.dimension, self._most = encoder, encoder.name, encoder.dimension, most
        self._held: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: list[str]) -> Vectors:
        """See :class:`Encoder`; only texts that are not remembered are encoded, each once."""
        with self._lock:
            found = {text: self._held[text] for text in texts if text in self._held}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            vectors = check_vectors(self.encoder, self.encoder.encode(new), len(new))
            found.update(zip(new, vectors, strict=True))
        with self._lock:
            for text in texts:
                self._held[text] = found[text]
                self._held.move_to_end(text)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return np.stack([found[text] for text in texts]) if texts else np.empty((0, self.dimension), np.float32)


def model2vec_encoder(model: str) -> CallableEncoder:
    """A static model of `model2vec`, by its path or name.

    Raises:
        MissingExtraError: `model2vec` is not installed.
    """
    with needed():
        from model2vec import StaticModel
    found = StaticModel.from_pretrained(model)
    return CallableEncoder(found.encode, model, int(found.dim))


def sentence_transformers_encoder(model: str) -> CallableEncoder:
    """A model of `sentence-transformers`, by its path or name.

    Raises:
        MissingExtraError: `sentence-transformers` is not installed.
    """
    with needed():
        from sentence_transformers import SentenceTransformer
    found = SentenceTransformer(model)

    def encode(texts: list[str]) -> Any:
        return found.encode(texts, show_progress_bar=False)

    # Asked of a text: the method that says it has another name in newer versions.
    return CallableEncoder(encode, model, int(encode(["dimension"]).shape[1]))


def fastembed_encoder(model: str) -> CallableEncoder:
    """A model of `fastembed`, by its name.

    Raises:
        MissingExtraError: `fastembed` is not installed.
    """
    with needed():
        from fastembed import TextEmbedding
    found = TextEmbedding(model)

    def encode(texts: list[str]) -> Any:
        return np.stack(list(found.embed(texts)))

    return CallableEncoder(encode, model, int(encode(["dimension"]).shape[1]))


def check_vectors(encoder: Encoder, found: Any, rows: int) -> Vectors:
    """What an encoder gave, as float32 [rows, dimension].

    Raises:
        RequestError: no numbers, another shape, or values that are not finite.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large is not finite, and refused below
            vectors = np.ascontiguousarray(found, "<f4")
    except (TypeError, ValueError) as error:
        raise RequestError("encoder", str(error), f"{encoder.name} has to give numbers") from error
    if vectors.shape != (rows, encoder.dimension):
        expected = f"{encoder.name} has to give [{rows}, {encoder.dimension}]"
        raise RequestError("encoder", f"shape {vectors.shape}", expected)
    if not np.isfinite(vectors).all():
        raise RequestError("encoder", "values that are not finite", f"{encoder.name} has to give finite vectors")
    return vectors
