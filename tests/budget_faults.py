"""Programs that spend of budgets and are killed, and what has to be true then. Tests and benchmarks run them.

python -m tests.budget_faults spend FOLDER SEED CALLS
python -m tests.budget_faults steps FOLDER EVERY
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tiny_dancer.budgets import Budgets
from tiny_dancer.budgets.clock import steady
from tiny_dancer.budgets.money import UNITS, units
from tiny_dancer.errors import BudgetExceededError
from tiny_dancer.routing.arguments import engine_prices
from tiny_dancer.routing.pricing import most_cost
from tiny_dancer.storage import Budget, SqliteStorage
from tiny_dancer.types import ModelInfo, PriceTier

ROOT: Final = Path(__file__).resolve().parents[1]
# Tiers of long prompts, one of them cheaper; cached and written prompts.
MODELS: Final = {
    "large": ModelInfo(
        input_cost_per_token=3e-6,
        output_cost_per_token=15e-6,
        cache_read_input_token_cost=0.3e-6,
        cache_creation_input_token_cost=3.75e-6,
        tiers=(PriceTier(200_000, 6e-6, 22.5e-6),),
    ),
    "small": ModelInfo(
        input_cost_per_token=0.15e-6,
        output_cost_per_token=0.6e-6,
        cache_read_input_token_cost=0.075e-6,
        tiers=(PriceTier(128_000, 0.1e-6, 0.7e-6),),
    ),
}
USERS: Final = tuple(f"user{each}" for each in range(5))
# When reserved (ms), of which user and model, and what it did cost.
_CALL: Final = struct.Struct("<qhhq")
_WINDOW_S: Final = 30


def budgets_of(scale: float) -> list[Budget]:
    """What is spent of: some of them are soon spent, and some only in the end."""
    return [
        Budget("all", limit=scale),
        Budget("team", "one", limit=0.25 * scale, period="month"),
        *(
            Budget("user", user, limit=(0.03 + 0.018 * number) * scale, period="day")
            for number, user in enumerate(USERS)
        ),
        Budget("model", "large", limit=0.05 * scale, period=f"{_WINDOW_S}s"),
        Budget("model", "small", limit=0.004 * scale, period=f"rolling {_WINDOW_S}s"),
        Budget("tag", "warn", limit=0.001 * scale, period="day", kind="soft"),
    ]


def spend(folder: Path, seed: int, calls: int) -> None:
    """Calls models until there were so many, or it is killed. A call is written down when it is made: from then on
    it has to be paid."""
    draw = random.Random(seed)
    now = [steady()]
    priced = [_priced(name, draw) for name in MODELS for _ in range(500)]
    log = os.open(folder / f"{os.getpid()}-{time.time_ns()}.calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    done = os.open(folder / "done", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with SqliteStorage(folder / "agent.db") as storage, Budgets(storage, clock=lambda: now[0]) as budgets:
        waiting = []
        for turn in range(calls):
            if turn % 100 == 99:
                os.write(done, b"." * 100)
            user = draw.randrange(len(USERS))
            name, most, cost = draw.choice(priced)
            now[0] = steady()
            try:
                hold = budgets.reserve(most, user=USERS[user], team="one", model=name, tags=("warn",))
            except BudgetExceededError:
                continue
            at = round(now[0] * 1000)
            kind = draw.random()
            if kind < 0.03:
                hold.release()  # it was not made after all
                continue
            os.write(log, _CALL.pack(at, user, list(MODELS).index(name), units(cost)))
            waiting.append((hold, cost))
            while len(waiting) > draw.randrange(4):
                hold, cost = waiting.pop(draw.randrange(len(waiting)))
                if kind > 0.97:
                    hold.charge(cost / 2)
                hold.settle(cost)
        for hold, cost in waiting:
            hold.settle(cost)


def _priced(name: str, draw: random.Random) -> tuple[str, float, float]:
    """A call of a model: what it costs at most, and what it does."""
    prompt, output = draw.choice((900, 40_000, 150_000, 260_000)), draw.randrange(1, 2_000)
    most = most_cost(MODELS[name], prompt_tokens=prompt, output_tokens=output)
    taken = draw.randrange(prompt + 1)
    cached = draw.choice((0, taken))
    prices = engine_prices(MODELS[name])
    cost = prices.cost(taken, draw.randrange(output + 1), cached, draw.randrange(taken - cached + 1))
    assert cost is not None and cost <= most, (cost, most)
    return name, most, cost


@dataclass(slots=True)
class Found:
    """What a run came to. Amounts are USD.

    Attributes:
        overspent: by budget, the most by which what was paid exceeded it in any period or window.
        used: by budget, the largest share of the limit that was paid in a period or window.
        forgotten: by budget, by how much less is counted in the present period than was paid.
        too_much: by budget, how much more is counted than was paid.
        calls: that were made.
        kills: processes that were killed.
    """

    overspent: dict[str, float]
    used: dict[str, float]
    forgotten: dict[str, float]
    too_much: dict[str, float]
    calls: int
    kills: int = 0


def judge(folder: Path) -> Found:
    """Compares what was paid with what is counted, and with the limits."""
    paid: dict[str, list[tuple[int, int]]] = defaultdict(list)
    calls = 0
    for path in folder.glob("*.calls"):
        data = path.read_bytes()
        for at, user, model, cost in _CALL.iter_unpack(data[: len(data) // _CALL.size * _CALL.size]):
            calls += 1
            name = list(MODELS)[model]
            for scope in (("all", ""), ("team", "one"), ("user", USERS[user]), ("model", name), ("tag", "warn")):
                paid["/".join(scope)].append((at, cost))
    found = Found({}, {}, {}, {}, calls)
    with SqliteStorage(folder / "agent.db") as storage, Budgets(storage) as budgets:
        for standing in budgets.standings():
            budget = standing.budget
            calls_of = sorted(paid[f"{budget.scope}/{budget.subject}"])
            if budget.kind == "hard":
                most = _most(calls_of, budget.period)
                found.used[budget.id] = round(most / units(budget.limit), 4)
                found.overspent[budget.id] = max(most - units(budget.limit), 0) / UNITS
            now = sum(cost for at, cost in calls_of if at >= standing.start * 1000)
            counted = units(standing.spent)
            found.forgotten[budget.id] = max(now - counted, 0) / UNITS
            found.too_much[budget.id] = max(counted - now, 0) / UNITS
    return found


def _most(paid: list[tuple[int, int]], period: str | None) -> int:
    """The most that was paid in one period or window of ``budgets_of``."""
    if period is None or not period.endswith("s"):
        return sum(cost for _, cost in paid)
    length = _WINDOW_S * 1000
    if not period.startswith("rolling"):
        sums: dict[int, int] = defaultdict(int)
        for at, cost in paid:
            sums[at // length] += cost
        return max(sums.values(), default=0)
    most = inside = first = 0
    for at, cost in paid:
        inside += cost
        while paid[first][0] <= at - length:
            inside -= paid[first][1]
            first += 1
        most = max(most, inside)
    return most


def kill_at_random(folder: Path, *, processes: int, calls: int, scale: float, pause_s: float, seed: int) -> Found:
    """Has processes spend until there were so many calls, killing one of them after about every ``pause_s``."""
    draw = random.Random(seed)
    with SqliteStorage(folder / "agent.db") as storage:
        for budget in budgets_of(scale):
            storage.insert_budget(budget)
    (folder / "done").touch()
    kills = 0
    running: list[subprocess.Popen[bytes]] = []
    try:
        while (left := calls - (folder / "done").stat().st_size) > 0:
            running = [each for each in running if each.poll() is None]
            while len(running) < processes:
                running.append(_started("spend", str(folder), str(draw.randrange(2**31)), str(left)))
            time.sleep(draw.expovariate(1 / pause_s))
            victim = draw.choice(running)
            if victim.poll() is None:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                kills += 1
    finally:
        for each in running:
            each.kill()
            each.wait()
    found = judge(folder)
    found.kills = kills + len(running)
    return found


def _started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(**_command(*arguments))


def talking(*arguments: str) -> subprocess.Popen[str]:
    """One that is told what to do."""
    process = subprocess.Popen(
        **_command(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def told(process: subprocess.Popen[str], line: str) -> str:
    """What it says to that."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def _command(*arguments: str) -> dict[str, Any]:
    path = os.pathsep.join((str(ROOT / "python"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    command = [sys.executable, "-m", "tests.budget_faults", *arguments]
    return {"args": command, "cwd": ROOT, "env": {**os.environ, "PYTHONPATH": path}}


def kill_at_steps(folder: Path, every: int) -> Found:
    """Has processes spend once, each killed so many lines of the budgets' code later than the one before."""
    with SqliteStorage(folder / "agent.db") as storage:
        for budget in budgets_of(500.0):
            storage.insert_budget(budget)
    # By one that has no threads, which forks them.
    assert _started("steps", str(folder), str(every)).wait() == 0
    found = judge(folder)
    found.kills = (folder / "killed").stat().st_size
    return found


def _step(folder: Path, every: int) -> None:
    step = 0
    with (folder / "killed").open("wb") as killed:
        while True:
            step += every
            process = os.fork()
            if not process:
                _spend_until(folder, step)
            _, status = os.waitpid(process, 0)
            if not os.WIFSIGNALED(status):
                assert os.waitstatus_to_exitcode(status) == 0
                return
            killed.write(b".")


def _spend_until(folder: Path, step: int) -> None:
    code = 1
    try:
        left = [step]

        def trace(frame: Any, event: str, _: object) -> Any:
            if "tiny_dancer/budgets" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        spend(folder, 8, 3)
        sys.settrace(None)
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def wait_or_block(folder: Path, *, block: bool) -> None:
    """Reserves 5 USD of team ``a``, and does what it is told line by line; or keeps its row locked."""
    with SqliteStorage(folder / "agent.db") as storage, Budgets(storage) as budgets:
        hold = budgets.reserve(5.0, team="a")
        if block:
            budgets._table.lock([each.row for each in budgets._accounts.values()])
        print("ready", flush=True)
        for line in sys.stdin:
            try:
                match line.split():
                    case ["settle", cost]:
                        hold.settle(float(cost))
                    case ["reserve", cost]:
                        hold = budgets.reserve(float(cost), team="a")
                print("done", flush=True)
            except BudgetExceededError as error:
                print(error.left, flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("wait", "block"):
        wait_or_block(Path(sys.argv[2]), block=sys.argv[1] == "block")
    elif sys.argv[1] == "spend":
        spend(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        _step(Path(sys.argv[2]), int(sys.argv[3]))
