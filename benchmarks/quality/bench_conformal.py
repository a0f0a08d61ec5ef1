"""Do conformal sets cover on real tables? Random splits into calibration and test, at 80, 90 and 95 %.

Given the pool, a random split makes the number of covered test rows beta-binomial (m; k, n + 1 - k) with
k = ceil((n + 1)(1 - alpha)) where scores have no ties (Vovk 2012): the mean coverage over the splits is compared
with that law's mean, k / (n + 1), and its 95 % range over as many splits. Ties make coverage higher, never lower.
Models are quick ones, fitted on other rows: coverage must not depend on them, set sizes do. Candidates are in
``bench_conformal_candidates.py``.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import pyarrow.parquet as pq
from scipy.stats import betabinom
from sklearn.linear_model import LogisticRegression, Ridge

from common import SHARED, table, write
from tiny_dancer import (
    AdaptiveConformal,
    ConformalRelevance,
    SplitConformalClassifier,
    SplitConformalRegressor,
    _core,
    conformal_quantile,
)

SPLITS = 200
ALPHAS = (0.2, 0.1, 0.05)
Figures = dict[str, object]
Split = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], tuple[float, float]]


def r(value: float, digits: int = 4) -> float:
    """Rounded for the results file."""
    return round(float(value), digits)


def coverage(rows: int, run: Split, size: str, share: float = 0.5) -> Figures:
    """Mean coverage and set size over the splits, beside what theory expects of the coverage."""
    found: Figures = {"rows": rows, "splits": SPLITS}
    for alpha in ALPHAS:
        covered, sizes = [], []
        for seed in range(SPLITS):
            generator = np.random.default_rng(seed)
            order = generator.permutation(rows)
            n = int(rows * share)
            hit, mean_size = run(order[:n], order[n:], alpha, generator)
            covered.append(hit)
            sizes.append(mean_size)
        m = rows - n
        k = math.ceil(round((n + 1) * (1 - alpha), 9))
        law = betabinom(m, k, n + 1 - k)
        half = 1.96 * law.std() / m / math.sqrt(SPLITS)
        low, high = law.ppf([0.025, 0.975]) / m
        found[f"{1 - alpha:.0%}"] = {
            "mean coverage": r(np.mean(covered)),
            "expected without ties": r(k / (n + 1)),
            "95 % range of the mean": [r(k / (n + 1) - half), r(k / (n + 1) + half)],
            "share of splits in the law's central 95 %": r(np.mean([low <= each <= high for each in covered]), 3),
            size: r(np.mean(sizes), 3),
        }
    return found


def labels(name: str, train: str, held_out: str | None, fitted: int) -> Figures | None:
    """LAC and APS over a linear model on the static embedding."""
    if not (SHARED / f"{train}.parquet").exists():
        print(f"skipped: {train} is absent (set TINY_DANCER_SHARED)")
        return None
    rows = pq.read_table(SHARED / f"{train}.parquet").to_pylist()
    order = np.random.default_rng(0).permutation(len(rows))
    fit_rows = [rows[index] for index in order[:fitted]]
    other = [rows[index] for index in order[fitted:]]
    if held_out:
        other = pq.read_table(SHARED / f"{held_out}.parquet").to_pylist()
    x, y = _core.encode([row["text"] for row in fit_rows]), [row["intent"] for row in fit_rows]
    model = LogisticRegression(C=30.0, max_iter=150, tol=1e-3).fit(x, y)
    probabilities = model.predict_proba(_core.encode([row["text"] for row in other])).astype(np.float32)
    column = {label: index for index, label in enumerate(model.classes_)}
    known = np.array([row["intent"] in column for row in other])  # clinc150's out-of-scope requests have no label
    other, probabilities = [row for row in other if row["intent"] in column], probabilities[known]
    truth = np.array([column[row["intent"]] for row in other])
    accuracy = float((probabilities.argmax(1) == truth).mean())
    found: Figures = {"labels": len(column), "fitted on rows": fitted, "accuracy": r(accuracy)}

    def by(method: str, draw: str) -> Split:
        def run(
            calibration: np.ndarray, test: np.ndarray, alpha: float, generator: np.random.Generator
        ) -> tuple[float, float]:
            uniform = {"random": generator.random(len(truth)), "1": np.ones(len(truth)), "0": None}[draw]
            part = lambda index: None if uniform is None else uniform[index]  # noqa: E731
            fitted = SplitConformalClassifier.conformalize(
                probabilities[calibration],
                truth[calibration],
                alpha=alpha,
                method=method,
                uniform=part(calibration),
            )
            inside = fitted.predict_set(probabilities[test], uniform=part(test))
            return float(inside[np.arange(len(test)), truth[test]].mean()), float(inside.sum(1).mean())

        return run

    variants = {"lac": ("lac", "0"), "aps": ("aps", "0"), "aps randomised": ("aps", "random"),
                "aps counting the label itself (U = 1)": ("aps", "1")}  # fmt: skip
    for variant, (method, draw) in variants.items():
        found[variant] = coverage(len(truth), by(method, draw), "mean set size")
    print(name, "done", flush=True)
    return found


def forecasts(
    name: str, target: Callable[..., np.ndarray], fitted: int
) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """Ridge on cues and embedding: forecasts and truth of rows not fitted on, and their tasks."""
    outcomes = table(name)
    if outcomes is None:
        return None
    assert outcomes.features is not None
    y = target(outcomes)
    x = np.hstack([outcomes.features.cues, outcomes.features.embedding / 127.0])
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    order = np.random.default_rng(0).permutation(len(y))
    inside, outside = order[:fitted], order[fitted:]
    forecast = Ridge(alpha=300.0).fit(x[inside], y[inside]).predict(x[outside])
    return forecast, y[outside], [str(outcomes.task[index]) for index in outside]


def intervals(forecast: np.ndarray, truth: np.ndarray) -> Figures:
    """Absolute residuals."""

    def run(
        calibration: np.ndarray, test: np.ndarray, alpha: float, generator: np.random.Generator
    ) -> tuple[float, float]:
        del generator
        fitted = SplitConformalRegressor.conformalize(forecast[calibration], truth[calibration], alpha=alpha)
        ends = fitted.predict_interval(forecast[test])
        hit = (ends[:, 0] <= truth[test]) & (truth[test] <= ends[:, 1])
        return float(hit.mean()), float((ends[:, 1] - ends[:, 0]).mean())

    return coverage(len(truth), run, "mean width")


def by_group(forecast: np.ndarray, truth: np.ndarray, tasks: list[str], alpha: float = 0.1) -> Figures:
    """Coverage in each task with one threshold for all, and with one each."""
    names = np.array(tasks)
    covered: dict[str, dict[str, list[float]]] = {}
    widths: dict[str, list[float]] = {}
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(truth))
        calibration, test = order[: len(order) // 2], order[len(order) // 2 :]
        for kind in ("pooled", "by group"):
            group = None if kind == "pooled" else names[calibration].tolist()
            fitted = SplitConformalRegressor.conformalize(
                forecast[calibration], truth[calibration], alpha=alpha, group=group
            )
            ends = fitted.predict_interval(forecast[test], group=names[test].tolist())
            hit = (ends[:, 0] <= truth[test]) & (truth[test] <= ends[:, 1])
            widths.setdefault(kind, []).append(float((ends[:, 1] - ends[:, 0]).mean()))
            for name in np.unique(names[test]):
                covered.setdefault(kind, {}).setdefault(name, []).append(float(hit[names[test] == name].mean()))
    found: Figures = {"asked": 1 - alpha, "groups": len(np.unique(names)), "splits": SPLITS}
    for kind, each in covered.items():
        means = {name: float(np.mean(values)) for name, values in sorted(each.items())}
        found[kind] = {
            "least covered group": r(min(means.values())),
            "most covered group": r(max(means.values())),
            "mean width": r(np.mean(widths[kind]), 3),
            "coverage": {name: r(value, 3) for name, value in means.items()},
        }
    return found


def drift(forecast: np.ndarray, truth: np.ndarray, tasks: list[str], alpha: float = 0.1) -> Figures:
    """Tasks one after another, in an order drawn at random, 20 times; the first 200 rows calibrate only."""
    scores, names = np.abs(truth - forecast), np.array(tasks)
    kinds: dict[str, tuple[float, bool]] = {
        "fixed threshold": (0.0, False),
        "last 500 scores": (0.0, True),
        "adaptive, gamma 0.005": (0.005, True),
        "adaptive, gamma 0.02": (0.02, True),
        "adaptive, gamma 0.05": (0.05, True),
    }
    seen: dict[str, list[tuple[float, float, float, float]]] = {}
    for seed in range(20):
        generator = np.random.default_rng(seed)
        rank = dict(zip(np.unique(names), generator.permutation(len(np.unique(names))), strict=True))
        stream = scores[np.lexsort([generator.random(len(names)), [rank[name] for name in names]])]
        for kind, (gamma, rolling) in kinds.items():
            state = AdaptiveConformal.start(alpha, gamma) if gamma else None
            missed, everything = [], 0
            for row in range(200, len(stream)):
                past = stream[max(0, row - 500) : row] if rolling else stream[:200]
                threshold = conformal_quantile(past, state.level if state else alpha)
                everything += threshold == np.inf
                covered = bool(stream[row] <= threshold)
                missed.append(not covered)
                state = state.after(covered) if state else None
            local = np.convolve(missed, np.ones(200) / 200, "valid")
            bound = (max(alpha, 1 - alpha) + gamma) / (len(missed) * gamma) if gamma else math.nan
            assert not gamma or abs(np.mean(missed) - alpha) <= bound
            seen.setdefault(kind, []).append((np.mean(missed), local.max(), everything / len(missed), bound))
    found: Figures = {"asked": alpha, "orders": 20, "rows": len(scores) - 200}
    for kind, values in seen.items():
        missed_share, worst, everything_share, bound = (np.array(column) for column in zip(*values, strict=True))
        found[kind] = {
            "misses, mean over orders": r(missed_share.mean()),
            "misses, worst order": r(missed_share.max()),
            "misses in the worst 200 rows, mean over orders": r(worst.mean()),
            "share of infinite intervals": r(everything_share.mean()),
        }
        if np.isfinite(bound).all():
            found[kind]["bound on |misses - asked|"] = r(bound.max())  # type: ignore[index]
    return found


def speed() -> Figures:
    """From Python, in multiples of numpy's (100, 384) @ (384,)."""
    generator = np.random.default_rng(0)
    matrix, vector = generator.normal(size=(100, 384)).astype("f"), generator.normal(size=384).astype("f")
    scores = generator.normal(size=20_000)
    fitted = ConformalRelevance.conformalize(scores, generator.random(20_000) < 0.1)
    raw = scores[:100].astype("<f8").tobytes()
    table_ = generator.dirichlet(np.ones(151), 1).astype(np.float32).tobytes()

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(200):
            start = time.perf_counter()
            for _ in range(50):
                work()
            times.append((time.perf_counter() - start) / 50)
        return float(np.median(times))

    yardstick = best(lambda: matrix @ vector)
    return {
        "yardstick, microseconds": r(yardstick * 1e6, 2),
        "p-values of 100 candidates, multiples": r(best(lambda: fitted.engine.p_values(raw)) / yardstick, 2),
        "APS scores of 151 labels, multiples": r(
            best(lambda: _core.conformal_label_scores("aps", table_, 151)) / yardstick, 2
        ),
    }


def main() -> None:
    """Every table."""
    figures: Figures = {"speed": speed()}
    for name, arguments in {
        "clinc150": ("clinc150_train", "clinc150_val", 15_000),
        "banking77": ("banking77_train", None, 6_000),
    }.items():
        figures[name] = labels(name, *arguments)
    latency = forecasts("bfcl", lambda o: o.latency[:, o.models.index("gpt-4-1106-preview")], 300)
    quality = forecasts("llmrouter", lambda o: np.nanmean(o.quality, axis=1), 1500)
    if latency and quality:
        figures["bfcl: latency of gpt-4-1106-preview, seconds"] = intervals(*latency[:2])
        figures["llmrouter: mean quality of nine models"] = intervals(*quality[:2])
        figures["llmrouter by task (Mondrian)"] = by_group(*quality)
        figures["llmrouter, one task after another (adaptive)"] = drift(*quality)
    if all(figures.values()):
        write(
            "conformal",
            figures,
            "Conformal sets over random splits of real tables; sizes depend on the models, which are quick ones.",
        )


if __name__ == "__main__":
    main()
