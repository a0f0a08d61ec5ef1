"""What every benchmark shares: the machine, the results file, the real tables, one-sided splits."""

from __future__ import annotations

import json
import os
import platform
import random
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import Outcomes, __version__

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
SHARED = Path(os.environ.get("TINY_DANCER_SHARED", Path(__file__).parents[2] / "shared")) / "data"
PAIR = ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")


# What figures stand beside, or rest on; those that are installed are named with their versions.
PEERS = (
    "numpy",
    "scikit-learn",
    "scipy",
    "jax",
    "sqlite-vec",
    "bm25s",
    "apsw",
    "httptools",
    "pyreqwest",
    "uvicorn",
    "uvloop",
)


def machine() -> dict[str, Any]:
    """Processor, cores and versions: figures mean nothing without them."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tiny_dancer": __version__,
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of the peers that are installed here."""
    installed = {each.name.lower(): each.version for each in metadata.distributions()}
    return {name: installed[name] for name in PEERS if name in installed}


def origin() -> dict[str, str]:
    """When, of which commit and by which command figures are being measured."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    script = Path(sys.argv[0]).resolve()
    command = [
        "python",
        str(script.relative_to(ROOT)) if script.is_relative_to(ROOT) else script.name,
        *sys.argv[1:],
    ]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short=10", "HEAD") + (" with changes" if changed else ""),
        "command": shlex.join(command),
    }


def write(name: str, figures: dict[str, Any], note: str, peers: dict[str, str] | None = None) -> None:
    """Writes ``results/<name>.json`` and prints it.

    Args:
        name: of the file.
        figures: what was measured, with intervals where they are means of repetitions.
        note: what it is, and the targets.
        peers: versions of what is compared and is not installed in this environment.
    """
    RESULTS.mkdir(exist_ok=True)
    content = {
        "note": note,
        "origin": origin(),
        "machine": machine(),
        "versions": versions() | (peers or {}),
        **figures,
    }
    text = json.dumps(content, indent=2, sort_keys=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text)
    print(text, end="")


def table(name: str) -> Outcomes | None:
    """A real table, featurised and grouped, or None (said so) where ../shared is absent."""
    from dataclasses import replace

    from tiny_dancer import read_outcomes
    from tiny_dancer.evaluation.groups import assign_groups

    path = SHARED / f"{name}.parquet"
    if not path.exists():
        print(f"skipped: {path} is absent (set TINY_DANCER_SHARED)")
        return None
    outcomes = read_outcomes(path)
    assert outcomes.features is not None
    return replace(outcomes, group=assign_groups(outcomes.features, outcomes.group))


def draw(outcomes: Outcomes, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` random rows in whole groups to train on, and the rest."""
    order = np.random.default_rng(seed).permutation(int(outcomes.group.max()) + 1)[outcomes.group]
    by_group = np.argsort(order, kind="stable")
    return by_group[:rows], by_group[rows:]


def mean_with_interval(values: list[float]) -> list[float]:
    """Mean with its 95 % interval over repetitions (normal; overlapping draws make it somewhat narrow)."""
    array = np.array(values)
    half = 1.96 * array.std(ddof=1) / np.sqrt(len(array))
    return [round(float(x), 4) for x in (array.mean(), array.mean() - half, array.mean() + half)]


def together(actions: dict[str, Callable[[int], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """(least, median) microseconds of each, taken in turn, each time in another order: what else the machine does,
    and what the one before left in its caches, meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    chance = random.Random(0)
    for turn in range(rounds + 2):
        for name, action in chance.sample(sorted(actions.items()), len(actions)):
            start = time.perf_counter()
            action(turn)
            times[name].append((time.perf_counter() - start) * 1e6)
    return {name: (min(taken[2:]), float(np.median(taken[2:]))) for name, taken in times.items()}
