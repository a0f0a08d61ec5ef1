"""What always answering costs: breaker, chain, cache and recorder over a plain `Router.route`; reloads; the rules.

    python benchmarks/micro/bench_resilience.py

Times are medians over interleaved rounds, as multiples of the yardstick, numpy `(100, 384) @ (384,)`, of the same
run. The rules of level 2 are judged on the real tables where ../shared is there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import table, write
from tiny_dancer import Decision, Router, _core
from tiny_dancer.cli.bench import SHORT
from tiny_dancer.registry import ArtifactFile, Registry
from tiny_dancer.resilience import CircuitBreaker, hint
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 40
FRESH = [f"{SHORT} Order {number}." for number in range(2048)]


class Broken(Router):
    """Decides until it is told to fail."""

    down = False

    def route(self, *arguments: Any, **options: Any) -> Decision:
        if Broken.down:
            raise RuntimeError("broken")
        return super().route(*arguments, **options)


def per_call(function: Callable[[], object], calls: int) -> float:
    """Microseconds."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        function()
    return (time.perf_counter_ns() - start) / calls / 1000


def outage() -> ResilientRouter:
    """A router that has seen 1,024 requests, and fails from now on."""
    router = ResilientRouter(
        ArtifactFile(_core.data_path("default.safetensors")),
        load=Broken,
        breaker=CircuitBreaker(threshold=1, cooldown=3600, longest_cooldown=3600),
    )
    Broken.down = False
    for text in FRESH[:1024]:
        router.route(text)
    Broken.down = True
    return router


def speed() -> dict[str, Any]:
    matrix = np.random.default_rng(0).random((100, 384), np.float32)
    vector = matrix[0].copy()
    plain, resilient = Router.load(), ResilientRouter.load()
    kept: list[Decision] = []
    recording = ResilientRouter.load(recorder=lambda request, decision: kept.append(decision))
    breaker = CircuitBreaker()
    open_ = outage()
    open_.route("Describe a cat.")
    fresh = iter(FRESH * 1000)

    def guarded() -> None:
        token = breaker.admit()
        assert token is not None
        breaker.succeed(token)

    cases: dict[str, tuple[Callable[[], object], int]] = {
        "yardstick": (lambda: matrix @ vector, 2000),
        "breaker, closed": (guarded, 5000),
        "plain": (lambda: plain.route(next(fresh)), 500),
        "resilient": (lambda: resilient.route(next(fresh)), 500),
        "resilient with recorder": (lambda: recording.route(next(fresh)), 500),
        "level 1, same request": (lambda: open_.route(FRESH[0]), 50),
        "level 1, similar request": (lambda: open_.route(FRESH[0] + "!"), 50),
        "level 2": (lambda: open_.route("Describe a dog."), 50),
    }
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (function, calls) in cases.items():
            rounds[name].append(per_call(function, calls))
            kept.clear()
    recording.close()
    yardstick = rounds.pop("yardstick")
    overhead = [own - other for own, other in zip(rounds["resilient"], rounds["plain"], strict=True)]
    return {
        "yardstick_us": round(median(yardstick), 2),
        "ratios to the yardstick": {
            name: round(median(own / one for own, one in zip(times, yardstick, strict=True)), 2)
            for name, times in rounds.items()
        },
        "resilient over plain, ratio": round(
            median(own / one for own, one in zip(rounds["resilient"], rounds["plain"], strict=True)), 2
        ),
        "overhead of resilient over plain, ratio to the yardstick": round(
            median(own / one for own, one in zip(overhead, yardstick, strict=True)), 2
        ),
        "breaker_closed_us": round(median(rounds["breaker, closed"]), 3),
    }


def first_fallback_ms() -> float:
    """The first look-up of an outage computes the vectors of the 1,024 remembered requests."""
    routers = [outage() for _ in range(7)]
    return round(median(per_call(partial(each.route, "Describe a dog."), 1) for each in routers) / 1000, 2)


def registry_ms() -> dict[str, float]:
    """Changes (with fsync) and a reload, of the shipped artifact."""
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(folder, load=Router)
        source = _core.data_path("default.safetensors")
        add = [per_call(lambda: registry.add("a", source), 1) / 1000 for _ in range(20)]
        versions = [each.version for each in registry.versions("a")]
        promote, reload = [], []
        registry.promote("a", versions[0])
        router = ResilientRouter.from_registry(folder, "a")
        for version in versions[1:]:
            promote.append(per_call(partial(registry.promote, "a", version), 1) / 1000)
            reload.append(per_call(router.reload, 1) / 1000)
        times = {"add": add, "promote": promote, "reload": reload}
        return {name: round(median(values), 2) for name, values in times.items()}


def rules() -> dict[str, Any]:
    """Share of strong calls, and what they recover of the quality between two models beyond as many at random."""
    pairs = {
        "mmlu": [("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")],
        "gsm8k": [("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")],
        "llmrouter": [
            (weak, "llama-3.1-nemotron-51b-instruct")
            for weak in ("llama3-chatqa-1.5-8b", "codegemma-7b", "qwen2.5-7b-instruct")
        ],
    }
    figures: dict[str, Any] = {}
    for name, of in pairs.items():
        outcomes = table(name)
        if outcomes is None:
            continue
        assert outcomes.features is not None
        strong = np.array([hint(row).strong for row in outcomes.features.cues])
        for weak_name, strong_name in of:
            columns = [outcomes.models.index(each) for each in (weak_name, strong_name)]
            weak_quality, strong_quality = outcomes.quality[:, columns].T
            known = np.isfinite(weak_quality) & np.isfinite(strong_quality)
            weak_quality, strong_quality, called = weak_quality[known], strong_quality[known], strong[known]
            gap = strong_quality.mean() - weak_quality.mean()
            recovered = (np.where(called, strong_quality, weak_quality).mean() - weak_quality.mean()) / gap
            figures[f"{name}: {weak_name}"] = {
                "strong calls": round(float(called.mean()), 3),
                "recovered beyond random": round(float(recovered - called.mean()), 3),
            }
    return figures


def main() -> None:
    figures = {
        **speed(),
        "first look-up of an outage, ms": first_fallback_ms(),
        "registry_ms": registry_ms(),
        "rules of level 2": rules(),
    }
    write("resilience", figures, "Breaker and chain around a plain route; levels below; the registry; the rules.")


if __name__ == "__main__":
    main()
