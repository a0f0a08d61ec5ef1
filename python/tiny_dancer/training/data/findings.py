"""What a check of a table returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from tiny_dancer.types import Outcomes

Severity: TypeAlias = Literal["error", "warning", "note"]

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        severity: ``error``: training on it fails or means nothing; ``warning``: results suffer
            unless it is dealt with; ``note``: good to know.
        kind: what it is, one word for one test.
        field: the column (or model, or task) concerned.
        message: what was found, with figures.
        remedy: what to do about it.
        rows: up to five sample ids.
        count: how many rows are concerned.
    """

    severity: Severity
    kind: str
    field: str
    message: str
    remedy: str
    rows: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model's column in figures; NaN where nothing is observed."""

    name: str
    observed: int
    mean_quality: float
    mean_cost: float


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a table holds and what was found, errors first.

    Attributes:
        rows: number of rows.
        groups: number of groups that must not be split apart, duplicates and passages counted in.
        tasks: rows of each task, in order of name.
        models: one summary per model.
        findings: errors, then warnings, then notes.
    """

    rows: int
    groups: int
    tasks: tuple[tuple[str, int], ...]
    models: tuple[ModelSummary, ...]
    findings: tuple[Finding, ...]

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)


def examples(outcomes: Outcomes, rows: Sequence[int] | npt.NDArray[np.int64]) -> tuple[str, ...]:
    """The first few sample ids."""
    return tuple(outcomes.sample_id[row] for row in rows[:EXAMPLES])
