"""Tables of tools, and of requests that used them, read and checked."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiny_dancer.errors import CandidateError, DataError
from tiny_dancer.routing.tools import ToolSelector
from tiny_dancer.training.data.columns import open_table
from tiny_dancer.training.data.raw import DataWarning

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ToolTable:
    """Tools with their ids.

    Attributes:
        ids: one a tool, in the order of the file.
        schemas: their JSON.
        digest: SHA-256 of both.
        name: of the file.
    """

    ids: tuple[str, ...]
    schemas: tuple[str, ...]
    digest: str
    name: str

    def __len__(self) -> int:
        return len(self.ids)

    def selector(self, artifact: bytes | None = None) -> ToolSelector:
        """A selector of these tools, with what was learned from use or without.

        Raises:
            DataError: a schema that is no tool.
            ArtifactError: no artifact of kind ``tools``.
        """
        selector = ToolSelector(artifact=artifact)
        try:
            selector.add(self.schemas, ids=self.ids)
        except CandidateError as error:
            raise DataError(error.field, f"{error.value} ({self.name})", error.remedy) from error
        return selector


@dataclass(frozen=True, slots=True)
class ToolQueries:
    """Requests, with the tools they need.

    Attributes:
        ids: one a request, in the order of the file.
        texts: what is asked.
        tool_ids: the right tools of each, without those that are not in the table of tools; empty where not read.
        unknown: how many tools were named that the table of tools lacks.
        digest: SHA-256 of texts and tools.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    tool_ids: tuple[tuple[str, ...], ...]
    unknown: int
    digest: str

    def __len__(self) -> int:
        return len(self.ids)


def _digest(*columns: object) -> str:
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def read_tools(path: Path | str) -> ToolTable:
    """Reads a table of tools (Parquet, CSV or JSONL): `tool_id`, unique, and `schema`, its JSON in any dialect.

    Raises:
        DataError: no such table, a column that is missing, or a row that cannot be used.
    """
    checker = open_table(path, lambda name: name in ("tool_id", "schema"), ("tool_id", "schema"))
    ids = checker.filled("tool_id", "give every tool an id")
    seen: dict[str, int] = {}
    for row, tool_id in enumerate(ids):
        if tool_id in seen:
            raise checker.fault("tool_id", row, tool_id, f"row {seen[tool_id] + 1} has this id: drop one of them")
        seen[tool_id] = row
    schemas = []
    for row, schema in enumerate(checker.nested_texts("schema")):
        if schema is None or not schema.strip():
            raise checker.fault("schema", row, schema, "give the tool's JSON")
        schemas.append(schema)
    return ToolTable(tuple(ids), tuple(schemas), _digest(ids, schemas), checker.table.name)


def read_tool_queries(path: Path | str, tools: ToolTable | None = None) -> ToolQueries:
    """Reads a table of requests (Parquet, CSV or JSONL).

    Columns: `query_id`, `query`, and `tool_ids`, a list (in CSV as JSON).

    Args:
        path: the file.
        tools: what `tool_ids` names; None reads no `tool_ids`, whether or not there are any.

    Raises:
        DataError: as :func:`read_tools`.
    """
    wanted = ("query_id", "query") if tools is None else ("query_id", "query", "tool_ids")
    checker = open_table(path, lambda name: name in wanted, wanted)
    ids = checker.filled("query_id", "give every request an id")
    texts = checker.filled("query", "ask something, or drop the row")
    if tools is None:
        return ToolQueries(tuple(ids), tuple(texts), ((),) * len(ids), 0, _digest(texts))
    known = set(tools.ids)
    named = checker.listed_texts("tool_ids", "give a list of tool ids")
    found = tuple(tuple(dict.fromkeys(each for each in row if each in known)) for row in named)
    unknown = sum(len({*row} - known) for row in named)
    if unknown:
        message = f"tool_ids of {checker.table.name} name {unknown:,} tools that {tools.name} lacks: left out"
        warnings.warn(DataWarning(message), stacklevel=2)
    return ToolQueries(tuple(ids), tuple(texts), found, unknown, _digest(texts, found))
