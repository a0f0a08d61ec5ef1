"""Several checked files to one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.training.data import featurised
from tiny_dancer.types import Outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.training.data.columns import Checker
    from tiny_dancer.types import FeatureTable

# Beyond this, integer labels are numbered anew: new groups count on from the largest.
LARGEST_GROUP = 1 << 62


@dataclass(frozen=True, slots=True)
class Part:
    """One file, checked."""

    checker: Checker
    task: tuple[str, ...]
    weight: npt.NDArray[np.float64]
    group: tuple[int | str | None, ...]
    quality: dict[str, npt.NDArray[np.float64]]
    cost: dict[str, npt.NDArray[np.float64]]
    latency: dict[str, npt.NDArray[np.float64]]
    prompt: tuple[str, ...] | None
    tools: tuple[str | None, ...] | None
    messages: tuple[str | None, ...] | None
    features: FeatureTable | None

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return self.checker.table.rows


def joined(parts: Sequence[Part], models: Sequence[str]) -> Outcomes:
    """The files' rows, one file below the other.

    Raises:
        DataError: a sample id that occurs twice.
    """
    ids = _unique_ids(parts)
    quality = _stacked(parts, [part.quality for part in parts], models)
    cost = _stacked(parts, [part.cost for part in parts], models)
    latency = _stacked(parts, [part.latency for part in parts], models)
    features = [part.features for part in parts if part.features is not None]
    plain = all(part.prompt is not None for part in parts)
    return Outcomes(
        sample_id=ids,
        task=tuple(name for part in parts for name in part.task),
        models=tuple(models),
        quality=quality if quality is not None else np.empty((len(ids), 0)),
        cost=cost,
        latency=latency,
        weight=np.concatenate([part.weight for part in parts]),
        group=_group_numbers([label for part in parts for label in part.group]),
        prompt=tuple(text for part in parts for text in part.prompt or ()) if plain else None,
        tools=_optional([part.tools for part in parts], parts) if plain else None,
        messages=_optional([part.messages for part in parts], parts) if plain else None,
        features=featurised.joined_features(features, [part.checker.table.name for part in parts])
        if len(features) == len(parts)
        else None,
    )


def _unique_ids(parts: Sequence[Part]) -> tuple[str, ...]:
    owner: dict[str, str] = {}
    for part in parts:
        file = part.checker.table.name
        for name in part.checker.sample_id:
            if name in owner:
                where = f"twice in {file}" if owner[name] == file else f"in {owner[name]} and in {file}"
                raise DataError("sample_id", f"{name!r} is {where}", "give every row an id of its own")
            owner[name] = file
    return tuple(owner)


def _stacked(
    parts: Sequence[Part],
    values: Sequence[dict[str, npt.NDArray[np.float64]]],
    models: Sequence[str],
) -> npt.NDArray[np.float64] | None:
    """One column per model, NaN where a file has none; None where no file has any."""
    if not any(model in found for found in values for model in models):
        return None
    blocks = []
    for part, found in zip(parts, values, strict=True):
        absent = np.full(part.rows, np.nan)
        blocks.append(np.column_stack([found.get(model, absent) for model in models]))
    return np.concatenate(blocks)


def _optional(
    columns: Sequence[tuple[str | None, ...] | None], parts: Sequence[Part]
) -> tuple[str | None, ...] | None:
    if all(column is None for column in columns):
        return None
    return tuple(
        text
        for column, part in zip(columns, parts, strict=True)
        for text in (column if column is not None else (None,) * part.rows)
    )


def _group_numbers(labels: Sequence[int | str | None]) -> npt.NDArray[np.int64]:
    """Integer labels stay as they are; any other are numbered as they appear; None is a group of its own."""
    given = [label for label in labels if label is not None]
    numbers: dict[str, int] = {}
    if not all(isinstance(label, int) and abs(label) < LARGEST_GROUP for label in given):
        for name in given:
            numbers.setdefault(str(name), len(numbers))
    else:
        numbers = {str(number): int(number) for number in given}
    free = max(numbers.values(), default=-1) + 1
    groups = np.empty(len(labels), np.int64)
    for row, label in enumerate(labels):
        if label is None:
            groups[row], free = free, free + 1
        else:
            groups[row] = numbers[str(label)]
    return groups
