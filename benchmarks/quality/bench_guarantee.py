"""Do guarantees hold? Random splits of real rows: train on a part, certify on some rows, test on others.

Five trainings, of other rows each; per training as many splits: rows are dealt (in whole groups) into
calibration and test; a violation is a certified policy whose risk on the test rows exceeds ε. The test mean is
itself noisy, which counts against the certificate here; against all held-out rows it counts less. Three risks:
mean quality lost, with the naive rule (cheapest policy whose calibration mean is within ε) and a plain
Hoeffding bound on the same splits; the failure rate among the requests not sent to the reference; and the share
of requests that cost more than a budget. ε is .05 on MMLU and zeroeval and .12 on GSM8K, where so few rows
certify nothing below; among routed requests it is .15 (zeroeval .2).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from scipy.stats import binomtest

from common import draw, table, write
from tiny_dancer import Router, fit
from tiny_dancer.evaluation.guarantee import (
    RISK_BOUNDS,
    Risk,
    Test,
    budget_losses,
    certify,
    naive_threshold,
    policy_losses,
)
from tiny_dancer.training.calibrate import expected_of
from tiny_dancer.training.policy import policies_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.types import Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]
    Choose = Callable[[Flags], int | None]

SPLITS = 200
TRAININGS = 5
DELTA = 0.1
USED = DELTA / 4
METHODS: tuple[tuple[str, Test, float], ...] = (
    ("calibrate (betting at delta / 4)", "betting", USED),
    ("betting at delta / 8", "betting", DELTA / 8),
    ("betting at delta", "betting", DELTA),
    ("hoeffding-bentkus", "hoeffding_bentkus", DELTA),
    ("hoeffding", "hoeffding", DELTA),
)
SETTINGS = {"mmlu": (1500, 0.05, 0.15), "gsm8k": (250, 0.12, 0.15), "zeroeval": (600, 0.05, 0.2)}
MOST_EXCEEDED = 0.05
ON_HALF, ON_ALL = "violations on test half", "violations against all held-out rows"
SHARE, CERTIFIED = "mean share of strong calls", "certified"


def judged(
    groups: Ints,
    choices: Mapping[str, Choose],
    risk_on: Callable[[int, Flags], float],
    epsilon: float,
    strong: Floats,
) -> dict[str, Any]:
    """By method: how often what was certified on one half breaks the bound on the other, or on all rows."""
    seen: dict[str, list[tuple[bool, bool, float, bool]]] = {}
    rng = np.random.default_rng(1)
    everything = np.ones(len(groups), np.bool_)
    for _ in range(SPLITS // TRAININGS):
        calibration = (rng.permutation(groups.max() + 1) < groups.max() / 2)[groups]
        for method, choose in choices.items():
            index = choose(calibration)
            broken = index is not None and risk_on(index, ~calibration) > epsilon
            truly = index is not None and risk_on(index, everything) > epsilon
            share = 1.0 if index is None else float(strong[index])
            seen.setdefault(method, []).append((broken, truly, share, index is not None))
    return {
        method: {
            ON_HALF: sum(each[0] for each in found),
            ON_ALL: sum(each[1] for each in found),
            SHARE: float(np.mean([each[2] for each in found])),
            CERTIFIED: sum(each[3] for each in found),
        }
        for method, found in seen.items()
    }


def together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What :func:`judged` found in each training, by method; what is not of a method is of the last."""
    found = dict(parts[-1])
    for name, last in parts[-1].items():
        if not isinstance(last, dict):
            continue
        each = [part[name] for part in parts]
        if SHARE not in last:
            found[name] = together(each)
            continue
        half, everywhere = (sum(part[key] for part in each) for key in (ON_HALF, ON_ALL))
        shares = [part[SHARE] for part in each]
        found[name] = {
            ON_HALF: half,
            ON_ALL: everywhere,
            "p(violations > delta), binomial, test half": _p(half),
            "p(violations > delta), binomial, all held-out rows": _p(everywhere),
            SHARE: round(float(np.mean(shares)), 4),
            "shares by training": [round(share, 4) for share in shares],
            CERTIFIED: sum(part[CERTIFIED] for part in each),
        }
    return found


def _p(violations: int) -> float:
    return round(float(binomtest(violations, SPLITS, DELTA, alternative="greater").pvalue), 4)


def certified(
    risk: Risk,
    losses: Floats,
    groups: Ints,
    epsilon: float,
    level: float,
    *,
    among: Flags | None = None,
    test: Test | Literal["auto"] = "auto",
    binary: bool = False,
) -> Choose:
    """What :func:`certify` chooses on some of the rows, at this level."""
    return lambda part: (
        certify(
            losses[part],
            epsilon=epsilon,
            delta=level,
            bounds=RISK_BOUNDS[risk],
            group=groups[part],
            among=None if among is None else among[part],
            test=test,
            binary=binary,
        ).index
    )


