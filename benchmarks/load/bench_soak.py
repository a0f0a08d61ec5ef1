"""A minute of everything that upstreams say in the field, at random: is anything lost, miscounted or left behind?

    python benchmarks/load/bench_soak.py                 60 seconds
    python benchmarks/load/bench_soak.py --seconds 5

The upstream plays the scripts of ``../shared/cases``; without them this says so and does nothing. Every row of the
gateway's account is compared with what the upstream says it sent: statuses, and tokens to the last one.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
import servers
from tests.integration.gateway.situations import ANSWERS, ANTHROPIC, ERRORS, SCRIPTS

from common import write

CONNECTIONS = 32
# These wait on purpose, or answer by how often they were asked.
SLOW = ("comments-slow", "slow-first", "many-writes-nousage", "running-usage", "close-kept", "kill-second")
RESTING = ("first-error-429", "retry-after-date", "retry-after-300")
PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}


def scripts() -> dict[str, tuple[Any, Any]]:
    """By the gateway's name of a model: the tokens its answers count, streamed and whole; None: they do not."""
    found: dict[str, tuple[Any, Any]] = {}
    for kind, table in (("chat", ANSWERS), ("anthropic", ANTHROPIC)):
        for name, said in table.items():
            if name not in SLOW:
                streamed, whole = said if isinstance(said, list) else (said, said)
                found[f"{kind}.{name}"] = (streamed[2], whole[2])
    return found


def configuration(port: int, listen: int, models: list[str]) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}/v1"
    deployed = {
        model: {**PRICES, "deployments": [{"upstream": model.partition(".")[0], "model": model.partition(".")[2]}]}
        for model in models
    }
    return {
        "listen": f"127.0.0.1:{listen}",
        "health": "off",
        "upstreams": {"chat": {"base_url": url}, "anthropic": {"kind": "anthropic", "base_url": url}},
        "models": deployed,
        "retries": {"attempts": 1},
        "log": {"requests": "off"},
    }


def said(port: int, what: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/__{what}", timeout=10) as answer:
        return json.load(answer)


def load(port: int, models: list[str], seconds: float) -> dict[str, int]:
    script = [str(Path(__file__).with_name("field.lua")), f"http://127.0.0.1:{port}/v1/chat/completions"]
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(int(seconds), 1)}", "-s", *script, *models]
    text = subprocess.run(["taskset", "-c", "1", *command], check=True, capture_output=True, text=True).stdout
    requests, errors = re.search(r"(\d+) requests in", text), re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {"requests": int(requests[1]) if requests else 0, "errors": int(errors[1]) if errors else 0}


def account(database: Path, expected: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Rows against what was said. A request that the load's end cut off has no more to be compared."""
    rows = sqlite3.connect(database).execute(
        "SELECT asked, stream, status, error, attempts, input_tokens, output_tokens, cost, guessed FROM request"
    )
    found: dict[str, Any] = {
        "rows": 0,
        "cut_by_the_end_of_the_load": 0,
        "calls": 0,
        "calls_by_script": {},
        "own_5xx": 0,
        "tokens_said": 0,
        "tokens_counted": 0,
        "rows_with_other_tokens": 0,
        "rows_guessed_though_said": 0,
        "rows_not_guessed_though_unsaid": 0,
        "rows_with_another_cost": 0,
        "other_errors": {},
    }
    for asked, stream, status, error, attempts, inputs, outputs, cost, guessed in rows:
        found["rows"] += 1
        found["calls"] += attempts
        script = asked.partition(".")[2]
        found["calls_by_script"][script] = found["calls_by_script"].get(script, 0) + attempts
        if status == 499 or error == "shutting_down":
            found["cut_by_the_end_of_the_load"] += 1
            continue
        if asked not in expected:
            continue
        if status != 200 or error:
            found["own_5xx"] += status >= 500
            key = f"{asked} {status} {error}"
            found["other_errors"][key] = found["other_errors"].get(key, 0) + 1
            continue
        tokens = expected[asked][0 if stream else 1]
        right = PRICES["input_cost_per_token"] * inputs + PRICES["output_cost_per_token"] * outputs
        found["rows_with_another_cost"] += abs(cost - right) > 1e-12
        if tokens is None:
            found["rows_not_guessed_though_unsaid"] += not guessed
            continue
        found["rows_guessed_though_said"] += bool(guessed) and all(tokens)
        found["tokens_said"] += sum(tokens)
        found["tokens_counted"] += inputs + outputs
        found["rows_with_other_tokens"] += (inputs, outputs) != tokens
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    if not SCRIPTS.is_file():
        print(f"needs the scripted upstream {SCRIPTS} (set TINY_DANCER_SHARED); nothing done")
        return
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        sys.exit("needs wrk and taskset")
    expected = scripts()
    failing = [f"chat.{name}" for name in ERRORS if name not in RESTING]
    models = [*expected, *failing]
    upstream_port, port = servers.free_port(), servers.free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers.Server([sys.executable, SCRIPTS, upstream_port], upstream_port, "1"):
            with servers.configured(configuration(upstream_port, port, models), folder, port) as gateway:
                load(port, models, min(5.0, given.seconds))  # buffers and caches are paid for
                before = gateway.resident()
                sent = load(port, models, given.seconds)
                time.sleep(2.0)
                after = gateway.resident()
            counted = said(upstream_port, "count")
        figures: dict[str, Any] = {
            "seconds": given.seconds,
            "load": sent,
            **account(folder / "gateway.db", expected),
        }
        by_script = figures.pop("calls_by_script")
        figures["calls_the_upstream_counted"] = sum(counted.get(name, 0) for name in by_script)
        figures["scripts_with_other_calls"] = {
            name: [calls, counted.get(name, 0)]
            for name, calls in by_script.items()
            if calls != counted.get(name, 0)
        }
        figures["memory_before_mb"], figures["memory_after_mb"] = round(before, 1), round(after, 1)
    write(
        "gateway_soak",
        figures,
        "Every script of the field at random through the gateway, chat and messages, streamed and whole. Wanted: "
        "no 5xx of our own, tokens_counted = tokens_said, every other count of rows 0, calls equal, memory flat.",
    )


if __name__ == "__main__":
    main()
