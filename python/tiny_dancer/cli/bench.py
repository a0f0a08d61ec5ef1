"""`tiny-dancer bench`."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import print_json, say
from tiny_dancer.routing import Router

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """Measure decisions on this machine, as multiples of a yardstick: numpy's (100, 384) @ (384,) in float32.

Example: tiny-dancer bench --json"""

SHORT = (
    "A baker fills 12 trays with 18 rolls each and sells every roll for 40 cents. "
    "How much does she earn if 9 rolls are left over?"
)
LONG = " ".join([SHORT, "Then explain each step, and check the result with a second method."] * 5)


def bench(
    artifact: Annotated[str, typer.Option(help="Path of an artifact, or `default` or `edge`.")] = "default",
    json: Json = False,
) -> None:
    figures = measure(Router.load(artifact))
    if json:
        print_json(figures)
        return
    yardstick = figures["yardstick_us"]
    say(f"yardstick: {yardstick:.2f} µs")
    for name in ("route_30_tokens", "route_200_tokens"):
        line = f"{name}: {figures[f'{name}_us']:.1f} µs = {figures[f'{name}_ratio']:.1f} × yardstick"
        say(line)
    say(f"route_batch: {figures['batch_per_second']:,.0f} prompts/s")


def measure(router: Router) -> dict[str, float]:
    """Medians over interleaved rounds, so that a slow moment of the machine hits both sides of each ratio."""
    matrix = np.random.default_rng(0).random((100, 384), np.float32)
    vector = matrix[0].copy()
    batch = [f"{SHORT} {i}" for i in range(20_000)]
    rounds: dict[str, list[float]] = {"yardstick": [], "route_30_tokens": [], "route_200_tokens": [], "batch": []}
    for _ in range(15):
        rounds["yardstick"].append(_per_call(lambda: matrix @ vector, 2000))
        rounds["route_30_tokens"].append(_per_call(lambda: router.route(SHORT), 500))
        rounds["route_200_tokens"].append(_per_call(lambda: router.route(LONG), 100))
    for _ in range(3):
        rounds["batch"].append(_per_call(lambda: router.route_batch(batch), 1))
    figures: dict[str, float] = {"yardstick_us": median(rounds["yardstick"])}
    for name in ("route_30_tokens", "route_200_tokens"):
        figures[f"{name}_us"] = median(rounds[name])
        ratios = [own / other for own, other in zip(rounds[name], rounds["yardstick"], strict=True)]
        figures[f"{name}_ratio"] = median(ratios)
    figures["batch_per_second"] = len(batch) / median(rounds["batch"]) * 1e6
    return figures


def _per_call(work: Callable[[], object], calls: int) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls * 1e6
