"""Certified bounds on the quality given up: Learn-then-Test over policies from safest to cheapest.

Angelopoulos, Bates, Candès, Jordan and Lei (2021), "Learn then Test": for each policy test the null "its risk
is at least epsilon" with a p-value valid in finite samples, and walk the sequence from the safest policy on,
each test at level delta, until one fails (fixed-sequence testing). Every policy passed before the first
failure has risk below epsilon, all of them together with probability at least 1 - delta.

What this rests on, and what the caller must see to:

* The sequence of policies is fixed before the calibration outcomes are looked at (thresholds from training).
* Units are independent draws from the requests to come. Rows of one group are one unit: their losses are
  averaged, ``n`` counts groups, and the risk certified is the mean over groups of the group's mean loss.
  Copies, near copies and rows that share a passage are one group
  (:func:`tiny_dancer.evaluation.groups.independent`).
* ONE test is used, chosen by a rule that looks at no outcome (``auto``: the exact binomial where the caller
  declares losses to be 0 or 1 and rows are not grouped, else betting). The smaller of two p-values is not a
  p-value: under the null the chance that either is below delta can be near 2 delta.
* A risk among some of the requests (``among``: those a policy does not send to the reference) is tested on the
  units that have such a row. How many there are is random, but which they are is told from features alone: given
  that, their outcomes are draws from the requests so routed, and the test is valid for every such number, so also
  over all of them. A walk may begin at several policies (``starts``, fixed without looking at outcomes), each at
  its part of delta (Bonferroni): the safest policies route too few requests to show anything.
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

Risk = Literal["mean", "harm", "routed", "cost"]
Missing = Literal["worst", "drop"]
Test = Literal["betting", "binomial", "hoeffding_bentkus", "hoeffding"]
RISK_BOUNDS: dict[Risk, tuple[float, float]] = {
    "mean": (-1.0, 1.0),
    "harm": (0.0, 1.0),
    "routed": (0.0, 1.0),
    "cost": (0.0, 1.0),
}
QUALITY_RISKS: tuple[Risk, ...] = ("mean", "harm", "routed")
LARGEST_BET = 0.95
_START_RATES = (1 / 4, 1 / 2, 3 / 4)
"""Failure rates, as parts of the bound, at which a walk over routed requests could pass its first policy."""


@dataclass(frozen=True, slots=True)
class Certification:
    """What a sequence of k policies was certified for.

    Attributes:
        index: the last certified policy (its column; the cheapest where they become cheaper), or None where none
            passed.
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
        counted: units that each p-value rests on: all n, unless the risk is one among some requests.
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
    counted: tuple[int, ...]


def policy_losses(
    quality: Floats, decisions: npt.NDArray[np.int64], reference: int | npt.NDArray[np.int64], *, risk: Risk
) -> Floats:
    """Quality given up by each policy on each row, float64 [n, k].

    Args:
        quality: float64 [n, m] in [0, 1]; NaN where not observed.
        decisions: int [n, k], the model each policy chooses.
        reference: the model compared with, one or one per row.
        risk: ``mean`` = reference minus policy, in [-1, 1]; ``harm`` = its positive part, in [0, 1]; ``routed`` =
            1 where that is above 0, else 0: whatever the size of the loss, the request has failed.

    Returns:
        Losses; NaN where the chosen or the reference model was not observed, 0 where they are the same.
    """
    if risk not in QUALITY_RISKS:
        raise OptionError("risk", risk, "choose 'mean', 'harm' or 'routed'")
    chosen = np.asarray(decisions)
    compared = np.broadcast_to(np.asarray(reference), (len(quality),))[:, None]
    given_up = np.take_along_axis(quality, compared, axis=1) - np.take_along_axis(quality, chosen, axis=1)
    given_up = np.where(chosen == compared, 0.0, given_up)
    if risk == "mean":
        return given_up
    lost = np.maximum(given_up, 0.0) if risk == "harm" else (given_up > 0).astype(np.float64)
    return np.where(np.isnan(given_up), np.nan, lost)


def budget_losses(
    cost: Floats,
    decisions: npt.NDArray[np.int64],
    budget: float,
    *,
    batch: int = 1,
    group: npt.NDArray[np.int64] | None = None,
    seed: int = 0,
) -> tuple[Floats, npt.NDArray[np.int64] | None]:
    """Which requests, or batches of them, cost more than a budget; with their groups.

    Args:
        cost: float64 [n, m] USD; NaN where not observed.
        decisions: int [n, k], the model each policy chooses.
        budget: USD a request, or a request of a batch on average.
        batch: requests in a batch. With more than one, groups count as one request at their mean cost, and are
            dealt into batches in an order drawn from the seed; what is left over is left out.
        group: int64 [n]; rows of one group belong together.
        seed: of the order.

    Returns:
        float64 [units, k], 1 where the budget is exceeded, 0 where not, NaN where a cost is unknown; and the
        units' groups, None where every unit is one of its own.
    """
    spent = np.take_along_axis(cost, np.asarray(decisions), axis=1)
    if batch > 1:
        units = spent if group is None else _group_means(spent, group)
        full = len(units) // batch
        order = np.random.default_rng(seed).permutation(len(units))[: full * batch]
        spent, group = units[order].reshape(full, batch, spent.shape[1]).mean(axis=1), None
    return np.where(np.isnan(spent), np.nan, (spent > budget).astype(np.float64)), group


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


