"""Raw columns to checked values; every refusal names the column, the row and the value."""

from __future__ import annotations

import ast
import json
import math
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, OptionError, RequestError
from tiny_dancer.routing.requests import as_engine
from tiny_dancer.training.data import arrow
from tiny_dancer.training.data.raw import read_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_dancer.training.data.arrow import Column
    from tiny_dancer.training.data.raw import RawTable

TEXT_COLUMNS = frozenset({"prompt", "tools", "messages"})
KNOWN_COLUMNS = TEXT_COLUMNS | {"sample_id", "eval_name", "weight", "group"}
# pandas' index columns, and RouterBench's choice of its oracle.
IGNORED_COLUMNS = frozenset({"", "Unnamed: 0", "__index_level_0__", "oracle_model_to_route_to"})
COST = "total_cost"
LATENCY = "latency_s"
MOST = 1e9
"""USD or seconds of one request, beyond which a number is none of these."""
RESPONSE = "|model_response"
NOT_A_MODEL = "or, if it is no model, leave it out by naming the models (--models m1,m2)"

# Spellings of "not observed" and of truth, in any case; CSV files carry no types.
MISSING = frozenset({"", "nan", "null", "none", "na", "n/a", "<na>"})
# What judges grade on, narrowest first.
SCALES = ((-1, 1), (1, 5), (0, 5), (1, 7), (1, 10), (0, 10), (0, 20), (0, 100))
TRUTH = {"true": 1.0, "false": 0.0}


def says_something(text: str) -> bool:
    """Whether a text is more than white space and control characters, as the engine asks of it."""
    return any(not (each.isspace() or unicodedata.category(each) == "Cc") for each in text)


@dataclass(frozen=True, slots=True)
class Parsed:
    """Numbers out of a column, and the rows whose text is no number."""

    values: npt.NDArray[np.float64]
    bad: tuple[tuple[int, str], ...] = ()

    @property
    def numeric(self) -> int:
        """How many rows hold a number."""
        return int(np.count_nonzero(~np.isnan(self.values)))


