"""How long selecting tools takes: 4,076 tools, text to the first five; adding and removing; and 10,000 tools.

    python benchmarks/micro/bench_tools.py

One call from Python at a time, single thread, texts of the table of requests, each best of several runs, as other
work on the machine only ever adds; then over the texts median and 90th percentile. bm25s beside it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bm25s
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer.routing.tools import ToolSelector
from tiny_dancer.training.tools.data import read_tool_queries, read_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXTS, RUNS = 200, 15


LENGTHS = (100, 200, 400, 800)


def microseconds(
    work: Callable[[str], object], texts: Sequence[str], *, by_length: bool = False
) -> dict[str, float]:
    """Best time of each text; over the texts median and 90th percentile, and medians by length in characters."""
    best = np.full(len(texts), np.inf)
    for _ in range(RUNS):
        for place, text in enumerate(texts):
            start = time.perf_counter()
            work(text)
            best[place] = min(best[place], time.perf_counter() - start)
    found = {
        "median": round(float(np.median(best)) * 1e6, 1),
        "p90": round(float(np.quantile(best, 0.9)) * 1e6, 1),
    }
    lengths = np.array([len(text) for text in texts])
    for low, high in zip((0, *LENGTHS), LENGTHS, strict=False):
        inside = (lengths >= low) & (lengths < high)
        if by_length and inside.any():
            found[f"{low} to {high} characters"] = round(float(np.median(best[inside])) * 1e6, 1)
    return found


def main() -> None:
    """Prints and writes the figures."""
    tools = read_tools(SHARED / "tools_seal.parquet")
    texts = read_tool_queries(SHARED / "tools_seal_queries.parquet").texts[:: 700 // TEXTS][:TEXTS]
    start = time.perf_counter()
    selector = tools.selector()
    made = time.perf_counter() - start
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(tools.schemas), show_progress=False), show_progress=False)
    engine = selector._engine  # what a binding costs beside it is Python's, and is measured by `select`
    result: dict[str, Any] = {
        "tools": len(tools),
        "characters of a text, median": float(np.median([len(text) for text in texts])),
        "text to five, engine, us": microseconds(
            lambda text: engine.select_texts([text], 5), texts, by_length=True
        ),
        "text to five, selector, us": microseconds(lambda text: selector.select(text, 5), texts),
        "bm25s, us": microseconds(
            lambda text: index.retrieve(bm25s.tokenize(text, show_progress=False), k=5, show_progress=False), texts
        ),
        "making the selector, ms a tool": round(1e3 * made / len(tools), 3),
    }
    spare = [{"name": f"spare_{number}", "description": texts[number]} for number in range(100)]
    start = time.perf_counter()
    for tool in spare:
        selector.add([tool])
    result["adding one, us"] = round((time.perf_counter() - start) / len(spare) * 1e6, 1)
    start = time.perf_counter()
    for tool in spare:
        selector.remove([tool["name"]])
    result["removing one, us"] = round((time.perf_counter() - start) / len(spare) * 1e6, 1)
    many = ToolSelector()
    for copy in range(3):
        kept = slice(None) if copy < 2 else slice(10_000 - 2 * len(tools))
        many.add(tools.schemas[kept], ids=[f"{copy}/{name}" for name in tools.ids[kept]])
    result["10,000 tools, text to five, engine, us"] = microseconds(
        lambda text: many._engine.select_texts([text], 5), texts
    )
    write(
        "tools_speed", result, "Selecting tools: one thread, best of several runs a text, median over the texts."
    )


if __name__ == "__main__":
    main()
