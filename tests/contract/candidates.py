"""Candidates to test with."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.storage import CandidateRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.storage import Neighbour

NOW = 1.75e9


class Tensor:
    """What numpy can read, as a tensor is."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if isinstance(self.value, Exception):
            raise self.value
        return np.asarray(self.value, dtype)


def vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def record(id: str, *numbers: float, **rest: Any) -> CandidateRecord:
    rest.setdefault("created_at", NOW)
    return CandidateRecord(id, vector(*numbers) if numbers else None, **rest)


def values(record: CandidateRecord) -> dict[str, Any]:
    """The fields, comparable."""
    found = {field.name: getattr(record, field.name) for field in fields(record)}
    del found["updated_at"]  # the clock's
    if found["ttl_s"] is not None:
        del found["expires_at"]
    if found["embedding"] is not None:
        found["embedding"] = (found["embedding"].dtype, found["embedding"].tolist())
    return found


def ids(found: Sequence[Neighbour]) -> list[str]:
    return [each.candidate.id for each in found]