def betting_pvalue(
    losses: Floats,
    *,
    epsilon: float,
    delta: float,
    bounds: tuple[float, float],
    counted: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Betting p-values for "mean loss >= epsilon", one per column of ``losses`` (float64 [n, k]).

    Capital K_t = prod (1 + nu_i (epsilon - L_i)) with nu_i chosen from the rows before i is a nonnegative
    supermartingale under the null, so 1 / max_t K_t is a p-value by Ville's inequality (Waudby-Smith and
    Ramdas 2023). Any predictable bet keeps this. Theirs, sqrt(2 log(1/delta) / (n var)), aims at 1 / delta
    from the outset; this one aims anew at every row at what is still missing with the rows still to come
    (Voráček and Orabona 2025), which reaches the goal at level delta on far fewer rows. Rows must come in
    an order that does not depend on the losses; those not ``counted`` (bool [n, k], told without looking at
    losses) are passed over.
    """
    low, high = bounds
    n, k = losses.shape
    counts = np.ones((n, k)) if counted is None else counted.astype(np.float64)
    gains = np.where(counts > 0, epsilon - losses, 0.0)
    before = np.cumsum(counts, axis=0) - counts
    left = np.maximum(counts.sum(axis=0) - before, 1.0)
    prior = ((high - low) / 2) ** 2
    spread = np.full((n, k), prior)
    spread[1:] += np.cumsum(gains[:-1] ** 2, axis=0)
    spread /= before + 1
    cap = LARGEST_BET / (high - epsilon)
    goal = -math.log(delta)
    capital, best = np.zeros(k), np.zeros(k)
    for i in range(n):
        bet = np.minimum(np.sqrt(2.0 * np.maximum(goal - capital, 0.0) / (left[i] * spread[i])), cap)
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
    among: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Certification:
    """Certify the last policy whose risk is below ``epsilon`` with confidence 1 - ``delta``.

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
        among: bool [n, k], the rows that the risk of each policy speaks of, told without looking at outcomes; all
            of them where None.
        seed: of the order in which betting reads the units.

    Raises:
        OptionError: an option outside its range.
        DataError: losses outside the bounds, no rows, unequal weights, or ``binary`` contradicted.
    """
    table = _checked(losses, epsilon, delta, bounds, weight)
    unobserved = np.isnan(table) if among is None else np.isnan(table) & among
    dropped = 0
    if missing == "drop":
        complete = ~unobserved.any(axis=1)
        dropped = int(len(table) - complete.sum())
        table, group = table[complete], None if group is None else np.asarray(group)[complete]
        among = None if among is None else among[complete]
    elif missing == "worst":
        table = np.where(unobserved, bounds[1], table)
    else:
        raise OptionError("missing", missing, "choose 'worst' or 'drop'")
    rows = len(table)
    if rows == 0:
        raise DataError("losses", "no row with every loss observed", "use missing='worst' or add outcomes")
    units, counted = _units(table, group, among)
    grouped = len(units) < rows
    used: Test = test if test != "auto" else ("binomial" if binary and not grouped else "betting")
    if (binary or used == "binomial") and not np.isin(table[~np.isnan(table)], (0.0, 1.0)).all():
        raise DataError("losses", "values other than 0 and 1", "do not declare them binary; use test='betting'")
    if used == "binomial" and grouped:
        raise OptionError("test", "binomial on grouped rows", "group means are not binary: use 'betting'")
    starts = (0,) if among is None else _starts(counted.sum(axis=0), epsilon, delta)
    level = delta / len(starts)
    p_values = _p_values(units, counted, used, epsilon, level, bounds, seed)
    index = _last_passed(p_values <= level, starts)
    needed = None
    if index is None:
        needed = rows_needed(units, epsilon=epsilon, delta=level, bounds=bounds, test=used, counted=counted)
        # An estimate, and these units were not enough.
        needed = None if needed is None else max(needed, len(units) + 1)
    return Certification(
        index=index,
        p_values=tuple(float(p) for p in p_values),
        risks=tuple(float(r) for r in _column_means(units, counted)),
        n=len(units),
        rows=rows,
        dropped=dropped,
        epsilon=epsilon,
        delta=delta,
        test=used,
        rows_needed=needed,
        counted=tuple(int(number) for number in counted.sum(axis=0)),
    )


def _starts(counted: npt.NDArray[np.int64], epsilon: float, delta: float) -> tuple[int, ...]:
    """Policies at which walks begin: the first with units enough to pass, would they fail at a given rate.

    Rates are parts of the bound; where no policy has enough for any, the last one alone is tested.
    """
    level = delta / len(_START_RATES)
    found = set()
    for rate in _START_RATES:
        enough = np.flatnonzero(
            [_binomial_cdf(np.floor(rate * epsilon * n), int(n), epsilon) <= level for n in counted]
        )
        found |= {int(enough[0])} if len(enough) else set()
    return tuple(sorted(found)) or (len(counted) - 1,)


def _last_passed(passed: npt.NDArray[np.bool_], starts: tuple[int, ...]) -> int | None:
    """The last policy that a walk from one of the starts reaches without a failure."""
    ends = []
    for start in starts:
        run = int(np.logical_and.accumulate(passed[start:]).sum())
        if run:
            ends.append(start + run - 1)
    return max(ends, default=None)


def _column_means(units: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
    """Mean of each column over the units that count there; NaN where none does."""
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(counted, units, 0.0).sum(axis=0) / counted.sum(axis=0)
    return means


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


def _units(
    table: Floats, group: npt.NDArray[np.int64] | None, among: npt.NDArray[np.bool_] | None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Mean loss of each group over its rows that count, and whether any does: [units, k] each."""
    if among is None:
        units = table if group is None else _group_means(table, group)
        return units, np.ones(units.shape, np.bool_)
    if group is None:
        return np.where(among, table, 0.0), among
    share = _group_means(among.astype(np.float64), group)
    counted = share > 0
    sums = _group_means(np.where(among, table, 0.0), group)
    return np.divide(sums, share, out=np.zeros_like(sums), where=counted), counted


