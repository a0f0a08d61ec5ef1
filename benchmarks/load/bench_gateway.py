"""What the gateway costs: CPU, requests a second, latency, first tokens, memory; beside a peer and a bare proxy.

    python benchmarks/load/bench_gateway.py                 about three minutes, with LiteLLM as the peer
    python benchmarks/load/bench_gateway.py --no-peer --seconds 1 --requests 5000

The gateway runs on core 0, upstream and load on core 1. The yardstick is ``passthrough.py``: uvicorn and
pyreqwest, passing bytes on and nothing else. What is added is measured against the upstream.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))
import servers
from client import bodies, closed_loop, hold, open_loop, quantile

from common import write

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from servers import Server

CONNECTIONS = 32
OPEN_STREAMS = 1000
ROUNDS = 2


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return uvloop.run(work)


def throughput(targets: dict[str, Server], seconds: float) -> dict[str, Any]:
    """CPU per request and requests a second, 32 connections; rounds interleaved."""
    cost: dict[str, list[float]] = {name: [] for name in targets}
    rate: dict[str, list[float]] = {name: [] for name in targets}
    failed = dict.fromkeys(targets, 0)
    for server in targets.values():
        servers.wrk(server.port, CONNECTIONS, 1)
    for _ in range(ROUNDS):
        for name, server in targets.items():
            before = server.cpu()
            found = servers.wrk(server.port, CONNECTIONS, seconds)
            cost[name].append((server.cpu() - before) / max(found.requests, 1) * 1e6)
            rate[name].append(found.per_second)
            failed[name] += found.failed
    return {
        name: {
            "cpu_us_per_request": round(median(cost[name]), 1),
            "requests_per_second": round(median(rate[name])),
            "failed": failed[name],
        }
        for name in targets
    }


def latency(direct: Server, gateway: Server, rate: float, seconds: float) -> dict[str, Any]:
    """Milliseconds the gateway adds: the median of one request after the other, p99 at about half of its load.

    Half: two connections of wrk, which keep it some 60 % busy; and, harsher, requests at half its rate whether or
    not earlier ones are answered, by a client in Python that sends them in small bursts.
    """
    requests = bodies()
    alone: dict[str, list[float]] = {"direct": [], "gateway": []}
    for _ in range(ROUNDS):
        for name, server in (("direct", direct), ("gateway", gateway)):
            alone[name] += run(closed_loop(server.port, requests, 1, seconds / 2)).last
    open_p99 = {
        name: quantile(run(open_loop(server.port, requests, rate / 2, CONNECTIONS, seconds)).last, 0.99)
        for name, server in (("direct", direct), ("gateway", gateway))
    }
    loaded = {
        name: servers.wrk(server.port, 2, seconds) for name, server in (("direct", direct), ("gateway", gateway))
    }
    p50 = {name: quantile(values, 0.5) for name, values in alone.items()}
    p99 = {name: found.p99 for name, found in loaded.items()}
    return {
        "added_p50_ms_sequential": round(p50["gateway"] - p50["direct"], 3),
        "direct_p50_ms": round(p50["direct"], 3),
        "p99_ms_at_half_load": round(p99["gateway"], 3),
        "direct_p99_ms_at_half_load": round(p99["direct"], 3),
        "added_p99_ms_at_half_load": round(p99["gateway"] - p99["direct"], 3),
        "open_loop_p99_ms_at_half_load": round(open_p99["gateway"], 3),
        "open_loop_direct_p99_ms_at_half_load": round(open_p99["direct"], 3),
        "half_load_per_second": round(loaded["gateway"].per_second),
        "half_load_share": round(loaded["gateway"].per_second / rate, 2),
        "failed": sum(each.failed for each in loaded.values()),
    }


def first_tokens(direct: Server, gateway: Server, seconds: float) -> dict[str, Any]:
    """Milliseconds the gateway adds before the first token (median), chunks at once and 10 ms apart."""
    found: dict[str, Any] = {}
    for delay, connections in ((0, 1), (10, 8)):
        requests = bodies(stream=True, **({"delay_ms": delay} if delay else {}))
        first: dict[str, list[float]] = {"direct": [], "gateway": []}
        for _ in range(ROUNDS):
            for name, server in (("direct", direct), ("gateway", gateway)):
                first[name] += run(closed_loop(server.port, requests, connections, seconds / 2)).first
        found[f"added_ttft_p50_ms_chunks_every_{delay}_ms"] = round(
            quantile(first["gateway"], 0.5) - quantile(first["direct"], 0.5), 3
        )
    return found


def streams(targets: dict[str, Server], seconds: float) -> dict[str, Any]:
    """CPU per streamed answer of 32 chunks."""
    found: dict[str, Any] = {name: {} for name in targets}
    for delay, connections in ((0, 16), (10, 64)):
        requests = bodies(stream=True, **({"delay_ms": delay} if delay else {}))
        for name, server in targets.items():
            before = server.cpu()
            times = run(closed_loop(server.port, requests, connections, seconds))
            cost = (server.cpu() - before) / max(len(times.last), 1) * 1e3
            found[name][f"cpu_ms_per_stream_chunks_every_{delay}_ms"] = round(cost, 3)
            found[name]["failed"] = found[name].get("failed", 0) + times.failed
    return found


def memory(gateway: Server, requests: int, rate: float) -> dict[str, Any]:
    """Resident megabytes after so many requests, with streams open, and after as many again."""

    def send() -> None:
        left = requests
        while left > 0:
            left -= max(servers.wrk(gateway.port, CONNECTIONS, max(left / rate, 1)).requests, 1)

    async def opened() -> float:
        held = await hold(gateway.port, bodies(stream=True, hold=True)[0], OPEN_STREAMS)
        resident = gateway.resident()
        for each in held:
            each.transport.abort()
        return resident

    start = gateway.resident()
    send()
    first = gateway.resident()
    with_streams = run(opened())
    # As much again before the comparison, with the buffers of the streams already paid for.
    before = gateway.resident()
    send()
    second = gateway.resident()
    return {
        "requests": requests,
        "at_start_mb": round(start, 1),
        "after_requests_mb": round(first, 1),
        "with_1000_open_streams_mb": round(with_streams, 1),
        "growth_over_as_many_again_mb": round(second - before, 1),
    }


def workers(target: Server, folder: Path, seconds: float) -> dict[str, Any]:
    """Two workers against one, where both share two cores with the load: so by CPU, not by requests a second."""
    found: dict[str, Any] = {}
    for count in (1, 2):
        with servers.gateway(target, folder / f"workers{count}", workers=count, cores="0,1") as server:
            servers.wrk(server.port, CONNECTIONS, 1)
            before = server.cpu_by_process()
            said = servers.wrk(server.port, CONNECTIONS * 2, seconds)
            used = [after - before.get(pid, 0.0) for pid, after in server.cpu_by_process().items()]
            total = sum(used)
            found[f"{count}"] = {
                "cpu_us_per_request": round(total / max(said.requests, 1) * 1e6, 1),
                "largest_share_of_one_process": round(max(used) / total, 3),
                "requests_per_second_cores_shared_with_the_load": round(said.per_second),
                "failed": said.failed,
            }
    one, two = found["1"], found["2"]
    busiest = [each["cpu_us_per_request"] * each["largest_share_of_one_process"] for each in (one, two)]
    found["ratio_on_two_free_cores_by_cpu"] = round(busiest[0] / busiest[1], 2)
    return found


def peer(target: Server, folder: Path, place: Path, seconds: float) -> dict[str, Any]:
    server = servers.litellm(target, folder, place)
    if server is None:
        return {"litellm": "not available here"}
    with server:
        servers.wrk(server.port, CONNECTIONS, 2)
        before = server.cpu()
        found = servers.wrk(server.port, CONNECTIONS, max(seconds, 4))
        cost = (server.cpu() - before) / max(found.requests, 1) * 1e6
        return {
            "litellm": {
                "cpu_us_per_request": round(cost, 1),
                "requests_per_second": round(found.per_second, 1),
                "failed": found.failed,
            }
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--requests", type=int, default=100_000, help="before memory is looked at")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--peer-folder", type=Path, default=Path(tempfile.gettempdir()) / "tiny-dancer-peer")
    given = parser.parse_args()
    if shutil.which("wrk") is None or shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        sys.exit("needs wrk, taskset and two cores")
    os.sched_setaffinity(0, {1})
    with tempfile.TemporaryDirectory() as name, servers.upstream() as target:
        folder = Path(name)
        with servers.floor(target) as floor, servers.gateway(target, folder / "gateway") as gateway:
            targets = {"floor": floor, "gateway": gateway}
            figures: dict[str, Any] = throughput(targets, given.seconds)
            rate = figures["gateway"]["requests_per_second"]
            figures["latency"] = latency(target, gateway, rate, given.seconds)
            figures["first_tokens"] = first_tokens(target, gateway, given.seconds)
            figures["streams"] = streams(targets, given.seconds)
            figures["memory"] = memory(gateway, given.requests, rate)
        figures["workers"] = workers(target, folder, given.seconds)
        figures["peer"] = {} if given.no_peer else peer(target, folder, given.peer_folder, given.seconds)
    yardstick = figures["floor"]["cpu_us_per_request"]
    ratios = {"gateway": round(figures["gateway"]["cpu_us_per_request"] / yardstick, 2)}
    litellm = figures["peer"].get("litellm")
    if isinstance(litellm, dict):
        ratios["litellm"] = round(litellm["cpu_us_per_request"] / yardstick, 2)
    figures["cpu per request, ratios to the floor"] = ratios
    write(
        "gateway_load",
        figures,
        "Gateway on core 0; upstream, wrk and our client on core 1. Floor: uvicorn and pyreqwest alone. "
        "Workers share both cores with the load, so their ratio is by CPU of the busiest process.",
        peers=servers.litellm_version(given.peer_folder) if litellm else {},
    )


if __name__ == "__main__":
    main()
