"""Which of many tools a conversation needs: tools in any dialect in, the best few out."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import numpy as np

from tiny_dancer import _core, files
from tiny_dancer.errors import CandidateError, OptionError, RequestError, StorageError
from tiny_dancer.routing.requests import as_engine
from tiny_dancer.routing.router import read_artifact
from tiny_dancer.storage import RoutingRecord, ShownCandidate, hash_query

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.routing.requests import Request
    from tiny_dancer.storage import HistoryStorage

__all__ = ["SelectedTool", "ToolSelection", "ToolSelector"]

Tools: TypeAlias = "Mapping[str, Any] | Iterable[Mapping[str, Any] | str]"

_MOST = (1 << 32) - 1
FORMAT = 1
"""Of the files :meth:`ToolSelector.save` writes."""


@dataclass(frozen=True, slots=True)
class SelectedTool:
    """One tool of a selection.

    Attributes:
        id: what it goes by: its name, behind its server and a slash where it has one.
        name: its name, as a model calls it.
        namespace: the server or namespace it stands in; empty for none.
        tool: the tool as the caller gave it.
        score: how far it stands out among the tools; comparable within one selection only.
        relevance: how much of the request it is about, in [0, 1]; no probability.
        kept: whether it is here because it was called already, named by ``tool_choice`` or ``keep``.
    """

    id: str
    name: str
    namespace: str
    tool: Any
    score: float
    relevance: float
    kept: bool


@dataclass(frozen=True, slots=True)
class ToolSelection:
    """The tools of one request, best first.

    Attributes:
        tools: the selected ones.
        considered: how many there were.
    """

    tools: tuple[SelectedTool, ...]
    considered: int

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the tools, best first."""
        return tuple(each.id for each in self.tools)

    @property
    def definitions(self) -> list[Any]:
        """The tools as the caller gave them, best first: what goes into a request's ``tools``."""
        return [each.tool for each in self.tools]


@dataclass(slots=True)
class _Tool:
    """A tool that is there."""

    name: str
    namespace: str
    tool: Any
    piece: _Given


@dataclass(slots=True)
class _Given:
    """What was added in one piece, and which of its tools are still there."""

    text: str
    id: str | None
    live: set[str] = field(default_factory=set)


