"""Every binding beside the engine called from Rust, in one run: what a door adds to a decision.

    python benchmarks/micro/bench_doors.py             all of benchmarks/micro/doors
    python benchmarks/micro/bench_doors.py c node      these

The engine is measured before and after each door, and the ratio is to the mean of both, so that a machine that
becomes slower or faster meanwhile does not count against a door; how far the two lie apart is said beside it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from doors import Given, prepared, printed  # noqa: E402

from common import ROOT, write  # noqa: E402

DATA = ROOT / "python" / "tiny_dancer" / "data"
# Many and short: on a busy machine a long one is never undisturbed.
ROUNDS = 400


class Engine:
    """The engine, called from Rust."""

    def __init__(self, given: Given) -> None:
        """Builds it, in release."""
        example = ("--package", "tiny-dancer-ffi", "--example", "engine_speed", "--message-format", "json")
        built = printed("cargo", "build", "--quiet", "--locked", "--release", *example)
        programs = [json.loads(line).get("executable") for line in built.splitlines()]
        self.program = next(filter(None, programs))
        self.routers = (given.artifact, given.encoder), (given.edge, "")
        self.files = (given.requests, given.vectors)

    def measure(self) -> dict[str, float]:
        """Microseconds a decision and a ranking, and a decision by the router that needs no encoder."""
        whole, edge = (
            json.loads(printed(self.program, *map(str, (*router, *self.files)), str(ROUNDS)))
            for router in self.routers
        )
        return {**whole, "edge_us": edge["decide_us"]}


def main() -> None:
    """Prints and writes the figures."""
    names = sys.argv[1:] or sorted(path.stem for path in (HERE / "doors").glob("[a-z]*.py"))
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        measured = prepared(DATA, Path(folder), ROUNDS)
        engine = Engine(measured)
        for name in names:
            door = importlib.import_module(f"doors.{name}")
            before = engine.measure()
            try:
                found = door.measure(measured)
            except subprocess.CalledProcessError as error:
                found = f"failed: {error}"
            if isinstance(found, str):
                figures[door.LABEL] = {"not measured": found}
                continue
            after = engine.measure()
            figures[door.LABEL] = {
                "decision": beside(found.decide_us, before["decide_us"], after["decide_us"]),
                "100 x 384 candidates": None
                if found.rank_us is None
                else beside(found.rank_us, before["rank_us"], after["rank_us"]),
                "decision without encoder": None
                if found.edge_us is None
                else beside(found.edge_us, before["edge_us"], after["edge_us"]),
                "what": found.note,
                **found.extra,
            }
            print(door.LABEL, json.dumps(figures[door.LABEL]), file=sys.stderr)
    note = (
        "Each binding beside the engine called from Rust, best of rounds, one thread. Wanted, of the engine: "
        "C at most 1.1, Node 1.5, WebAssembly 1.7, PostgreSQL 1.2 times; there two processes 1.6 times as fast as "
        "one, and a first call in 10 ms, with an encoder in 50."
    )
    write("doors", figures, note)


def beside(door: float, before: float, after: float) -> dict[str, float]:
    """A door's time, the engine's, and their ratio."""
    engine = (before + after) / 2
    return {
        "door, us": round(door, 2),
        "engine, us": round(engine, 2),
        "ratio": round(door / engine, 3),
        "engine's two runs apart, %": round(abs(before - after) / engine * 100, 1),
    }


if __name__ == "__main__":
    main()
