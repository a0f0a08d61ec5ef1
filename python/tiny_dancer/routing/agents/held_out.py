"""What a trained router expects beside what came of it, on requests it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import NoFeasibleModelError, OptionError
from tiny_dancer.routing.agents.batches import Assignment, assign

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["FEWEST_ROWS", "HeldOut"]

FEWEST_ROWS = 30
"""Held-out requests of an agent; with fewer, chance outweighs what is learned."""

_MOST_TURNS = 12
_NEAR = 1e-9
_NEAR_ENOUGH = 1e-3
_AHEAD = 1e-6  # asked for beyond what is short, so that turns end


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out requests of k agents.

    Attributes:
        agents: k names.
        levels: float64 [k], what the router's expectation is short of the mean quality of each.
        expected: float64 [h, k], what the router expects of them, levels added.
        quality: float64 [h, k], what their answers were worth; NaN where nobody knows.
        tokens: float64 [h], of the prompts.
        groups: int64 [h]; requests of one group are not independent.
    """

    agents: tuple[str, ...]
    levels: Floats
    expected: Floats
    quality: Floats
    tokens: Floats
    groups: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        expected: Mapping[str, Floats],
        quality: Mapping[str, npt.ArrayLike],
        tokens: Floats,
        groups: npt.ArrayLike | None,
    ) -> HeldOut:
        """Learns levels.

        Args:
            expected: by agent, what the router expects, float64 [h].
            quality: by agent, [h], from 0 to 1, NaN where nobody knows.
            tokens: float64 [h].
            groups: [h] whole numbers, or None: each request by itself.

        Raises:
            OptionError: an agent that the router does not know, shapes or values that cannot be, or too few rows.
        """
        rows = len(tokens)
        columns = []
        for name, given in quality.items():
            if name not in expected:
                known = ", ".join(expected) or "none"
                raise OptionError("quality", name, f"name agents that the router covers: {known}")
            try:
                column = np.array(given, np.float64)
            except (TypeError, ValueError) as error:
                raise OptionError(f"quality[{name!r}]", error, "give one number a request") from None
            if column.shape != (rows,):
                raise OptionError(
                    f"quality[{name!r}]", column.shape, f"give one number for each of {rows} requests"
                )
            there = column[~np.isnan(column)]
            if len(there) < FEWEST_ROWS:
                remedy = f"give {FEWEST_ROWS} requests or more whose quality is known"
                raise OptionError(f"quality[{name!r}]", f"{len(there)} known", remedy)
            if not ((there >= 0) & (there <= 1)).all():
                raise OptionError(f"quality[{name!r}]", "outside [0, 1]", "give numbers from 0 to 1")
            columns.append(column)
        if not columns:
            raise OptionError("quality", "empty", "give the qualities of one agent or more")
        together = np.arange(rows) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if together.shape != (rows,):
            raise OptionError("groups", together.shape, "give one number a request")
        names = tuple(quality)
        plain = np.stack([expected[name] for name in names], 1)
        reached = np.stack(columns, 1)
        levels = np.nanmean(reached - plain, 0)
        return cls(names, levels, np.clip(plain + levels, 0.0, 1.0), reached, tokens, together.astype(np.int64))

    def bound(self, found: Assignment, cost: Floats, places: Sequence[int], rows: int, confidence: float) -> float:
        """What the mean quality of a batch reaches with this confidence.

        The rule that the multiplier and prices of the assignment make chooses for the held-out requests, too. What
        its choices fell short of what was expected of them, in the mean, is taken off, and the error of that mean
        and of the batch's own mean (both normal).

        Args:
            found: the assignment.
            cost: float64 [h, all columns of the assignment], NaN where an agent must not answer.
            places: by agent of this, its column in the assignment.
            rows: of the batch.
            confidence: of the bound.
        """
        prices = np.array(found.prices)[list(places)]
        worth = cost[:, list(places)] - found.multiplier * self.expected + prices
        worth = np.where(np.isnan(worth) | np.isnan(self.quality), np.inf, worth)
        able = np.isfinite(worth).any(1)
        if able.sum() < FEWEST_ROWS:
            return float("-inf")
        chosen = worth[able].argmin(1)
        at = np.arange(len(chosen))
        over = self.quality[able][at, chosen] - self.expected[able][at, chosen]
        apart = over - over.mean()
        of_groups = np.bincount(self.groups[able], apart)
        error = np.sqrt((of_groups**2).sum()) / len(over)
        own = over.std() / np.sqrt(rows)
        return float(found.quality + over.mean() - NormalDist().inv_cdf(confidence) * np.hypot(error, own))

    def assign(
        self,
        quality: Floats,
        cost: Floats,
        held_out_cost: Floats,
        places: Sequence[int],
        *,
        min_mean_quality: float,
        confidence: float,
        capacities: Sequence[int | None] | None,
        budget: float | None,
    ) -> tuple[Assignment, float]:
        """The least total cost whose :meth:`bound` reaches a mean quality, and the bound.

        Raises:
            NoFeasibleModelError: none does; it says what was reached.
        """
        # What is expected has to be somewhere between what was too little and what is enough.
        short, enough = 0.0, 1.0
        wanted, best = min_mean_quality, float("-inf")
        kept: tuple[Assignment, float] | None = None
        for _ in range(_MOST_TURNS):
            try:
                found = assign(quality, cost, min_mean_quality=wanted, capacities=capacities, budget=budget)
            except NoFeasibleModelError as error:
                if error.field not in ("min_mean_quality", "budget"):
                    raise
                enough, guess = wanted, 0.0
            else:
                bound = self.bound(found, held_out_cost, places, len(quality), confidence)
                best = max(best, bound)
                if bound >= min_mean_quality - _NEAR:
                    kept, enough = (found, bound), wanted
                else:
                    short = wanted
                guess = wanted + (min_mean_quality - bound) + _AHEAD
            if enough - short <= _NEAR_ENOUGH:
                break
            wanted = guess if short < guess < enough - _NEAR_ENOUGH else (short + enough) / 2
        if kept is not None:
            return kept
        at_most = "" if best == float("-inf") else f"; {best:.6f} was reached"
        remedy = "ask for less, or for less confidence, or calibrate on more requests"
        value = f"{min_mean_quality} with confidence {confidence}{at_most}"
        raise NoFeasibleModelError("min_mean_quality", value, remedy)
