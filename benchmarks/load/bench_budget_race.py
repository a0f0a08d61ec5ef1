"""Five requests at once against a budget that pays for one: how many are let through, and what that costs.

    python benchmarks/load/bench_budget_race.py            a minute, with LiteLLM as the peer where it is installed

The race is one that LiteLLM's own reports document (five long prompts at once against the budget of one key). Each
round has a model of its own, with a budget of its own: here as `budget set model=...`, in LiteLLM as that of a
deployment of its router (`max_budget` and `budget_duration` in `litellm_params`). The budgets of keys of its proxy
need PostgreSQL and are not measured. Both call the same stand-in, whose answers take a fifth of a second.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
import servers

from common import mean_with_interval, write
from tiny_dancer.storage import Budget, SqliteStorage

if TYPE_CHECKING:
    from servers import Server

ROUNDS = 20
AT_ONCE = 5
PROMPT_TOKENS = 1000
PRICES = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
# What one costs: the stand-in says 1,000 tokens of prompt and 32 of answer.
EACH = PROMPT_TOKENS * 3e-6 + 32 * 15e-6
# Pays for one, and not for two.
LIMIT = 0.005
BODY = {"messages": [{"role": "user", "content": "word " * 800}], "max_tokens": 32}
MODELS = [f"m{number}" for number in range(ROUNDS)]


def race(server: Server) -> dict[str, Any]:
    """Every model once: five at once, then, when their cost is known, one more."""
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    admitted: list[float] = []
    after = 0
    with httpx.Client(timeout=60, headers={"authorization": "Bearer sk-none"}, trust_env=False) as client:

        def ask(model: str) -> int:
            return client.post(url, json={"model": model, **BODY}).status_code

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for model in MODELS:
                codes = list(pool.map(ask, [model] * AT_ONCE))
                assert {200} <= set(codes) and set(codes) <= {200, 429}, codes
                admitted.append(codes.count(200))
            time.sleep(3)
            after = sum(code == 200 for code in map(ask, MODELS))
    return summed(admitted, after)


def summed(admitted: list[float], after: int) -> dict[str, Any]:
    return {
        "admitted_of_five": mean_with_interval(admitted),
        "most_admitted": max(admitted),
        "spent_of_the_budget": mean_with_interval([each * EACH / LIMIT for each in admitted]),
        "most_spent_of_the_budget": round(max(admitted) * EACH / LIMIT, 3),
        "a_sixth_later_let_through_of_20": after,
    }


def race_router(target: Server) -> dict[str, Any]:
    """The same at LiteLLM's router, in this process."""
    import asyncio

    from litellm import Router

    address = {"api_base": f"http://127.0.0.1:{target.port}/v1", "api_key": "sk-stub"}
    own = {"model": "openai/stub", **address, **PRICES, "max_budget": LIMIT, "budget_duration": "1d"}
    listed = [{"model_name": model, "litellm_params": own} for model in MODELS]

    async def ask(router: Router, model: str) -> bool:
        try:
            await router.acompletion(model, **BODY)
        except ValueError as error:
            assert "udget" in str(error), error
            return False
        return True

    async def run() -> tuple[list[float], int]:
        router = Router(model_list=listed, num_retries=0)  # in a loop: it begins tasks
        admitted = []
        for model in MODELS:
            admitted.append(float(sum(await asyncio.gather(*[ask(router, model) for _ in range(AT_ONCE)]))))
        await asyncio.sleep(3)
        return admitted, sum([await ask(router, model) for model in MODELS])

    return summed(*asyncio.run(run()))


def gateway(target: Server, folder: Path, workers: int) -> Server:
    """This gateway, each model with a budget that is set by its database."""
    folder.mkdir(parents=True)
    with SqliteStorage(folder / "gateway.db") as storage:
        for model in MODELS:
            storage.insert_budget(Budget("model", model, limit=LIMIT, period="day"))
    port = servers.free_port()
    content = {
        "listen": f"127.0.0.1:{port}",
        "health": f"127.0.0.1:{servers.free_port()}",
        "workers": workers,
        "storage": "gateway.db",
        "upstreams": {"stub": {"base_url": f"http://127.0.0.1:{target.port}/v1", "api_key": "sk-stub"}},
        "models": {
            model: {"deployments": [{"upstream": "stub", "model": "stub"}], **PRICES, "context_window": 128_000}
            for model in MODELS
        },
        "log": {"requests": "off"},
    }
    return servers.configured(content, folder, port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if shutil.which("taskset") is None:
        sys.exit("needs taskset")
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, servers.upstream(200, PROMPT_TOKENS) as target:
        folder = Path(name)
        for workers in (1, 2):
            with gateway(target, folder / str(workers), workers) as server:
                figures[f"tiny_dancer_{workers}_worker{'s' * (workers > 1)}"] = race(server)
        if find_spec("litellm") is None:
            print("LiteLLM is not installed here, and left out", file=sys.stderr)
        else:
            figures["litellm_router"] = race_router(target)
    write(
        "budget_race",
        {"rounds": ROUNDS, "at_once": AT_ONCE, "limit_usd": LIMIT, "each_usd": EACH, **figures},
        "Five requests at once against a budget of 0.005 USD that pays for one of 0.00348: how many are let "
        "through, and what they cost together, as a share of the budget (1 or less is the target); mean and 95 % "
        "interval over rounds, each with a budget of its own. LiteLLM: a deployment's budget of its router.",
        peers={"litellm": version("litellm")} if "litellm_router" in figures else {},
    )


if __name__ == "__main__":
    main()