def quality_lost(held_out: Outcomes, groups: Ints, decisions: Ints, best: int, epsilon: float) -> dict[str, Any]:
    """Mean quality lost, by every test."""
    losses = policy_losses(held_out.quality, decisions, best, risk="mean")
    seen = np.where(np.isnan(losses), 1.0, losses)

    choices: dict[str, Choose] = {
        method: certified("mean", losses, groups, epsilon, level, test=test) for method, test, level in METHODS
    }
    choices["naive"] = lambda part: naive_threshold(seen[part], epsilon=epsilon)
    return judged(
        groups,
        choices,
        lambda index, part: float(seen[part, index].mean()),
        epsilon,
        (decisions == best).mean(axis=0),
    )


def failures_routed(
    held_out: Outcomes, groups: Ints, decisions: Ints, best: int, epsilon: float
) -> dict[str, Any]:
    """Failure rate among the requests not sent to the reference."""
    losses = policy_losses(held_out.quality, decisions, best, risk="routed")
    among = decisions != best
    failed = np.where(np.isnan(losses), 1.0, losses) * among

    def risk_on(index: int, part: Flags) -> float:
        return float(failed[part, index].sum() / max(1, among[part, index].sum()))

    def naive(part: Flags) -> int | None:
        within = [
            each for each in range(among.shape[1]) if among[part, each].any() and risk_on(each, part) <= epsilon
        ]
        return within[-1] if within else None

    calibrated = certified("routed", losses, groups, epsilon, USED, among=among, binary=True)
    choices: dict[str, Choose] = {"calibrate --risk routed": calibrated, "naive": naive}
    return judged(groups, choices, risk_on, epsilon, 1 - among.mean(axis=0))


def over_budget(held_out: Outcomes, groups: Ints, decisions: Ints, best: int) -> dict[str, Any]:
    """Share of requests over a budget that always calling the reference would exceed for every fourth."""
    assert held_out.cost is not None
    budget = float(np.nanquantile(held_out.cost[:, best], 0.75))
    walked = decisions[:, ::-1]
    losses, _ = budget_losses(held_out.cost, walked, budget)
    seen = np.where(np.isnan(losses), 1.0, losses)

    choices: dict[str, Choose] = {
        "calibrate --budget": certified("cost", losses, groups, MOST_EXCEEDED, USED, binary=True),
        "naive": lambda part: naive_threshold(seen[part], epsilon=MOST_EXCEEDED),
    }
    strong = (walked == best).mean(axis=0)
    found = judged(groups, choices, lambda index, part: float(seen[part, index].mean()), MOST_EXCEEDED, strong)
    return {"budget, USD a request": budget, **found}


def one_training(
    outcomes: Outcomes, training_rows: int, epsilon: float, routed: float, seed: int
) -> dict[str, Any]:
    """All risks, judged on the rows that this training left."""
    train, rest = draw(outcomes, training_rows, seed)
    fitted = fit(outcomes.rows(train))
    router = Router(fitted.artifact)
    held_out = outcomes.rows(rest)
    assert held_out.features is not None
    expected = expected_of(router.header, router.route_features(held_out.features))
    best = router.header["best_constant"]
    path = policies_of(router.header)
    decisions = np.stack([policy.decide(expected.quality, expected.cost) for policy in path], axis=1)
    groups = np.unique(held_out.group, return_inverse=True)[1]
    entry: dict[str, Any] = {
        "epsilon": epsilon,
        "delta": DELTA,
        "level of the test": USED,
        "splits": SPLITS,
        "trainings": TRAININGS,
        "calibration rows": int(len(rest) / 2),
        **quality_lost(held_out, groups, decisions, best, epsilon),
        "failures among routed requests": {
            "epsilon": routed,
            **failures_routed(held_out, groups, decisions, best, routed),
        },
    }
    if held_out.cost is not None:
        entry["requests over budget"] = {
            "epsilon": MOST_EXCEEDED,
            **over_budget(held_out, groups, decisions, best),
        }
    return entry


def main() -> None:
    """Three tables, δ = .1."""
    figures: dict[str, object] = {}
    for name, (training_rows, epsilon, routed) in SETTINGS.items():
        outcomes = table(name)
        if outcomes is None:
            return
        figures[name] = together(
            [one_training(outcomes, training_rows, epsilon, routed, seed) for seed in range(TRAININGS)]
        )
    write(
        "guarantee",
        figures,
        "Learn-then-Test on random splits of real rows; share of strong calls: lower is cheaper.",
    )


if __name__ == "__main__":
    main()