class ToolSelector:
    """Selects the tools a request needs. Safe to use from many threads; adding and removing, too.

    Example:
        >>> selector = ToolSelector([
        ...     {"name": "get_weather", "description": "Forecast for a city"},
        ...     {"name": "send_mail", "description": "Send an e-mail to somebody"},
        ... ])
        >>> selector.select("will it rain in Porto tomorrow? check the forecast", k=1).ids
        ('get_weather',)

    Tools come as OpenAI's chat completions and Responses, Anthropic's messages and MCP write them, singly or in
    lists; as the answer of MCP's ``tools/list``, a ``namespace`` of the Responses API or an OpenAPI document
    (every operation is a tool); or as a mapping from servers' names to any of these. Two tools of one name are
    refused unless their servers differ.
    """

    def __init__(
        self, tools: Tools = (), *, artifact: bytes | None = None, storage: HistoryStorage | None = None
    ) -> None:
        """Reads the tools.

        Args:
            tools: see the class.
            artifact: what was learned from use (``tiny-dancer tools train``), or None.
            storage: where :meth:`observe` keeps what was called.

        Raises:
            CandidateError: what is no tool, or two of one name; it says which, and what to do.
            ArtifactError: no artifact of kind ``tools`` (see its subclasses).
        """
        self._engine = _core.ToolSet(_core.sentence_encoder(), artifact)
        self._given: list[_Given] = []
        self._tools: dict[str, _Tool] = {}
        self._storage = storage
        self._changing = threading.RLock()
        self.add(tools)

    def __len__(self) -> int:
        """Number of tools."""
        return len(self._engine)

    def __contains__(self, tool_id: object) -> bool:
        """Whether a tool of this id is there."""
        return tool_id in self._tools

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all tools, in the order they came."""
        return tuple(self._tools)

    def tool(self, tool_id: str) -> SelectedTool:
        """The tool of an id, as it was given; it has no score.

        Raises:
            CandidateError: no tool has this id.
        """
        found = self._tools.get(tool_id)
        if found is None:
            raise CandidateError("tool_id", tool_id, "name a tool by its id")
        return SelectedTool(tool_id, found.name, found.namespace, found.tool, 0.0, 0.0, kept=False)

    def add(self, tools: Tools, *, ids: Sequence[str] | None = None) -> tuple[str, ...]:
        """Adds tools, all or none; takes as long as the new ones need.

        Args:
            tools: see the class.
            ids: one for each of a list of tools; else a tool goes by its name, behind its server's and a slash.

        Returns:
            The ids of the tools added.

        Raises:
            CandidateError: what is no tool, or an id that is there already; nothing was added then.
        """
        given = _listed(tools)
        if ids is not None and len(ids) != len(given):
            raise CandidateError("ids", f"{len(ids)} for {len(given)} tools", "give one id a tool")
        texts = [_as_text(each, place) for place, each in enumerate(given)]
        names: list[str | None] = [None] * len(given) if ids is None else list(ids)
        wrong = next((at for at, name in enumerate(names) if ids is not None and not isinstance(name, str)), None)
        if wrong is not None:
            raise CandidateError(f"ids[{wrong}]", repr(names[wrong]), "give a text")
        added = []
        with self._changing:
            parts = self._engine.add(texts, names)
            for each, text, name, found in zip(given, texts, names, parts, strict=True):
                piece = _Given(text, name, {part[0] for part in found})
                self._given.append(piece)
                for tool_id, namespace, called, source in found:
                    # Alone it is the caller's own object; out of a document or a list, what stood there.
                    tool = each if source == text.strip() and not isinstance(each, str) else json.loads(source)
                    self._tools[tool_id] = _Tool(called, namespace, tool, piece)
                    added.append(tool_id)
        return tuple(added)

    def remove(self, ids: Iterable[str]) -> None:
        """Removes tools by id, all or none.

        Raises:
            CandidateError: an id that no tool has.
        """
        gone = [ids] if isinstance(ids, str) else list(ids)
        with self._changing:
            self._engine.remove(gone)
            for tool_id in gone:
                self._tools.pop(tool_id).piece.live.discard(tool_id)
            self._given = [piece for piece in self._given if piece.live]

    def select(
        self,
        messages: Request,
        k: int = 10,
        *,
        tool_choice: object = None,
        keep: Iterable[str] = (),
        namespaces: Iterable[str] = (),
        relevance_threshold: float = 0.0,
        preserve_count: int = 0,
    ) -> ToolSelection:
        """The ``k`` tools a request needs, best first; fewer where there are fewer.

        Of a conversation the user's last turn counts in full, the two before it half and a quarter, and what the
        assistant said last a quarter. Tools it has called already are never dropped.

        Args:
            messages: a text, or chat messages in any dialect.
            k: most tools; more only where more must be kept.
            tool_choice: as in the request: a tool it names is never dropped.
            keep: ids or names of further tools that are never dropped.
            namespaces: only tools of these servers; none means all.
            relevance_threshold: tools of lower relevance are left out.
            preserve_count: how many of the best stay whatever their relevance.

        Raises:
            RequestError: nothing is said.
            OptionError: ``k`` below 1, or a threshold outside [0, 1].
        """
        return self.select_said(
            as_engine(messages),
            k,
            tool_choice=tool_choice,
            keep=keep,
            namespaces=namespaces,
            relevance_threshold=relevance_threshold,
            preserve_count=preserve_count,
        )

    def select_said(
        self,
        said: _core.Said,
        k: int = 10,
        *,
        tool_choice: object = None,
        keep: Iterable[str] = (),
        namespaces: Iterable[str] = (),
        relevance_threshold: float = 0.0,
        preserve_count: int = 0,
    ) -> ToolSelection:
        """As :meth:`select`, of a request as the engine takes it: a text, or messages as JSON."""
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise OptionError("k", k, "ask for one tool or more")
        if isinstance(preserve_count, bool) or not isinstance(preserve_count, int) or preserve_count < 0:
            raise OptionError("preserve_count", preserve_count, "give a whole number, 0 or more")
        if not isinstance(relevance_threshold, Real) or not 0 <= relevance_threshold <= 1:
            raise OptionError("relevance_threshold", relevance_threshold, "give a number between 0 and 1")
        for name, names in (("keep", keep), ("namespaces", namespaces)):
            if isinstance(names, str):
                raise OptionError(name, repr(names), "give a list of names")
        rest = {
            "k": min(k, _MOST),
            "tool_choice": tool_choice,
            "keep": list(keep),
            "namespaces": list(namespaces),
            "relevance_threshold": float(relevance_threshold),
            "preserve_count": min(preserve_count, _MOST),
        }
        try:
            encoded = _core.encode_json({"text": said, **rest} if isinstance(said, str) else rest)
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError("request", str(error), "give JSON values and valid Unicode alone") from error
        # Messages are JSON already.
        query = encoded if isinstance(said, str) else b'{"messages":' + said + b"," + encoded[1:]
        try:
            return self._selection(query.decode())
        except KeyError:  # tools came or went between the engine's answer and its reading
            with self._changing:
                return self._selection(query.decode())

    def _selection(self, query: str) -> ToolSelection:
        answer = json.loads(self._engine.select(query))
        found = []
        for each in answer["tools"]:
            tool = self._tools[each["id"]]
            found.append(
                SelectedTool(
                    each["id"],
                    tool.name,
                    tool.namespace,
                    tool.tool,
                    each["score"],
                    each["relevance"],
                    each["kept"],
                )
            )
        return ToolSelection(tuple(found), answer["considered"])

    def select_many(self, texts: Sequence[str], k: int = 10) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
        """Ids and scores of the ``k`` tools of each text, best first, on all processors.

        Raises:
            RequestError: a text that says nothing, by its row.
            OptionError: ``k`` below 1.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise OptionError("k", k, "ask for one tool or more")
        found = self._engine.select_texts(_texts(texts), min(k, _MOST))
        return [(tuple(ids), tuple(scores)) for ids, scores in found]

    def score_many(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Scores of all tools for each of n texts, float32 [n, tools].

        Columns are those of :attr:`ids` as long as no tool was removed.

        Raises:
            RequestError: a text that says nothing, by its row.
        """
        flat = np.frombuffer(self._engine.score_texts(_texts(texts)), "<f4")
        return flat.reshape(len(texts), len(self._engine))

    def search_pattern(self, pattern: str, limit: int = 5) -> tuple[str, ...]:
        """Ids of the first ``limit`` tools whose name, description or arguments a regular expression matches.

        Those whose name matches come first, each in order of id. The work is linear in the text; what would need
        backtracking is refused.

        Raises:
            RequestError: no such expression, or longer than 200 characters.
        """
        return tuple(self._engine.search_pattern(pattern, limit))

    def observe(self, query: Request, called: Iterable[str], *, keep_text: bool = True) -> str:
        """Keeps which tools a request called, for learning from use.

        Args:
            query: the request.
            called: ids of the tools, in the order they were called.
            keep_text: whether to keep what the user said last; without it nothing can be learned from this.

        Returns:
            The id under which it was kept.

        Raises:
            StorageError: there is no storage, it cannot take it, or nothing was called.
            CandidateError: a tool that is not there.
        """
        if self._storage is None:
            raise StorageError("storage", "none", "make the selector with storage=SqliteStorage(…)")
        names = [called] if isinstance(called, str) else list(called)
        if not names:
            raise StorageError("called", "no tool", "observe only requests that called one")
        for name in names:
            if name not in self._tools:
                raise CandidateError("called", name, "name tools by their ids")
        said = as_engine(query)
        text = said if isinstance(said, str) else _core.conversation_outline(said)[0]
        record = RoutingRecord(
            uuid4().hex,
            "tools",
            names[0],
            query_hash=hash_query(text),
            query_text=text.replace("\0", "\N{REPLACEMENT CHARACTER}") if keep_text else None,
            shown=tuple(ShownCandidate(name, rank) for rank, name in enumerate(dict.fromkeys(names))),
        )
        if not self._storage.record_routing(record):
            raise StorageError("routing record", "queue full", "the database is slower than tools are called")
        return record.decision_id

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tools to a JSON file.

        Raises:
            OSError: it cannot be written.
        """
        with self._changing:
            pieces = [{"text": piece.text, "id": piece.id, "live": sorted(piece.live)} for piece in self._given]
        files.write(path, json.dumps({"format": FORMAT, "tools": pieces}).encode())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        artifact: bytes | None = None,
        storage: HistoryStorage | None = None,
    ) -> ToolSelector:
        """Reads what :meth:`save` wrote.

        Raises:
            CandidateError: no such file of this format.
            OSError: it cannot be read.
        """
        remedy = "give a file that ToolSelector.save wrote"
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise CandidateError(str(path), str(error), remedy) from error
        if not isinstance(held, dict) or held.get("format") != FORMAT or not isinstance(held.get("tools"), list):
            raise CandidateError(str(path), "another format", remedy)
        selector = cls(artifact=artifact, storage=storage)
        for piece in held["tools"]:
            try:
                text, name, live = piece["text"], piece["id"], set(piece["live"])
            except (KeyError, TypeError) as error:
                raise CandidateError(str(path), "a tool without its text", remedy) from error
            added = selector.add([text], ids=None if name is None else [name])
            selector.remove([each for each in added if each not in live])
        return selector


