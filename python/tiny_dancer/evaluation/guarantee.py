"""Certified bounds on the quality given up: Learn-then-Test over policies from safest to cheapest.

Angelopoulos, Bates, Candès, Jordan and Lei (2021), "Learn then Test": for each policy test the null "its risk
is at least epsilon" with a p-value valid in finite samples, and walk the sequence from the safest policy on,
each test at level delta, until one fails (fixed-sequence testing). Every policy passed before the first
failure has risk below epsilon, all of them together with probability at least 1 - delta.

What this rests on, and what the caller must see to:

* The sequence of policies is fixed before the calibration outcomes are looked at (thresholds from training).
* Units are independent draws from the requests to come. Rows of one group are one unit: their losses are
  averaged, ``n`` counts groups, and the risk certified is the mean over groups of the group's mean loss.
* ONE test is used, chosen by a rule that looks at no outcome (``auto``: the exact binomial where the caller
  declares losses to be 0 or 1 and rows are not grouped, else betting). The smaller of two p-values is not a
  p-value: under the null the chance that either is below delta can be near 2 delta.
* Unequal row weights are refused: with weights known only for the rows drawn, these bounds do not hold.
* A loss that was not observed counts as the worst loss (``missing='worst'``, valid whatever made it missing),
  or the row is left out for every policy alike (``'drop'``: then the certificate speaks of the requests on
  which every model in the sequence is observed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

Risk = Literal["mean", "harm"]
Missing = Literal["worst", "drop"]
Test = Literal["betting", "binomial", "hoeffding_bentkus", "hoeffding"]
RISK_BOUNDS: dict[Risk, tuple[float, float]] = {"mean": (-1.0, 1.0), "harm": (0.0, 1.0)}
LARGEST_BET = 0.95


@dataclass(frozen=True, slots=True)
class Certification:
    """What a sequence of k policies was certified for.

    Attributes:
        index: the cheapest certified policy (its column), or None where not even the safest passed.
        p_values: k p-values in sequence order. Those of ``betting`` aim at delta and are hardly ever
            smaller; those after the first failure are shown and have no part in the choice.
        risks: k observed mean losses (missing ones as worst).
        n: independent units tested.
        rows: rows used.
        dropped: rows left out because a loss was missing.
        epsilon: the bound on the risk.
        delta: chance that the certificate is wrong, at most.
        test: the test used.
        rows_needed: independent units at which the nearest policy would pass at the risk observed; None
            where one was certified, or where every observed risk is at or above epsilon.
    """

    index: int | None
    p_values: tuple[float, ...]
    risks: tuple[float, ...]
    n: int
    rows: int
    dropped: int
    epsilon: float
    delta: float
    test: Test
    rows_needed: int | None


def policy_losses(
    quality: Floats, decisions: npt.NDArray[np.int64], reference: int | npt.NDArray[np.int64], *, risk: Risk
) -> Floats:
    """Quality given up by each policy on each row, float64 [n, k].

    Args:
        quality: float64 [n, m] in [0, 1]; NaN where not observed.
        decisions: int [n, k], the model each policy chooses.
        reference: the model compared with, one or one per row.
        risk: ``mean`` = reference minus policy, in [-1, 1]; ``harm`` = its positive part, in [0, 1].

    Returns:
        Losses; NaN where the chosen or the reference model was not observed, 0 where they are the same.
    """
    if risk not in RISK_BOUNDS:
        raise OptionError("risk", risk, "choose 'mean' or 'harm'")
    chosen = np.asarray(decisions)
    compared = np.broadcast_to(np.asarray(reference), (len(quality),))[:, None]
    given_up = np.take_along_axis(quality, compared, axis=1) - np.take_along_axis(quality, chosen, axis=1)
    given_up = np.where(chosen == compared, 0.0, given_up)
    return given_up if risk == "mean" else np.where(np.isnan(given_up), np.nan, np.maximum(given_up, 0.0))


def _relative_entropy(a: Floats, b: float) -> Floats:
    """KL divergence of Bernoulli(a) from Bernoulli(b), for a in [0, 1] and 0 < b < 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(a > 0, a * np.log(a / b), 0.0)
        high = np.where(a < 1, (1 - a) * np.log((1 - a) / (1 - b)), 0.0)
    return low + high


def _binomial_cdf(successes: Floats, n: int, probability: float) -> Floats:
    with needed():
        from scipy.special import bdtr
    tail: Floats = bdtr(np.clip(successes, 0, n), n, probability)
    return tail


def hoeffding_pvalue(losses_mean: Floats | float, n: int, epsilon: float) -> Floats:
    """Hoeffding's p-value for "mean loss >= epsilon", losses in [0, 1]: exp(-2 n (epsilon - mean)_+^2)."""
    gap = np.maximum(epsilon - np.asarray(losses_mean, dtype=np.float64), 0.0)
    return np.exp(-2.0 * n * gap**2)