@dataclass(frozen=True, slots=True)
class Checker:
    """Reads the columns of one raw table and says where they are wrong.

    Attributes:
        table: the raw columns.
        sample_id: the rows' names, for messages; row numbers until they are known.
    """

    table: RawTable
    sample_id: tuple[str, ...] = ()

    def fault(self, column: str, row: int, value: object, remedy: str) -> DataError:
        """The error for one cell."""
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        where = self.sample_id[row] if self.sample_id else f"number {row + 1}"
        return DataError(column, f"{shown} in row {where} of {self.table.name}", remedy)

    def texts(self, name: str) -> list[str | None]:
        """A text column; integers become their digits (ids, groups), null stays None."""
        column = self.table.columns[name]
        if arrow.is_null(column):
            return [None] * self.table.rows
        if arrow.is_integer(column):
            return [None if value is None else str(value) for value in arrow.as_python(column)]
        if not arrow.is_text(column):
            raise DataError(
                name,
                f"type {arrow.type_name(column)} in {self.table.name}",
                "make it a column of strings",
            )
        known = arrow.as_texts(column)
        if known is not None:
            return known
        texts: list[str | None] = []
        for row, value in enumerate(arrow.as_bytes(column)):
            try:
                texts.append(None if value is None else value.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise self.fault(
                    name,
                    row,
                    value,
                    "not UTF-8 (a lone surrogate, or another encoding): re-encode it",
                ) from error
        return texts

    def nested_texts(self, name: str) -> list[str | None]:
        """A text column, or one of lists and objects as JSON."""
        column = self.table.columns[name]
        if arrow.is_nested(column):
            return [None if value is None else json.dumps(value) for value in arrow.as_python(column)]
        return self.texts(name)

    def filled(self, name: str, remedy: str) -> list[str]:
        """A text column in which every row says something.

        Raises:
            DataError: a cell that is empty.
        """
        texts: list[str] = []
        for row, text in enumerate(self.texts(name)):
            if text is None or not says_something(text):
                raise self.fault(name, row, text, remedy)
            texts.append(text)
        return texts

    def listed(self, name: str, remedy: str) -> list[list[Any] | None]:
        """A column of lists, or of JSON text that spells them; null and empty are None.

        Raises:
            DataError: a cell that is no list.
        """
        column = self.table.columns[name]
        if arrow.is_nested(column):
            values = arrow.as_python(column)
            if not all(value is None or isinstance(value, list) for value in values):
                raise DataError(name, f"type {arrow.type_name(column)} in {self.table.name}", remedy)
            return values
        lists: list[list[Any] | None] = []
        for row, text in enumerate(self.texts(name)):
            if text is None or not text.strip():
                lists.append(None)
                continue
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, list):
                raise self.fault(name, row, text, remedy)
            lists.append(value)
        return lists

    def listed_texts(self, name: str, remedy: str) -> list[tuple[str, ...]]:
        """As :meth:`listed`, of texts; whole numbers become their digits.

        Raises:
            DataError: a cell that is no list of texts.
        """
        found = []
        for row, values in enumerate(self.listed(name, remedy)):
            if not all(isinstance(value, str) or type(value) is int for value in values or ()):
                raise self.fault(name, row, values, remedy)
            found.append(tuple(map(str, values or ())))
        return found

    def prompts(self) -> list[str | None]:
        """The ``prompt`` column, which must hold text; numbers are no prompt."""
        column = self.table.columns["prompt"]
        if not (arrow.is_text(column) or arrow.is_null(column)):
            raise DataError(
                "prompt",
                f"type {arrow.type_name(column)} in {self.table.name}",
                "make it a column of strings",
            )
        return self.texts("prompt")

    def numbers(self, name: str) -> Parsed | None:
        """A column of numbers, booleans or text that spells them; None where its type is none of these."""
        column = self.table.columns[name]
        if arrow.is_null(column):
            return Parsed(np.full(self.table.rows, np.nan))
        if arrow.is_number(column):
            return Parsed(arrow.as_floats(column))
        if not arrow.is_text(column):
            return None
        if not arrow.is_utf8(column):
            return parse_numbers(self.texts(name))  # which says where it is not
        return spelt_numbers(column, self.table.decimal_comma)

    def bounded(self, name: str, lowest: float, highest: float, remedy: str) -> npt.NDArray[np.float64]:
        """Numbers within [lowest, highest], or NaN where nothing is given."""
        parsed = self.numbers(name)
        if parsed is None:
            kind = arrow.type_name(self.table.columns[name])
            raise DataError(name, f"type {kind} in {self.table.name}", remedy)
        if parsed.bad:
            row, text = parsed.bad[0]
            raise self.fault(name, row, text, remedy)
        values = parsed.values
        with np.errstate(invalid="ignore"):
            outside = np.flatnonzero((values < lowest) | (values > highest) | np.isinf(values))
        if len(outside):
            raise self.fault(name, int(outside[0]), float(values[outside[0]]), remedy)
        return values

    def qualities(
        self, models: Sequence[str], scale: tuple[float, float] | None
    ) -> dict[str, npt.NDArray[np.float64]]:
        """The models' quality in [0, 1], or NaN where nothing is given; on a ``scale`` its ends become 0 and 1."""
        low, high = scale or (0.0, 1.0)
        if scale is None:
            remedy = f"scale quality to [0, 1]{self._guess(models)}, {NOT_A_MODEL}"
        else:
            remedy = f"the scale is from {low:g} to {high:g}: correct it or the value, {NOT_A_MODEL}"
        found = {model: self.bounded(model, low, high, remedy) for model in models}
        return {model: (values - low) / (high - low) for model, values in found.items()} if scale else found

    def _guess(self, models: Sequence[str]) -> str:
        """The scale that the values look like, in words; empty where they are in [0, 1] or look like none."""
        ends = []
        for model in models:
            parsed = self.numbers(model)
            if parsed is not None and parsed.numeric:
                ends += [float(np.nanmin(parsed.values)), float(np.nanmax(parsed.values))]
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        for start, end in SCALES:
            if start <= low and high <= end and (low < 0 or high > 1):
                return f": it looks like {start} to {end}, so pass --scale {start}:{end} (scale={start, end})"
        return ""

    def json_texts(self, name: str) -> list[str | None]:
        """The ``tools`` or ``messages`` column: JSON text of the right shape; empty means none."""
        texts = self.nested_texts(name)
        problem_of = _tools_problem if name == "tools" else _messages_problem
        checked: list[str | None] = []
        for row, text in enumerate(texts):
            if text is None or not text.strip():
                checked.append(None)
                continue
            try:
                value = json.loads(text)
                text.encode("utf-8")
            except (ValueError, RecursionError) as error:
                raise self.fault(name, row, text, f"not JSON ({error}): write {SHAPES[name]}") from error
            problem = problem_of(value)
            if problem:
                raise self.fault(name, row, text, f"{problem}: write {SHAPES[name]}")
            checked.append(text)
        return checked


