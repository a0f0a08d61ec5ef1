"""Selections of tools over a table of requests: predictions, and figures about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.bootstrap import bootstrap_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.routing.tools import ToolSelector
    from tiny_dancer.training.tools.data import ToolQueries, ToolTable

BYTES_A_TOKEN = 4.0
"""Bytes of a schema's JSON that make a token, about: vendors' tokenisers differ."""


@dataclass(frozen=True, slots=True)
class ToolEvaluation:
    """What selecting ``k`` tools keeps and saves.

    Attributes:
        queries: how many with a right tool.
        tools: how many tools there are.
        k: most tools selected.
        metrics: `recall@1`, `recall@5`, `recall@k`, `all@k` (every right tool among the k) → mean with interval.
        recall_lost: 1 − recall@k: the share of right tools that a request misses, with its interval.
        tokens_before: of all schemas, about.
        tokens_after: of the selected ones, about; mean over requests.
    """

    queries: int
    tools: int
    k: int
    metrics: Mapping[str, Interval]
    recall_lost: Interval
    tokens_before: float
    tokens_after: float

    @property
    def tokens_saved(self) -> float:
        """Share of the schemas' tokens that a request no longer carries, about."""
        return 1 - self.tokens_after / self.tokens_before if self.tokens_before else 0.0


def evaluate_tools(
    tools: ToolTable, queries: ToolQueries, selector: ToolSelector, k: int = 10, *, seed: int = 0
) -> ToolEvaluation:
    """Judges a selector on requests whose tools are known. Intervals (95 %, bootstrap) are over requests.

    Raises:
        DataError: no request has a right tool.
        OptionError: ``k`` below 1.
    """
    rows = [row for row, right in enumerate(queries.tool_ids) if right]
    if not rows:
        raise DataError("tool_ids", "none", "give requests whose tools are in the table of tools")
    found = selector.select_many([queries.texts[row] for row in rows], max(k, 5))
    tokens = {
        name: len(text.encode()) / BYTES_A_TOKEN for name, text in zip(tools.ids, tools.schemas, strict=True)
    }
    names = ["recall@1", "recall@5", f"recall@{k}", f"all@{k}", "recall lost"]
    values = np.empty((len(rows), len(names)))
    after = 0.0
    for place, (row, (ids, _)) in enumerate(zip(rows, found, strict=True)):
        right = set(queries.tool_ids[row])
        recalls = [len(right.intersection(ids[:most])) / len(right) for most in (1, 5, k)]
        values[place] = [*recalls, recalls[-1] == 1.0, 1 - recalls[-1]]
        after += sum(tokens[name] for name in ids[:k])
    intervals = bootstrap_shares(values, seed=seed)
    metrics = {name: intervals.interval(column) for column, name in enumerate(names)}
    return ToolEvaluation(
        queries=len(rows),
        tools=len(tools),
        k=k,
        metrics={name: each for name, each in metrics.items() if name != "recall lost"},
        recall_lost=metrics["recall lost"],
        tokens_before=sum(tokens.values()),
        tokens_after=after / len(rows),
    )