def hoeffding_bentkus_pvalue(losses_mean: Floats | float, n: int, epsilon: float) -> Floats:
    """Hoeffding-Bentkus p-value for "mean loss >= epsilon", losses in [0, 1] (Learn then Test, prop. 1).

    min(exp(-n KL(min(mean, epsilon), epsilon)), e P(Binomial(n, epsilon) <= ceil(n mean))): one p-value,
    whose validity is proved for the minimum (Bates et al. 2021, section 3.1.1).
    """
    mean = np.clip(np.asarray(losses_mean, dtype=np.float64), 0.0, 1.0)
    hoeffding = np.exp(-n * _relative_entropy(np.minimum(mean, epsilon), epsilon))
    bentkus = math.e * _binomial_cdf(np.ceil(n * mean - 1e-9), n, epsilon)
    return np.minimum(1.0, np.minimum(hoeffding, bentkus))


def betting_pvalue(losses: Floats, *, epsilon: float, delta: float, bounds: tuple[float, float]) -> Floats:
    """Betting p-values for "mean loss >= epsilon", one per column of ``losses`` (float64 [n, k]).

    Capital K_t = prod (1 + nu_i (epsilon - L_i)) with nu_i chosen from the rows before i is a nonnegative
    supermartingale under the null, so 1 / max_t K_t is a p-value by Ville's inequality (Waudby-Smith and
    Ramdas 2023). Any predictable bet keeps this. Theirs, sqrt(2 log(1/delta) / (n var)), aims at 1 / delta
    from the outset; this one aims anew at every row at what is still missing with the rows still to come
    (Voráček and Orabona 2025), which reaches the goal at level delta on far fewer rows. Rows must come in
    an order that does not depend on the losses.
    """
    low, high = bounds
    n, k = losses.shape
    gains = epsilon - losses
    prior = ((high - low) / 2) ** 2
    spread = np.full((n, k), prior)
    spread[1:] += np.cumsum(gains[:-1] ** 2, axis=0)
    spread /= np.arange(1, n + 1)[:, None]
    cap = LARGEST_BET / (high - epsilon)
    goal = -math.log(delta)
    capital, best = np.zeros(k), np.zeros(k)
    for i in range(n):
        bet = np.minimum(np.sqrt(2.0 * np.maximum(goal - capital, 0.0) / ((n - i) * spread[i])), cap)
        capital = capital + np.log1p(bet * gains[i])
        best = np.maximum(best, capital)
    return np.exp(-best)


def certify(
    losses: Floats,
    *,
    epsilon: float,
    delta: float,
    bounds: tuple[float, float],
    group: npt.NDArray[np.int64] | None = None,
    weight: Floats | None = None,
    missing: Missing = "worst",
    test: Test | Literal["auto"] = "auto",
    binary: bool = False,
    seed: int = 0,
) -> Certification:
    """Certify the cheapest policy whose risk is below ``epsilon`` with confidence 1 - ``delta``.

    Args:
        losses: float64 [n, k], one column per policy, safest first; NaN where not observed.
        epsilon: bound on the mean loss, between 0 and the upper bound.
        delta: chance of a wrong certificate, in (0, 1).
        bounds: range of a loss, known beforehand: ``RISK_BOUNDS[risk]``.
        group: int64 [n]; rows of a group are averaged into one unit.
        weight: accepted only where all equal.
        missing: ``worst`` or ``drop`` (module docstring).
        test: ``auto`` (module docstring), or one by name for comparison; decide before seeing outcomes.
        binary: the caller declares that a loss can only be 0 or 1.
        seed: of the order in which betting reads the units.

    Raises:
        OptionError: an option outside its range.
        DataError: losses outside the bounds, no rows, unequal weights, or ``binary`` contradicted.
    """
    table = _checked(losses, epsilon, delta, bounds, weight)
    unobserved = np.isnan(table)
    dropped = 0
    if missing == "drop":
        complete = ~unobserved.any(axis=1)
        dropped = int(len(table) - complete.sum())
        table, group = table[complete], None if group is None else np.asarray(group)[complete]
    elif missing == "worst":
        table = np.where(unobserved, bounds[1], table)
    else:
        raise OptionError("missing", missing, "choose 'worst' or 'drop'")
    rows = len(table)
    if rows == 0:
        raise DataError("losses", "no row with every loss observed", "use missing='worst' or add outcomes")
    units = table if group is None else _group_means(table, group)
    grouped = len(units) < rows
    used: Test = test if test != "auto" else ("binomial" if binary and not grouped else "betting")
    if (binary or used == "binomial") and not np.isin(table, (0.0, 1.0)).all():
        raise DataError("losses", "values other than 0 and 1", "do not declare them binary; use test='betting'")
    if used == "binomial" and grouped:
        raise OptionError("test", "binomial on grouped rows", "group means are not binary: use 'betting'")
    p_values = _p_values(units, used, epsilon, delta, bounds, seed)
    passed = np.logical_and.accumulate(p_values <= delta)
    index = int(passed.sum()) - 1 if passed[0] else None
    return Certification(
        index=index,
        p_values=tuple(float(p) for p in p_values),
        risks=tuple(float(r) for r in units.mean(axis=0)),
        n=len(units),
        rows=rows,
        dropped=dropped,
        epsilon=epsilon,
        delta=delta,
        test=used,
        rows_needed=None
        if index is not None
        else rows_needed(units, epsilon=epsilon, delta=delta, bounds=bounds, test=used),
    )