def _p_values(
    units: Floats,
    counted: npt.NDArray[np.bool_],
    test: Test,
    epsilon: float,
    delta: float,
    bounds: tuple[float, float],
    seed: int,
) -> Floats:
    low, high = bounds
    if test == "betting":
        order = np.random.default_rng(seed).permutation(len(units))
        return betting_pvalue(units[order], epsilon=epsilon, delta=delta, bounds=bounds, counted=counted[order])
    numbers = counted.sum(axis=0)
    mean, bound = (_column_means(units, counted) - low) / (high - low), (epsilon - low) / (high - low)
    tests = {"hoeffding": hoeffding_pvalue, "hoeffding_bentkus": hoeffding_bentkus_pvalue}
    if test == "binomial":
        failures = np.rint(np.where(counted, units, 0.0).sum(axis=0))
        return np.array([_binomial_cdf(f, int(n), epsilon) for f, n in zip(failures, numbers, strict=True)])
    if test not in tests:
        raise OptionError("test", test, "choose 'auto', 'betting', 'binomial', 'hoeffding_bentkus' or 'hoeffding'")
    return np.array(
        [tests[test](m, int(n), bound) if n else 1.0 for m, n in zip(mean, numbers, strict=True)], np.float64
    )


def rows_needed(
    losses: Floats,
    *,
    epsilon: float,
    delta: float,
    bounds: tuple[float, float],
    test: Test = "betting",
    counted: npt.NDArray[np.bool_] | None = None,
) -> int | None:
    """Independent units at which the nearest policy would pass, or None where more do not help.

    ``losses`` is float64 [n, k] without NaN, safest first. A policy needs every policy before it to pass too;
    policies that give nothing up (all losses zero) count only where there is no other. From the exponent of
    the p-value at the observed mean R and variance v: with gap = epsilon - R, betting takes about
    log(1/delta) (2 v / gap^2 + 1 / log(1 + largest bet * gap)) and a few to learn v, reached in four draws of
    five; the others log(1/delta) over their exponent, in every second. R and v are estimates: so is this. Where
    only some units count (``counted``, bool [n, k]), as many more are needed as do not, and no policy needs those
    before it.
    """
    low, high = bounds
    goal = -math.log(delta)
    need = np.full(losses.shape[1], np.inf)
    share = np.ones(losses.shape[1]) if counted is None else counted.mean(axis=0)
    for column, every in enumerate(losses.T):
        values = every if counted is None else every[counted[:, column]]
        if not len(values):
            continue
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
    need = np.maximum.accumulate(need) if (share == 1).all() else need / np.maximum(share, 1e-12)
    useful = (losses != 0).any(axis=0)
    nearest = float(need[useful].min() if useful.any() else need.min())
    return math.ceil(nearest) if math.isfinite(nearest) else None


def naive_threshold(losses: Floats, *, epsilon: float) -> int | None:
    """The cheapest column whose observed mean loss is at most epsilon: what NOT to do.

    Shown beside the certificate; choosing so breaks the bound in up to every second calibration set.
    """
    within = np.flatnonzero(np.nanmean(losses, axis=0) <= epsilon)
    return int(within[-1]) if len(within) else None