def read_tool_artifact(artifact: str | os.PathLike[str]) -> bytes | None:
    """The bytes of an artifact of learned use; ``default`` is none: what needs no training.

    Raises:
        ArtifactError: the file cannot be read.
    """
    return None if artifact == "default" else read_artifact(artifact)


def _texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise RequestError("texts", "one text", "give a list of texts")
    return list(texts)


_CONTAINERS = ("name", "type", "tools", "function", "paths", "openapi", "swagger")


def _listed(tools: Any) -> list[Any]:
    """What was given, one entry a JSON value."""
    if isinstance(tools, str):
        return [tools]
    if isinstance(tools, Mapping):
        if any(key in tools for key in _CONTAINERS):
            return [tools]
        # Servers by name.
        listed = []
        for server, offered in tools.items():
            inner = offered["tools"] if isinstance(offered, Mapping) and "tools" in offered else offered
            if isinstance(inner, Mapping | str | bytes) or not isinstance(inner, Iterable):
                remedy = "give a tool, a list of tools, or a mapping from servers to lists of tools"
                raise CandidateError(f"tools.{server}", type(inner).__name__, remedy)
            described = offered.get("description") if isinstance(offered, Mapping) else None
            listed.append({"name": server, "description": described, "tools": list(inner)})
        return listed
    if isinstance(tools, bytes) or not isinstance(tools, Iterable):
        raise CandidateError("tools", type(tools).__name__, "give a list of tools")
    return list(tools)


def _as_text(tool: object, place: int) -> str:
    if isinstance(tool, str):
        return tool
    try:
        return _core.encode_json(tool).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CandidateError(f"tools[{place}]", str(error), "a tool holds JSON values only") from error