def _checked(
    losses: Floats, epsilon: float, delta: float, bounds: tuple[float, float], weight: Floats | None
) -> Floats:
    table = np.asarray(losses, dtype=np.float64)
    low, high = bounds
    if table.ndim != 2 or table.size == 0:
        raise DataError("losses", f"shape {table.shape}", "give [rows, policies], at least one of each")
    if not low < high or not low <= 0.0:
        raise OptionError("bounds", bounds, "give (low, high) with low <= 0 < high")
    if not 0.0 < epsilon < high:
        raise OptionError("epsilon", epsilon, f"give a quality loss between 0 and {high}")
    if not 0.0 < delta < 1.0:
        raise OptionError("delta", delta, "give a chance between 0 and 1, such as 0.1")
    outside = (table < low - 1e-12) | (table > high + 1e-12)
    if outside.any():
        raise DataError("losses", f"{table[outside][0]} outside {bounds}", "give losses within their bounds")
    if weight is not None and not np.all(np.asarray(weight) == np.asarray(weight)[0]):
        raise DataError("weight", "unequal row weights", "certify on unweighted rows")
    return table


def _group_means(table: Floats, group: npt.NDArray[np.int64]) -> Floats:
    if len(group) != len(table):
        raise DataError("group", f"{len(group)} values for {len(table)} rows", "give one group per row")
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), table.shape[1]))
    np.add.at(sums, inverse, table)
    means: Floats = sums / counts[:, None]
    return means


def _p_values(
    units: Floats, test: Test, epsilon: float, delta: float, bounds: tuple[float, float], seed: int
) -> Floats:
    n = len(units)
    low, high = bounds
    if test == "betting":
        order = np.random.default_rng(seed).permutation(n)
        return betting_pvalue(units[order], epsilon=epsilon, delta=delta, bounds=bounds)
    mean, bound = (units.mean(axis=0) - low) / (high - low), (epsilon - low) / (high - low)
    if test == "hoeffding":
        return hoeffding_pvalue(mean, n, bound)
    if test == "hoeffding_bentkus":
        return hoeffding_bentkus_pvalue(mean, n, bound)
    if test == "binomial":
        return _binomial_cdf(np.rint(units.sum(axis=0)), n, epsilon)
    raise OptionError("test", test, "choose 'auto', 'betting', 'binomial', 'hoeffding_bentkus' or 'hoeffding'")


def rows_needed(
    losses: Floats, *, epsilon: float, delta: float, bounds: tuple[float, float], test: Test = "betting"
) -> int | None:
    """Independent units at which the nearest policy would pass, or None where more do not help.

    ``losses`` is float64 [n, k] without NaN, safest first. A policy needs every policy before it to pass too;
    policies that give nothing up (all losses zero) count only where there is no other. From the exponent of
    the p-value at the observed mean R and variance v: with gap = epsilon - R, betting takes about
    log(1/delta) (2 v / gap^2 + 1 / log(1 + largest bet * gap)) and a few to learn v, reached in four draws of
    five; the others log(1/delta) over their exponent, in every second. R and v are estimates: so is this.
    """
    low, high = bounds
    goal = -math.log(delta)
    need = np.full(losses.shape[1], np.inf)
    for column, values in enumerate(losses.T):
        risk, variance = float(values.mean()), float(values.var())
        gap = epsilon - risk
        if gap <= 0:
            continue
        if test == "betting":
            need[column] = goal * (
                2 * variance / gap**2 + 1 / math.log1p(LARGEST_BET * gap / (high - epsilon)) + 2
            )
        elif test == "hoeffding":
            need[column] = goal * (high - low) ** 2 / (2 * gap**2)
        else:
            scaled = np.array((risk - low) / (high - low))
            exponent = float(_relative_entropy(scaled, (epsilon - low) / (high - low)))
            need[column] = (goal + (1.0 if test == "hoeffding_bentkus" else 0.0)) / exponent
    need = np.maximum.accumulate(need)
    useful = (losses != 0).any(axis=0)
    nearest = float(need[useful].min() if useful.any() else need.min())
    return math.ceil(nearest) if math.isfinite(nearest) else None


def naive_threshold(losses: Floats, *, epsilon: float) -> int | None:
    """The cheapest column whose observed mean loss is at most epsilon: what NOT to do.

    Shown beside the certificate; choosing so breaks the bound in up to every second calibration set.
    """
    within = np.flatnonzero(np.nanmean(losses, axis=0) <= epsilon)
    return int(within[-1]) if len(within) else None