SHAPES = {
    "tools": "a JSON list of the functions offered",
    "messages": 'a JSON list of {"role": ..., "content": ...}',
}


def open_table(path: Path | str, wanted: Callable[[str], bool], required: tuple[str, ...]) -> Checker:
    """The wanted columns of a table that has to have rows and the required ones.

    Raises:
        DataError: it is no table, or lacks one of them.
    """
    checker = Checker(read_raw(path, wanted))
    for name in required:
        if name not in checker.table.names:
            found = ", ".join(map(repr, checker.table.names[:12])) or "none"
            raise DataError(name, f"no such column in {checker.table.name}, which has {found}", "add or rename it")
    if not checker.table.rows:
        raise DataError("table", f"{checker.table.name} has no rows", "add rows")
    return checker


def spelt_numbers(column: Column, decimal_comma: bool) -> Parsed:
    """Numbers and booleans out of a text column, as :func:`parse_numbers`; only odd ones are looked at singly."""
    values, rest = arrow.parsed_numbers(column, decimal_comma)
    parsed = parse_numbers(arrow.as_texts(arrow.chosen_rows(column, rest)) or ())
    values[rest] = parsed.values
    return Parsed(values, tuple((int(rest[row]), text) for row, text in parsed.bad))


def checked_scale(scale: tuple[float, float]) -> tuple[float, float]:
    """The ends of a scale as numbers.

    Raises:
        OptionError: no two finite numbers, the lower first.
    """
    try:
        low, high = (float(end) for end in scale)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise OptionError("scale", scale, "give the lowest and the highest quality, such as 1:5 or (1, 5)")
    return low, high


def parse_numbers(texts: Sequence[str | None]) -> Parsed:
    """Numbers and booleans out of text; surrounding spaces and case do not matter."""
    known: dict[str | None, float | None] = {None: np.nan}
    values = np.full(len(texts), np.nan)
    bad: list[tuple[int, str]] = []
    for row, text in enumerate(texts):
        if text not in known:
            known[text] = _number(text or "")
        number = known[text]
        if number is None:
            bad.append((row, text or ""))
        else:
            values[row] = number
    return Parsed(values, tuple(bad))


def _number(text: str) -> float | None:
    word = text.strip().lower()
    if word in MISSING:
        return float("nan")
    if word in TRUTH:
        return TRUTH[word]
    # float() also takes "1_000", which no table means as a number.
    if "_" in word:
        return None
    try:
        return float(word)
    except ValueError:
        return None


def joined_prompt(text: str) -> str:
    """RouterBench writes a prompt as a list of strings, one per turn: the turns on lines of their own.

    Any other text is returned as it is.
    """
    if not (text.startswith("[") and text.endswith("]")):
        return text
    for parse in (json.loads, ast.literal_eval):
        try:
            turns = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
            return "\n".join(turns)
    return text


def _tools_problem(value: object) -> str:
    offered = value if isinstance(value, list) else [value]
    return "" if all(isinstance(tool, dict) for tool in offered) else "not a list of objects"


def _messages_problem(value: object) -> str:
    if not isinstance(value, list):
        return "not a list of messages"
    try:
        _core.featurise([as_engine(value)])
    except RequestError as error:
        return "every message is empty" if error.field.endswith("text") else f"{error.field}: {error.value}"
    return ""
