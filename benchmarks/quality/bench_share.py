"""A share asked for, and the share given: by a dial turned on 200 prompts, and by a window that follows drift.

    python benchmarks/quality/bench_share.py

The shipped artifact, on prompts of six tables, without their outcomes.
A dial is turned on 200 prompts of a table and judged on its others (30 draws), and on the other tables' prompts. A
window of 500 runs over one table and then another: 1,500 requests of each, drawn with repetition. Beside it stands
the dial turned on the first table, which drift leaves behind.
"""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer import Router
from tiny_dancer.routing.share import WINDOW, ShareWindow
from tiny_dancer.training.api import read_outcomes

TABLES = ("mmlu", "gsm8k", "llmrouter", "bfcl", "zeroeval", "shaberi")
SHARES = (0.1, 0.3, 0.5)
PROMPTS, DRAWS, REQUESTS = 200, 30, 1500


def gains(router: Router) -> dict[str, np.ndarray]:
    """Expected quality of strong less weak for the prompts of each table."""
    found = {}
    for name in TABLES:
        features = read_outcomes(SHARED / f"{name}.parquet", require_quality=False).features
        assert features is not None
        scores = router.route_features(features).scores.astype(np.float64)
        found[name] = scores[:, 1] - scores[:, 0]
    return found


def followed(stream: np.ndarray, share: float, expected: list[float]) -> np.ndarray:
    """Whether a window that follows gives each request of a stream to strong."""
    window = ShareWindow(share, WINDOW, expected)
    chosen = np.zeros(len(stream), bool)
    for place, gain in enumerate(stream):
        chosen[place] = gain >= window.threshold()
        window.saw(float(gain), bool(chosen[place]))
    return chosen


def summary(errors: list[float]) -> dict[str, float]:
    """Of shares given less shares asked for."""
    size = np.abs(errors)
    return {
        "mean absolute error": round(float(size.mean()), 4),
        "worst": round(float(size.max()), 4),
        "share within .05": round(float((size <= 0.05).mean()), 4),
        "streams": len(errors),
    }


def main() -> None:
    """Dial and window on all tables."""
    if not (SHARED / "mmlu.parquet").exists():
        print("skipped: the tables are absent (set TINY_DANCER_SHARED)")
        return
    router = Router.load()
    by_table = gains(router)
    level: float = router.header["policy"]["threshold"]
    generator = np.random.default_rng(0)
    like, unlike, first, during, after, fixed = ([] for _ in range(6))
    for share in SHARES:
        for own in by_table.values():
            for _ in range(DRAWS):
                order = generator.permutation(len(own))
                threshold = np.quantile(own[order[:PROMPTS]], 1 - share)
                like.append(float((own[order[PROMPTS:]] >= threshold).mean()) - share)
        for one, other in permutations(by_table, 2):
            threshold = np.quantile(generator.choice(by_table[one], PROMPTS), 1 - share)
            stream = np.concatenate([generator.choice(by_table[each], REQUESTS) for each in (one, other)])
            unlike.append(float((by_table[other] >= threshold).mean()) - share)
            chosen = followed(stream, share, router.header["policy_path"])
            first.append(float(chosen[:PROMPTS].mean()) - share)
            during.append(float(chosen[REQUESTS : REQUESTS + WINDOW].mean()) - share)
            after.append(float(chosen[REQUESTS + WINDOW :].mean()) - share)
            fixed.append(float((stream[REQUESTS + WINDOW :] >= threshold).mean()) - share)
    figures = {
        "shares asked for": list(SHARES),
        "share the default threshold gives": {
            name: round(float((each >= level).mean()), 4) for name, each in by_table.items()
        },
        "dial on 200 prompts, other prompts of that table": summary(like),
        "dial on 200 prompts, prompts of another table": summary(unlike),
        "window, first 200 requests": summary(first),
        "window, the 500 requests after a change of table": summary(during),
        "window, from then on": summary(after),
        "fixed threshold, from then on": summary(fixed),
    }
    for name, value in figures.items():
        print(name, value)
    write("share", figures, "Shares given less shares asked for; the shipped artifact, prompts of six tables.")


if __name__ == "__main__":
    main()
