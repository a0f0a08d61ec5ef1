"""How likely a candidate is looked at where it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.candidates.history import History

    Floats = npt.NDArray[np.float64]

LEAST = 0.1
"""Propensities below count as this: no answer counts more than ten times (clipping, Ionides 2008)."""
_USUAL, _SPREAD, _ROUGHNESS = 1.0, 0.5, 0.3
_STEEPEST = 3.0


@dataclass(frozen=True, slots=True)
class Propensity:
    """Chance that a candidate is examined, relative to the first position.

    Attributes:
        eta: of the power law 1 / position^eta that it follows, but for deviations the data asks for.
        examined: float64 [positions] in (0, 1]; 1 for the first.
        pairs: candidates that helped and were shown for the same query at several positions: what tells.
    """

    eta: float
    examined: Floats
    pairs: int

    def of(self, history: History) -> Floats:
        """Chance that each row was examined, float64 [n], at least :data:`LEAST`.

        Where every candidate of an answer was rated, all were seen: 1.
        """
        chance = np.maximum(self.examined[history.rank], LEAST)
        rated = np.ones(len(history), np.bool_)
        np.logical_and.at(rated, history.answer, history.rated)
        chance[rated[history.answer]] = 1.0
        found: Floats = chance
        return found


def estimate_propensity(history: History) -> Propensity:
    """Estimates propensities from candidates shown for the same query at several positions.

    That is intervention harvesting (Agarwal et al. 2019): versions, new memories and passing time move candidates
    about, and what a candidate is worth for a query stays. Help is examination times relevance; relevance cancels
    out of the likelihood given how often a pair helped in all (Poisson regression with fixed effects, Hausman,
    Hall and Griliches 1984). Drawn to 1 / position (eta 1 ± 0.5) with deviations of a factor e^±0.3: without such
    pairs it stays there.
    """
    positions = int(history.rank.max()) + 1 if len(history.rank) else 1
    pairs, where = np.unique(history.pair[history.pair >= 0], return_inverse=True)
    rows = history.pair >= 0
    shown = np.zeros((len(pairs), positions))
    helped = np.zeros((len(pairs), positions))
    np.add.at(shown, (where, history.rank[rows]), 1.0)
    np.add.at(helped, (where, history.rank[rows]), history.helped[rows])
    telling = ((shown > 0).sum(1) > 1) & (helped.sum(1) > 0)
    shown, helped = shown[telling], helped[telling]
    times, per_pair = helped.sum(0), helped.sum(1)
    place = np.log(np.arange(1, positions + 1))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        eta, deviation = parameters[0], parameters[1:]
        log_chance = deviation - eta * place
        mass = shown * np.exp(log_chance)
        total = mass.sum(1)
        value = per_pair @ np.log(total) - times @ log_chance
        slope = (per_pair / total) @ mass - times
        value += (eta - _USUAL) ** 2 / (2 * _SPREAD**2) + deviation @ deviation / (2 * _ROUGHNESS**2)
        slope_eta = -slope @ place + (eta - _USUAL) / _SPREAD**2
        return float(value), np.concatenate([[slope_eta], slope + deviation / _ROUGHNESS**2])

    start = np.concatenate([[_USUAL], np.zeros(positions)])
    bounds = [(0.0, _STEEPEST)] + [(None, None)] * positions
    found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    eta, deviation = float(found.x[0]), np.asarray(found.x[1:])
    examined = np.exp(deviation - eta * place)
    return Propensity(eta, np.minimum(examined / examined[0], 1.0), int(telling.sum()))
