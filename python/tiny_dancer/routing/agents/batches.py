"""A whole batch at once: which agent answers which request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError
from tiny_dancer.storage.values import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["AgentAssignment", "Assignment", "assign"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Columns chosen for the rows of a table.

    Attributes:
        columns: int64 [n].
        cost: USD of all.
        quality: mean.
        bound: what no assignment can beat: total USD, or mean quality.
        gap: how far it is off that, as a share.
        multiplier: USD that one more unit of summed quality would cost, or quality that one more USD would bring.
        prices: by column, what one more row of its capacity would save or bring; 0 where it does not bind.
    """

    columns: npt.NDArray[np.int64]
    cost: float
    quality: float
    bound: float
    gap: float
    multiplier: float
    prices: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentAssignment:
    """Which agent answers which request of a batch.

    Attributes:
        agents: one name a request.
        cost: USD of all, as estimated.
        quality: mean, as expected.
        bound: what no assignment can beat: total USD, or mean quality.
        gap: how far it is off that, as a share.
        multiplier: USD that one more unit of summed quality would cost, or quality that one more USD would bring.
        quality_bound: what the mean quality reaches with the confidence that was asked for, or None.
    """

    agents: tuple[str, ...]
    cost: float
    quality: float
    bound: float
    gap: float
    multiplier: float
    quality_bound: float | None = None


def assign(
    quality: npt.ArrayLike,
    cost: npt.ArrayLike,
    *,
    optimize_for: Literal["total_cost", "quality"] = "total_cost",
    min_mean_quality: float | None = None,
    budget: float | None = None,
    capacities: Sequence[int | None] | None = None,
) -> Assignment:
    """Assigns rows to columns: the least total cost at a mean quality, or the highest quality within a budget.

    By the Lagrangian relaxation of ``assign.rs``, with the gap to its bound.

    Args:
        quality: float [n, m], from 0 to 1.
        cost: float [n, m], USD; NaN where a column must not be taken.
        optimize_for: ``total_cost`` or ``quality``.
        min_mean_quality: with ``total_cost``, what the mean has to reach.
        budget: USD of all.
        capacities: most rows of each column, None for any number.

    Raises:
        OptionError: arrays whose shapes or values cannot be.
        NoFeasibleModelError: no assignment meets quality, budget and capacities; it says what can be reached.
    """
    good, dear = (np.ascontiguousarray(each, np.float64) for each in (quality, cost))
    if good.ndim != 2 or good.shape != dear.shape or not good.shape[1]:
        raise OptionError("quality", f"{good.shape} beside {dear.shape}", "give two tables of rows x columns")
    if optimize_for not in ("total_cost", "quality"):
        raise OptionError("optimize_for", optimize_for, "use total_cost or quality")
    if optimize_for == "quality" and min_mean_quality is not None:
        raise OptionError("min_mean_quality", min_mean_quality, "leave it out where quality is maximised")
    most = [None] * good.shape[1] if capacities is None else list(capacities)
    for place, each in enumerate(most):
        if each is not None and (isinstance(each, bool) or not isinstance(each, int | np.integer) or each < 0):
            raise OptionError(f"capacities[{place}]", each, "give a whole number, 0 or more, or None")
    if len(most) != good.shape[1]:
        raise OptionError("capacities", f"{len(most)} for {good.shape[1]}", "give one a column")
    chosen, spent, mean, bound, gap, multiplier, prices = _core.assign_batch(
        good.shape[1],
        good.tobytes(),
        dear.tobytes(),
        most,
        optimize_for == "total_cost",
        None if min_mean_quality is None else number("min_mean_quality", min_mean_quality, error=OptionError),
        None if budget is None else number("budget", budget, error=OptionError),
    )
    columns = np.frombuffer(chosen, "<u4").astype(np.int64)
    return Assignment(columns, spent, mean, bound, gap, multiplier, tuple(prices))
