"""Which addresses are passed on, and whom each of them means."""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from tiny_dancer.gateway.configuration.settings import Role


class Means(Enum):
    """How a request says who is to answer it."""

    MODEL = "model"
    """By a field of the body, JSON or a form."""
    UPSTREAM = "upstream"
    """By a header or in the query; the only one there is needs no naming."""
    MAKER = "maker"
    """By the id of a response: the upstream that made it."""
    COUNT = "count"
    """By a field of the body; where that model's upstream does not count, the gateway does."""


class Passed(Struct, frozen=True, kw_only=True):
    """An address that is passed on.

    Attributes:
        endpoint: its name in the account.
        path: at the upstream, after the base URL; ``{id}`` is the client's.
        methods: of HTTP that it takes.
        means: who answers.
        repeatable: whether doing it twice does nothing but cost twice.
        role: whose default model ``auto`` is.
        usual: the model meant where none is named, as OpenAI has it; empty where one has to be named.
        file: whether the answer is a file's content, which is not looked into.
    """

    endpoint: str
    path: str
    methods: tuple[str, ...] = ("POST",)
    means: Means = Means.MODEL
    repeatable: bool = False
    role: Role = "chat"
    usual: str = ""
    file: bool = False


class Passage(Struct, frozen=True):
    """A request's address, found in the table.

    Attributes:
        passed: its row.
        id: of the file, batch or response; empty where there is none.
    """

    passed: Passed
    id: str = ""

    @property
    def path(self) -> str:
        """At the upstream, after the base URL."""
        return self.passed.path.replace("{id}", quote(self.id, safe=""))


def _model(endpoint: str, *, usual: str = "") -> Passed:
    return Passed(endpoint=endpoint, path=f"/{endpoint.replace('.', '/')}", usual=usual)


def _kept(means: Means, endpoint: str, path: str, *methods: str, file: bool = False) -> Passed:
    return Passed(endpoint=endpoint, path=path, methods=methods, means=means, file=file)


_RERANK: Final = Passed(endpoint="rerank", path="/rerank", role="rerank", repeatable=True)
_OLDEST: Final = "dall-e-2"
_files: Final = partial(_kept, Means.UPSTREAM, "files")
_batches: Final = partial(_kept, Means.UPSTREAM, "batches")
_responses: Final = partial(_kept, Means.MAKER, "responses.stored")

TABLE: Final[dict[str, Passed]] = {
    "/v1/moderations": Passed(
        endpoint="moderations", path="/moderations", repeatable=True, usual="omni-moderation-latest"
    ),
    # Cohere's clients put their version into the path, Jina's and vLLM's put OpenAI's, Infinity's none.
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/rerank": _RERANK,
    "/v1/audio/speech": _model("audio.speech"),
    "/v1/audio/transcriptions": _model("audio.transcriptions"),
    "/v1/audio/translations": _model("audio.translations"),
    "/v1/images/generations": _model("images.generations", usual=_OLDEST),
    "/v1/images/edits": _model("images.edits", usual=_OLDEST),
    "/v1/images/variations": _model("images.variations", usual=_OLDEST),
    "/v1/files": _files("/files", "GET", "POST"),
    "/v1/files/{id}": _files("/files/{id}", "GET", "DELETE"),
    "/v1/files/{id}/content": _files("/files/{id}/content", "GET", file=True),
    "/v1/batches": _batches("/batches", "GET", "POST"),
    "/v1/batches/{id}": _batches("/batches/{id}", "GET"),
    "/v1/batches/{id}/cancel": _batches("/batches/{id}/cancel", "POST"),
    "/v1/responses/{id}": _responses("/responses/{id}", "GET", "DELETE"),
    "/v1/responses/{id}/cancel": _responses("/responses/{id}/cancel", "POST"),
    "/v1/responses/{id}/input_items": _responses("/responses/{id}/input_items", "GET"),
    "/v1/messages/count_tokens": Passed(
        endpoint="messages.count_tokens", path="/messages/count_tokens", means=Means.COUNT, repeatable=True
    ),
}
"""By the address that clients use."""

_LONGEST_ID: Final = 512
# OpenAI has them where ids of responses stand; they are not passed on.
_NO_RESPONSES: Final = ("compact", "input_tokens")


def find(path: str) -> Passage | None:
    """What an address means; None where it is not passed on."""
    found = TABLE.get(path)
    if found is not None and "{id}" not in path:
        return Passage(found)
    parts = path.split("/")
    if len(parts) not in (4, 5) or not 0 < len(parts[3]) <= _LONGEST_ID or parts[3] in (".", "..", "{id}"):
        return None
    if parts[2] == "responses" and parts[3] in _NO_RESPONSES:
        return None
    id, parts[3] = parts[3], "{id}"
    found = TABLE.get("/".join(parts))
    return None if found is None else Passage(found, id)
