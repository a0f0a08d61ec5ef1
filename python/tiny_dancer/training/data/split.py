"""Tables into parts that share no request: rows to train on, to calibrate on, to test on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.groups import assign_groups, joined_groups
from tiny_dancer.training.data import arrow, featurised, long
from tiny_dancer.training.data.columns import MISSING, Checker
from tiny_dancer.training.data.raw import read_raw
from tiny_dancer.training.data.read import group_labels, named, request_texts
from tiny_dancer.training.data.write import table_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_dancer.training.data.arrow import Column
    from tiny_dancer.training.data.raw import RawTable
    from tiny_dancer.training.data.read import Featurise

    Labels = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]


def split_rows(group: Labels, shares: Sequence[float], *, time: Floats | None = None, seed: int = 0) -> Labels:
    """The part of each row: 0 for what is left, 1, 2, … for the shares; a group lies in one part.

    Without times, groups are drawn by the seed. With them, groups are in the order of their latest row, and the
    shares are the end of it, the last one last: no row of a part is later than any group of a later part.

    Args:
        group: [n] group numbers.
        shares: of the rows, of each held-out part, in order; above 0, together below 1.
        time: [n] any number that grows.
        seed: of the drawing.

    Raises:
        OptionError: shares outside their range.
        DataError: fewer groups than parts.
    """
    if not shares or not all(share > 0 for share in shares) or not sum(shares) < 1:
        shown = ", ".join(f"{share:g}" for share in shares)
        raise OptionError("share", shown or "none", "give shares above 0 that leave rows to train on, such as 0.3")
    numbers, inverse, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(numbers) <= len(shares):
        raise DataError(
            "group", f"{len(numbers)} groups for {len(shares) + 1} parts", "bring rows of other requests or groups"
        )
    if time is None:
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(numbers))
    else:
        latest = np.full(len(numbers), -np.inf)
        np.maximum.at(latest, inverse, time)
        order = np.argsort(-latest, kind="stable")
    part = np.zeros(len(numbers), np.int64)
    left = order
    for number in range(len(shares), 0, -1):
        chosen = _taken(left, sizes, shares[number - 1] * len(group), in_order=time is not None)
        chosen = chosen[: len(left) - number]
        part[chosen] = number
        left = left[~np.isin(left, chosen)]
    return part[inverse]


def _taken(order: Labels, sizes: Labels, wanted: float, *, in_order: bool) -> Labels:
    """The groups that make up a share: those that lie more within it than beyond; one at least."""
    taken, rows = [], 0
    for group in order:
        if rows + sizes[group] / 2 <= wanted:
            taken.append(group)
            rows += int(sizes[group])
        elif in_order:
            break
    if not taken:
        taken = [order[0] if in_order else order[sizes[order].argmin()]]
    return np.array(taken, np.int64)


# What stays text, also where it is all digits.
_TEXTS = long.REQUEST_COLUMNS | {"group"}


@dataclass(frozen=True, slots=True)
class SplitTable:
    """A table and the part of each of its rows.

    Attributes:
        part: [n] 0 for training, then 1, 2, … as the shares were given.
        group: [n] what was kept together.
        time: [n], or None without a column of times.
    """

    part: Labels
    group: Labels
    time: Floats | None
    _raw: RawTable

    def content(self, part: int, path: Path) -> bytes:
        """The rows of one part, all columns, as a file of this name."""
        rows = np.flatnonzero(self.part == part)
        columns = {name: arrow.chosen_rows(each, rows) for name, each in _typed(self._raw, path).items()}
        return table_bytes(path, columns, nested=self._raw.nested, metadata=self._raw.metadata)


def split_table(
    table: os.PathLike[str] | str | object,
    shares: Sequence[float],
    *,
    featurise: Featurise,
    by_time: str | None = None,
    seed: int = 0,
) -> SplitTable:
    """Splits a table, wide, long or featurised, without touching its labels.

    Kept together: equal requests, near duplicates and shared passages, as in training; rows of one ``group``, and
    of one ``sample_id``.

    Raises:
        DataError: as :func:`read_outcomes` of requests and groups; no column ``by_time``, or a row without a time.
        OptionError: as :func:`split_rows`.
    """
    raw = read_raw(table, lambda _name: True)
    if {"spec", "data", "sample_id"} <= set(raw.names):
        remedy = "split it by runs, or write a table of it first: prompt, model, score"
        raise DataError("table", f"{raw.name} is a log of events, not of rows", remedy)
    group = _groups(named(raw).table, featurise)
    time = None if by_time is None else _times(Checker(raw), by_time)
    return SplitTable(split_rows(group, shares, time=time, seed=seed), group, time, raw)


def _groups(raw: RawTable, featurise: Featurise) -> Labels:
    """What belongs together, row by row."""
    checker = Checker(raw)
    if featurised.is_featurised(raw):
        group = assign_groups(featurised.read_features(raw))
    else:
        # Equal texts once: a long table has each prompt as often as it has models.
        texts = long.request_texts(checker) if long.is_long(raw.names) else request_texts(checker)
        request, first = arrow.numbered([arrow.from_texts(each) for each in texts])
        prompts, messages, tools = ([each[row] for row in first] for each in texts)
        for row, (prompt, chat) in enumerate(zip(prompts, messages, strict=True)):
            if chat is None and (prompt is None or not prompt.strip()):
                raise checker.fault(
                    "prompt", int(first[row]), prompt, "give the row a prompt or messages, or drop it"
                )
        said = Texts([each or "" for each in prompts], messages, tools)
        group = assign_groups(featurise(said.prompts, messages, tools), texts=said)[request]
    labels: list[Sequence[int | str | None]] = [group_labels(checker)] if "group" in raw.columns else []
    labels += [checker.texts("sample_id")] if "sample_id" in raw.columns else []
    for each in labels:
        known = np.array([label is not None for label in each])
        numbers = arrow.numbered([arrow.from_texts([None if label is None else str(label) for label in each])])[0]
        group = joined_groups(group, np.where(known, numbers, len(each) + np.arange(len(each))))
    return group


def _times(checker: Checker, name: str) -> Floats:
    """A column of times as numbers that grow: numbers as they are, dates and ISO 8601 as seconds."""
    raw = checker.table
    if name not in raw.columns:
        shown = ", ".join(map(repr, raw.names[:12]))
        raise DataError(
            "by_time", f"no column {name!r} in {raw.name}, which has {shown}", "name the column of times"
        )
    column = raw.columns[name]
    seconds = arrow.as_seconds(column)
    if seconds is None:
        parsed = checker.numbers(name)
        if parsed is not None and not parsed.bad:
            seconds = parsed.values
        else:
            seconds = np.array([_moment(checker, name, row, text) for row, text in enumerate(checker.texts(name))])
    missing = np.flatnonzero(np.isnan(seconds))
    if len(missing):
        raise checker.fault(name, int(missing[0]), None, "give every row a time, or drop it")
    return seconds


def _moment(checker: Checker, name: str, row: int, text: str | None) -> float:
    if text is None or not text.strip():
        return float("nan")
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise checker.fault(name, row, text, "write a number, or ISO 8601 (2026-01-31T12:00:00)") from None
    # Local times are taken as UTC: the same order on every machine.
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()


def _typed(raw: RawTable, path: Path) -> Mapping[str, Column]:
    """The columns as the file wants them: bytes as text, and what text spells as numbers where types are kept."""
    as_text = any(suffix in (".csv", ".tsv") for suffix in path.suffixes) and not raw.decimal_comma
    typed = {}
    for name, column in raw.columns.items():
        numbers = None
        if raw.spelt and not as_text and name not in _TEXTS:
            numbers = arrow.plain_numbers(column, raw.decimal_comma, MISSING)
        text = arrow.printable(column) if arrow.is_text(column) else None
        typed[name] = next(each for each in (numbers, text, column) if each is not None)
    return typed
