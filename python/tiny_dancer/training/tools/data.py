"""Tables of tools, and of requests that used them, read and checked."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

from tiny_dancer import files
from tiny_dancer.errors import CandidateError, DataError
from tiny_dancer.routing.tools import ToolSelector
from tiny_dancer.training.data.columns import open_table
from tiny_dancer.training.data.raw import DataWarning


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


def digest(*columns: object) -> str:
    """SHA-256 of columns, in hexadecimal."""
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


def read_tools(path: Path | str) -> ToolTable:
    """Reads tools: a table (Parquet, CSV or JSONL) of `tool_id`, unique, and `schema`, JSON in any dialect; or a
    JSON document of tools, which go by the ids that :class:`ToolSelector` gives them.

    Raises:
        DataError: no such table, a column that is missing, or a row that cannot be used.
    """
    if Path(path).suffix.lower() == ".json":
        return _read_document(Path(path))
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
    return ToolTable(tuple(ids), tuple(schemas), digest(ids, schemas), checker.table.name)


def _read_document(path: Path) -> ToolTable:
    remedy = "give tools as JSON: a list, or a mapping from servers to lists"
    try:
        document = json.loads(files.read(path))
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error), "give a file that can be read") from error
    except (ValueError, RecursionError) as error:
        raise DataError(str(path), str(error), remedy) from error
    try:
        selector = ToolSelector(document)
    except CandidateError as error:
        raise DataError(error.field, f"{error.value} ({path.name})", error.remedy) from error
    if not len(selector):
        raise DataError(str(path), "no tools", remedy)
    found = [selector.tool(tool_id) for tool_id in selector.ids]
    schemas = tuple(
        json.dumps({"name": each.namespace, "tools": [each.tool]} if each.namespace else each.tool)
        for each in found
    )
    return ToolTable(selector.ids, schemas, digest(selector.ids, schemas), path.name)


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
        return ToolQueries(tuple(ids), tuple(texts), ((),) * len(ids), 0, digest(texts))
    known = set(tools.ids)
    named = checker.listed_texts("tool_ids", "give a list of tool ids")
    found = tuple(tuple(dict.fromkeys(each for each in row if each in known)) for row in named)
    unknown = sum(len({*row} - known) for row in named)
    if unknown:
        message = f"tool_ids of {checker.table.name} name {unknown:,} tools that {tools.name} lacks: left out"
        warnings.warn(DataWarning(message), stacklevel=2)
    return ToolQueries(tuple(ids), tuple(texts), found, unknown, digest(texts, found))
