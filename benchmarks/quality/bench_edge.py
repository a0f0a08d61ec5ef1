"""The shipped artifact without encoder beside the default one and beside constants, on rows neither has seen.

Both are trained and calibrated on the same rows, so that every difference is paired: rows of a tenth of the groups
held out from both, and the tables zeroeval and shaberi, which no shipped artifact has seen. Also how often each
calls strong at the threshold it ships with, and what that gives.
"""

from __future__ import annotations

import gzip
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))
from common import SHARED, write
from default_artifact import SEED, categories, first_tasks, gain
from tables import KINDS, by_role, joined, ranked_roles
from tiny_dancer import FeatureTable, Outcomes, Router, _core
from tiny_dancer.evaluation.bootstrap import paired_bootstrap
from tiny_dancer.evaluation.metrics import PairScorer
from tiny_dancer.evaluation.overlap import training_rows
from tiny_dancer.evaluation.split import grouped_folds

SMALLEST_GAP = 0.05
"""Below this mean gain of strong over weak, a share of it is noise."""


def ordering(routers: dict[str, Router], outcomes: Outcomes) -> dict[str, object]:
    """APGR of each router and of prompt length, and the paired difference of the two routers."""
    assert outcomes.features is not None
    weak, strong = outcomes.quality.T
    found: dict[str, object] = {"rows": len(outcomes), "gap": round(float((strong - weak).mean()), 4)}
    if (strong - weak).mean() < SMALLEST_GAP:
        return found
    scorers = {name: PairScorer(gain(router, outcomes), weak, strong) for name, router in routers.items()}
    scorers["length"] = PairScorer(outcomes.features.tokens.astype(np.float64), weak, strong)
    boot = paired_bootstrap(
        lambda weights: np.stack([each.figures(weights).apgr_binned for each in scorers.values()], axis=1),
        len(outcomes),
        group=outcomes.group,
        seed=SEED,
    )
    names = list(scorers)
    intervals = {name: boot.interval(place) for place, name in enumerate(names)}
    intervals["edge minus default"] = boot.interval(names.index("edge"), minus=names.index("default"))
    for name, each in intervals.items():
        ends = (each.estimate, each.low, each.high)
        # Of few rows some resamples have no gap.
        found[name] = [round(float(x), 4) for x in ends] if np.isfinite(ends).all() else "not determined"
    return found


def in_force(routers: dict[str, Router], outcomes: Outcomes) -> dict[str, object]:
    """Share of strong calls and mean quality at the threshold each ships with, beside the constants."""
    assert outcomes.features is not None
    rows = np.arange(len(outcomes))
    choices = {name: router.route_features(outcomes.features).choice for name, router in routers.items()}
    columns = {name: outcomes.quality[rows, choice] for name, choice in choices.items()}
    # A mix drawn by a coin with as many strong calls as the router makes: what its order of requests is worth.
    for name, choice in choices.items():
        share = float((choice == 1).mean())
        columns[f"coin as often as {name}"] = outcomes.quality @ np.array([1 - share, share])
    columns |= {"always weak": outcomes.quality[:, 0], "always strong": outcomes.quality[:, 1]}
    values = np.stack(list(columns.values()), axis=1)

    def means(weights: np.ndarray) -> np.ndarray:
        return np.asarray(weights @ values / weights.sum(1, keepdims=True))

    boot = paired_bootstrap(means, len(outcomes), group=outcomes.group, seed=SEED)

    def words(place: int, minus: int | None = None) -> list[float]:
        each = boot.interval(place, minus=minus)
        return [round(float(x), 4) for x in (each.estimate, each.low, each.high)]

    names = list(columns)
    found: dict[str, object] = {name: words(place) for place, name in enumerate(names)}
    for name in routers:
        found[f"{name} minus its coin"] = words(names.index(name), names.index(f"coin as often as {name}"))
    found["edge minus default"] = words(names.index("edge"), names.index("default"))
    found["strong calls"] = {name: round(float((each == 1).mean()), 4) for name, each in choices.items()}
    found["same choice"] = round(float((choices["edge"] == choices["default"]).mean()), 4)
    return found


def unlike(router: Router, features: FeatureTable) -> float:
    """Share of requests that it takes for unlike those of its certificate."""
    level = router.header["likeness"]["level"]
    return round(float((router.route_features(features).likeness <= level).mean()), 4)


def loading(name: str) -> dict[str, object]:
    """Bytes, and what loading takes in this process, encoder included where there is one."""
    data = _core.data_file(f"{name}.safetensors")
    encoder = _core.data_file("encoder.safetensors") if name == "default" else b""
    taken = []
    for _ in range(21):
        start = time.perf_counter()
        _core.Router(data, _core.Encoder(encoder) if encoder else None)
        taken.append((time.perf_counter() - start) * 1e3)
    return {
        "bytes": len(data) + len(encoder),
        "bytes gzipped": len(gzip.compress(data + encoder, 9, mtime=0)),
        "load, ms": {"least": round(min(taken), 3), "median": round(float(np.median(taken)), 3)},
    }


def main() -> None:
    """Everything on rows held out."""
    if not SHARED.exists():
        print(f"skipped: {SHARED} is absent (set TINY_DANCER_SHARED)")
        return
    routers = {name: Router.load(name) for name in ("default", "edge")}
    tables = by_role()
    everything = joined(list(tables.values()))
    table = np.repeat(list(tables), [len(each) for each in tables.values()])
    kept = first_tasks(everything)
    everything, table = everything.rows(kept), table[kept]
    assert everything.features is not None
    # The split of the recipes; the default artifact remembers most of its rows, and both have the same.
    seen = training_rows(routers["default"].header, everything.features).rows
    judged = (grouped_folds(everything.group, 10, SEED) == 0) & ~seen
    held = everything.rows(np.flatnonzero(judged))
    assert held.features is not None
    order = {"all tables": ordering(routers, held)}
    for kind, names in KINDS.items():
        order[kind] = ordering(routers, everything.rows(np.flatnonzero(judged & np.isin(table, names))))
    unseen = {name: ranked_roles(name) for name in ("zeroeval", "shaberi")}
    order |= {name: ordering(routers, whole) for name, whole in unseen.items()}
    write(
        "edge",
        {
            "APGR": order,
            "policy in force": {"all tables": in_force(routers, held)}
            | {name: in_force(routers, whole) for name, whole in unseen.items()},
            "taken for unlike the certificate's rows": {
                "held out": {name: unlike(router, held.features) for name, router in routers.items()},
                "prompts of other kinds": {
                    kind: {name: unlike(router, features) for name, router in routers.items()}
                    for kind, features in categories().items()
                },
            },
            "loading": {name: loading(name) for name in routers},
        },
        "[estimate, low, high] at 95 %, groups resampled; APGR: .5 is random. A coin calls strong as often, "
        "whatever the request.",
    )


if __name__ == "__main__":
    main()
