"""Tables of memories, and of questions about them, read and checked."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer._core.timestamps import seconds_since_epoch
from tiny_dancer.errors import CandidateError, DataError
from tiny_dancer.names import hint
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet
from tiny_dancer.training.data import arrow
from tiny_dancer.training.data.columns import IGNORED_COLUMNS, Checker, open_table
from tiny_dancer.training.data.raw import DataWarning

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

_RATES = ("success_rate", "confidence")
_COUNTS = ("access_count", "trials")
MEMORY_COLUMNS = frozenset(
    {"conversation", "memory_id", "session", "created_at", "text", "embedding", *_RATES, *_COUNTS}
)
QUESTION_COLUMNS = frozenset({"conversation", "question", "asked_at", "embedding"})


@dataclass(frozen=True, slots=True)
class Memories:
    """Candidates by conversation.

    Attributes:
        conversations: name → its memories, in the order of the file.
        latest: name → seconds since 1970 of its latest memory, or None where none has a time.
        digest: SHA-256 of the table's values.
        name: of the file.
    """

    conversations: Mapping[str, tuple[Candidate, ...]]
    latest: Mapping[str, float | None]
    digest: str
    name: str

    def __len__(self) -> int:
        return sum(len(memories) for memories in self.conversations.values())

    def sets(self, *, quantised: bool = False) -> dict[str, CandidateSet]:
        """One set a conversation.

        Raises:
            DataError: a memory that no set takes: a negative count, a rate outside [0, 1], embeddings of different
                lengths.
        """
        made = {}
        for conversation, memories in self.conversations.items():
            try:
                made[conversation] = CandidateSet(memories, quantised=quantised)
            except CandidateError as error:
                where = f"{error.value} (conversation {conversation} of {self.name})"
                raise DataError(error.field, where, error.remedy) from error
        return made


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one conversation.

    Attributes:
        conversation: whose memories may answer it.
        text: the question.
        now: seconds since 1970 when it was asked; else its conversation's latest memory, or None.
        embedding: float32 [D], or None.
        evidence: memory ids that hold the answer, without those the conversation lacks; empty where none was read.
    """

    conversation: str
    text: str
    now: float | None
    embedding: npt.NDArray[np.float32] | None
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions in the order of the file.

    Attributes:
        questions: all of them.
        unknown_evidence: how often evidence named a memory that its conversation lacks.
        digest: SHA-256 of the table's values that were read.
    """

    questions: tuple[Question, ...]
    unknown_evidence: int
    digest: str

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def answerable(self) -> tuple[Question, ...]:
        """Those with evidence: what can be learned from, and judged on."""
        return tuple(question for question in self.questions if question.evidence)


def read_memories(path: Path | str) -> Memories:
    """Reads a table of memories (Parquet, CSV or JSONL; CSV and JSONL also gzipped).

    Columns: `conversation`, `memory_id` (unique within a conversation) and `text`; optional `session` (memories of
    one session are each other's neighbours, in the order of the file; without it no memory has neighbours),
    `created_at` (as :attr:`Candidate.created_at`), `embedding` (a list of numbers), `access_count`,
    `success_rate`, `trials` and `confidence`. Any other column of text is a property of the memory (`speaker`,
    say); other columns are left out with a :class:`DataWarning`.

    Raises:
        DataError: a column is missing or of the wrong type, an id is missing or there twice, a text is empty, a
            value is out of range. Names column, row, value and remedy.
    """
    checker = open_table(path, lambda name: name not in IGNORED_COLUMNS, ("conversation", "memory_id", "text"))
    table = checker.table
    rows = range(table.rows)
    conversations = checker.filled("conversation", "name the row's conversation")
    ids = checker.filled("memory_id", "give every memory an id")
    texts = checker.filled("text", "give the memory a text, or drop it")
    sessions = _optional_texts(checker, "session")
    times = _times(checker, "created_at")
    embeddings = _embeddings(checker)
    numbers: dict[str, list[Any]] = {}
    for name in (*_RATES, *_COUNTS):
        highest, remedy = (
            (1.0, "give a share in [0, 1]") if name in _RATES else (math.inf, "give a count of 0 or more")
        )
        numbers[name] = _numbers(checker, name, highest, remedy)
    properties = _properties(checker)
    seen: set[tuple[str, str]] = set()
    found: dict[str, list[Candidate]] = {}
    latest: dict[str, float | None] = {}
    for row in rows:
        conversation, memory_id, time = conversations[row], ids[row], times[row]
        if (conversation, memory_id) in seen:
            where = f"in conversation {conversation}, row {row + 1} of {table.name}"
            raise DataError(
                "memory_id", f"{memory_id!r} twice {where}", "give each memory of a conversation its own id"
            )
        seen.add((conversation, memory_id))
        found.setdefault(conversation, []).append(
            Candidate(
                memory_id,
                embedding=embeddings[row],
                text=texts[row],
                created_at=time,
                metadata={name: value for name, values in properties.items() if (value := values[row])},
                group=sessions[row] or None,
                **{name: values[row] for name, values in numbers.items()},
            )
        )
        known = latest.get(conversation)
        latest[conversation] = known if time is None else time if known is None else max(known, time)
    return Memories(
        {name: tuple(memories) for name, memories in found.items()},
        latest,
        _digest(
            (conversations, ids, texts, sessions, times, *properties, *properties.values(), *numbers.values()),
            embeddings,
        ),
        table.name,
    )


def read_questions(path: Path | str, memories: Memories, *, require_evidence: bool = True) -> Questions:
    """Reads a table of questions (Parquet, CSV or JSONL).

    Columns: `conversation`, `question`; `evidence` (a list of memory ids, in CSV as JSON), optional `asked_at` (as
    `created_at`; else the conversation's latest memory counts as now) and `embedding` (as wide as the memories').

    Args:
        path: the file.
        memories: what the questions are about.
        require_evidence: False reads no evidence, whether or not there is any.

    Raises:
        DataError: as :func:`read_memories`; or a conversation without memories.
    """
    wanted = QUESTION_COLUMNS | {"evidence"} if require_evidence else QUESTION_COLUMNS
    required = ("conversation", "question", "evidence") if require_evidence else ("conversation", "question")
    checker = open_table(path, lambda name: name in wanted, required)
    table = checker.table
    conversations = checker.filled("conversation", "name the question's conversation")
    for row, name in enumerate(conversations):
        if name not in memories.conversations:
            meant = hint(name, memories.conversations)
            raise checker.fault(
                "conversation", row, name, f"{meant}{memories.name} has no memories of it: add them"
            )
    texts = checker.filled("question", "ask something, or drop the row")
    times = _times(checker, "asked_at")
    embeddings = _embeddings(checker)
    named = (
        checker.listed_texts("evidence", "give a list of memory ids") if require_evidence else [()] * table.rows
    )
    ids = {name: {memory.id for memory in found} for name, found in memories.conversations.items()}
    questions, unknown = [], 0
    for row, conversation in enumerate(conversations):
        evidence = tuple(dict.fromkeys(each for each in named[row] if each in ids[conversation]))
        unknown += len({*named[row]} - ids[conversation])
        now = memories.latest[conversation] if times[row] is None else times[row]
        questions.append(Question(conversation, texts[row], now, embeddings[row], evidence))
    if unknown:
        warnings.warn(
            DataWarning(
                f"evidence of {table.name} names {unknown:,} memories that {memories.name} lacks: left out"
            ),
            stacklevel=2,
        )
    left_out = sum(not question.evidence for question in questions) if require_evidence else 0
    if left_out:
        warnings.warn(
            DataWarning(f"{left_out:,} questions of {table.name} have no known evidence: left out"), stacklevel=2
        )
    return Questions(tuple(questions), unknown, _digest((conversations, texts, times, named), embeddings))


def _optional_texts(checker: Checker, name: str) -> list[str | None]:
    table = checker.table
    if name not in table.columns:
        return [None] * table.rows
    column = table.columns[name]
    if arrow.is_floating(column):
        # pandas turns integers into floats where some are missing.
        values = arrow.as_python(column)
        whole = [value is None or value != value or float(value).is_integer() for value in values]
        if all(whole):
            return [None if value is None or value != value else str(int(value)) for value in values]
    return checker.texts(name)


def _times(checker: Checker, name: str) -> list[float | None]:
    table = checker.table
    if name not in table.columns:
        return [None] * table.rows
    column = table.columns[name]
    values: list[Any] = checker.texts(name) if arrow.is_text(column) else arrow.as_python(column)
    seconds: list[float | None] = []
    for row, value in enumerate(values):
        if isinstance(value, str):
            text = value.strip()
            try:
                value = float(text) if text else None
            except ValueError:
                value = text
        elif isinstance(value, float) and math.isnan(value):
            value = None
        try:
            seconds.append(seconds_since_epoch(value, name))
        except CandidateError as error:
            raise checker.fault(name, row, value, error.remedy) from error
    return seconds


def _numbers(checker: Checker, name: str, highest: float, remedy: str) -> list[float | None]:
    if name not in checker.table.columns:
        return [None] * checker.table.rows
    values = checker.bounded(name, 0.0, highest, remedy)
    return [None if math.isnan(value) else float(value) for value in values]


def _embeddings(checker: Checker) -> list[npt.NDArray[np.float32] | None]:
    if "embedding" not in checker.table.columns:
        return [None] * checker.table.rows
    remedy = "give a list of numbers"
    found: list[npt.NDArray[np.float32] | None] = []
    for row, values in enumerate(checker.listed("embedding", remedy)):
        if values is None:
            found.append(None)
            continue
        try:
            vector = np.asarray(values, np.float32)
        except (TypeError, ValueError):
            raise checker.fault("embedding", row, values, remedy) from None
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise checker.fault("embedding", row, values, "give a list of finite numbers")
        found.append(vector)
    return found


def _properties(checker: Checker) -> dict[str, list[str | None]]:
    table = checker.table
    properties = {}
    for name in sorted(table.columns.keys() - MEMORY_COLUMNS):
        if arrow.is_text(table.columns[name]):
            properties[name] = checker.texts(name)
        else:
            warnings.warn(
                DataWarning(f"column {name!r} of {table.name} is not used: it holds no text"), stacklevel=3
            )
    return properties


def _digest(columns: tuple[Any, ...], embeddings: list[npt.NDArray[np.float32] | None]) -> str:
    sha = hashlib.sha256(json.dumps(columns).encode())
    for vector in embeddings:
        sha.update(b"-" if vector is None else vector.astype("<f4").tobytes())
    return sha.hexdigest()
