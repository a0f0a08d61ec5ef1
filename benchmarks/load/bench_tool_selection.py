"""What leaving out tools costs the gateway, and saves it: requests with 100 and 1,000 tools, all sent and ten.

    python benchmarks/load/bench_tool_selection.py            about a minute

The same requests to the same gateway, which is told by the request itself (``td.tool_selection``) to send all
tools or ten. Gateway on core 0, upstream and load on core 1; one connection, one request after the other. Time of
the processor is what a busy machine disturbs least. That a model's server reads fewer tokens is not counted here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
import servers
from client import bodies, closed_loop, quantile

from common import write

ROUNDS = 4
WAYS: dict[str, Any] = {"all": "off", "ten": 10}
VERBS = ["create", "find", "update", "delete", "list", "share", "archive", "export", "import", "count"]
THINGS = ["invoice", "ticket", "contact", "page", "task", "message", "file", "meeting", "order", "refund"]
SERVICES = ["stripe", "zendesk", "hubspot", "notion", "asana", "slack", "dropbox", "zoom", "shopify", "jira"]


def tools(count: int) -> list[dict[str, Any]]:
    """So many, of some 250 bytes each."""
    found = []
    for service in SERVICES:
        for verb in VERBS:
            for thing in THINGS:
                key = {"type": "string", "description": f"Which {thing}, by its number in {service.title()}"}
                function = {
                    "name": f"{service}_{verb}_{thing}",
                    "description": f"{verb.title()} a {thing} in {service.title()}",
                    "parameters": {"type": "object", "properties": {f"{thing}_id": key}},
                }
                found.append({"type": "function", "function": function})
    return found[:: len(found) // count][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    given = parser.parse_args()
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        sys.exit("needs taskset and two cores")
    os.sched_setaffinity(0, {1})
    figures: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        servers.upstream() as target,
        servers.gateway(target, Path(name) / "gateway") as gateway,
    ):
        for count in (100, 1000):
            cost: dict[str, list[float]] = {way: [] for way in WAYS}
            wait: dict[str, list[float]] = {way: [] for way in WAYS}
            failed = 0
            requests = {
                way: bodies(tools=tools(count), td={"tool_selection": asked})[:64] for way, asked in WAYS.items()
            }
            for turn in range(ROUNDS + 1):
                for way in WAYS:
                    before = gateway.cpu()
                    times = uvloop.run(closed_loop(gateway.port, requests[way], 1, given.seconds))
                    failed += times.failed
                    if turn:  # the first reads the list, and warms up
                        cost[way].append((gateway.cpu() - before) / max(len(times.last), 1) * 1e6)
                        wait[way].append(quantile(times.last, 0.5))
            spent = {way: median(values) for way, values in cost.items()}
            figures[f"{count} tools"] = {
                "bytes_of_a_request": len(requests["ten"][0]),
                "cpu_us_per_request": {way: round(value, 1) for way, value in spent.items()},
                "cpu_ratio_ten_to_all": round(spent["ten"] / spent["all"], 2),
                "cpu_ratio_by_round": [
                    round(ten / every, 2) for ten, every in zip(cost["ten"], cost["all"], strict=True)
                ],
                "p50_ms": {way: round(median(values), 3) for way, values in wait.items()},
                "failed": failed,
            }
    note = (
        "Ratio of the gateway's own processor time with ten tools left to the same requests with all tools sent; "
        "below 1 selecting costs less than what the router and the upstream's connection need no more."
    )
    write("tool_selection_load", figures, note)


if __name__ == "__main__":
    main()
