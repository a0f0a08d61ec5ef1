"""Several agents for one request, as answers have them; whose errors go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["AgentPlan", "AgentStep", "error_correlation"]

_SHRINKAGE = 20.0  # requests in common that the usual correlation of errors is worth


@dataclass(frozen=True, slots=True)
class AgentStep:
    """One agent's part of a plan.

    Attributes:
        agent: its name.
        capabilities: what it covers of those asked for.
        quality: expected of it alone.
        estimated_cost: USD, or None where nobody knows.
        estimated_latency_ms: or None.
    """

    agent: str
    capabilities: tuple[str, ...]
    quality: float
    estimated_cost: float | None
    estimated_latency_ms: float | None


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """Several agents for one request.

    Attributes:
        strategy: ``pipeline``, ``parallel`` or ``ensemble``.
        steps: who does what; in order, where it has one.
        quality: expected of the whole: of a pipeline the product (each step builds on the one before), of parts
            the mean by what they cover, of an ensemble the probability that the combined answer is right.
        estimated_cost: USD of all, or None where one is not known.
        estimated_latency_ms: of a pipeline the sum, else the longest; or None.
        utility: what the policy makes of these.
        reason: in words.
    """

    strategy: str
    steps: tuple[AgentStep, ...]
    quality: float
    estimated_cost: float | None
    estimated_latency_ms: float | None
    utility: float
    reason: str

    @property
    def agents(self) -> tuple[str, ...]:
        """Names, in order."""
        return tuple(step.agent for step in self.steps)


def error_correlation(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Correlations of m columns of scores, float64 [m, m], over the rows that two have in common.

    Each is drawn towards the mean of all pairs as if that had been seen on 20 rows.

    Args:
        scores: float64 [n, m], NaN where a column has none.
    """
    there = ~np.isnan(scores)
    filled = np.where(there, scores, 0.0)
    both = there.T.astype(np.float64) @ there
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (filled.T @ there) / both
        products = filled.T @ filled / both - mean * mean.T
        variance = (filled**2).T @ there / both - mean**2
        found = products / np.sqrt(variance * variance.T)
    known = np.isfinite(found) & ~np.eye(len(found), dtype=bool)
    weight = np.where(known, both, 0.0)
    found = np.where(known, found, 0.0)
    usual = float((found * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0
    shrunk = (weight * found + _SHRINKAGE * usual) / (weight + _SHRINKAGE)
    np.fill_diagonal(shrunk, 1.0)
    return np.ascontiguousarray(shrunk)


def plan_reason(
    strategy: str, combine: str, steps: Sequence[AgentStep], quality: float, cost: float, utility: float
) -> str:
    """What a plan is, in words."""
    if strategy == "ensemble":
        who = ", ".join(step.agent for step in steps)
        how = "more than half are right" if combine == "vote" else "one of them is right"
        said = f"ensemble of {who}: {how} with probability {quality:.4f}"
    else:
        join = " -> " if strategy == "pipeline" else " | "
        who = join.join(f"{step.agent} ({', '.join(step.capabilities)})" for step in steps)
        said = f"{strategy}: {who}; quality {quality:.4f}"
    price = "unknown" if cost != cost else f"{cost:.6f} USD"
    return f"{said}, cost {price}, utility {utility:.4f}"
