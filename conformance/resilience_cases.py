"""Which histories of a breaker, and which requests during an outage, the vectors hold."""

from __future__ import annotations

import random
from typing import Any

from decisions import DECISIONS
from examples import as_json, described
from reference import Encoder, Refusal, Router
from reference.breaker import Breaker, Call
from reference.outage import answer

Vector = dict[str, Any]


class History:
    """Steps and what came of them."""

    def __init__(self, explain: str, options: dict[str, Any]) -> None:
        self.explain, self.options = explain, options
        self.breaker, self.now = Breaker(**options), 0.0
        self.calls: list[Call | None] = []
        self.steps: list[Vector] = []
        self.status: Vector = {}

    def wait(self, seconds: float) -> History:
        """Time passes, in steps that doubles hold exactly."""
        self.now += seconds
        return self

    def step(self, what: str, call: int = -1, category: str | None = None) -> int:
        """One step now; the number of the call."""
        self.breaker.at(self.now)
        number = len(self.calls) + call if call < 0 else call
        if what == "admit":
            number = len(self.calls)
            self.calls.append(self.breaker.admit())
        else:
            of = self.calls[number]
            assert of is not None, "only what was admitted reports"
            if what == "fail":
                self.breaker.fail(of, category or "engine")
            elif what == "cancel":
                self.breaker.cancel(of)
            else:
                self.breaker.succeed(of)
        given: Vector = {"at": self.now, "do": what, "call": number}
        if what == "fail":
            given["category"] = category or "engine"
        admitted = {"admitted": self.calls[number] is not None} if what == "admit" else {}
        status = self.breaker.status()
        changed = {} if status == self.status else {"status": status}
        self.steps.append({**given, **admitted, **changed})
        self.status = status
        return number

    def calls_end(self, *ends: str) -> History:
        """Calls that end at once: s succeeds, f fails, a by its artifact, b had bad input, c is cancelled."""
        for end in "".join(ends):
            number = self.step("admit")
            if self.calls[number] is not None:
                what = {"s": "succeed", "c": "cancel"}.get(end, "fail")
                self.step(what, number, {"a": "artifact", "b": "bad_input"}.get(end))
        return self

    def vector(self) -> Vector:
        """As it is written."""
        return {"explain": self.explain, "options": self.options, "steps": self.steps}


def written() -> list[History]:
    """Histories that guard one rule each."""
    calm = {"jitter": 0.0}
    found = [
        History("five in a row open it", calm).calls_end("fffff", "s"),
        History("four in a row do not", calm).calls_end("ffff", "s", "ffff", "s"),
        History("bad input never counts", calm).calls_end("b" * 30, "ffff", "bb", "f"),
        History("what is cancelled says nothing", calm).calls_end("c" * 9, "ffffc", "f"),
        History("healthy calls before outweigh five in a row", calm).calls_end("s" * 30, "fffff"),
        History("half of twenty calls", {**calm, "threshold": 3}).calls_end("sf" * 9, "sf"),
        History("twenty in a row, whatever was before", calm).calls_end("s" * 60, "f" * 20),
        History("a share of all", {**calm, "failure_rate": 1.0, "threshold": 2}).calls_end("sff", "f"),
        History("categories are counted apart", calm).calls_end("afafa"),
        History("failures are forgotten after the window", calm).calls_end("ffff").wait(60.0).calls_end("f"),
        History("and not just before it", calm).calls_end("ffff").wait(59.5).calls_end("f"),
        History("successes are forgotten by tenths", {**calm, "threshold": 2})
        .calls_end("ssss")
        .wait(54.0)
        .calls_end("f")
        .wait(6.0)
        .calls_end("ff"),
        History("no call passes before the cool-down", calm)
        .calls_end("fffff")
        .wait(9.5)
        .calls_end("s")
        .wait(0.5)
        .calls_end("s", "s"),
        History("each opening doubles it", {**calm, "longest_cooldown": 35.0})
        .calls_end("fffff")
        .wait(10.0)
        .calls_end("f")
        .wait(20.0)
        .calls_end("f")
        .wait(35.0)
        .calls_end("f")
        .wait(35.0)
        .calls_end("s"),
        History("a window of health ends the doubling", calm)
        .calls_end("fffff")
        .wait(10.0)
        .calls_end("s")
        .wait(60.0)
        .calls_end("fffff")
        .wait(10.0)
        .calls_end("s"),
        History("less than a window does not", calm)
        .calls_end("fffff")
        .wait(10.0)
        .calls_end("s")
        .wait(59.0)
        .calls_end("fffff")
        .wait(10.0)
        .calls_end("s"),
        History("bad input does not close it, nor open it", calm)
        .calls_end("fffff")
        .wait(10.0)
        .calls_end("b", "c", "b", "s"),
        History("jitter comes of the seed", {"jitter": 1.0, "seed": 7, "threshold": 1})
        .calls_end("f")
        .wait(20.0)
        .calls_end("f")
        .wait(40.0)
        .calls_end("f"),
        History("of the largest seed", {"jitter": 0.5, "seed": 2**64 - 1, "threshold": 1}).calls_end("f"),
    ]
    late = History("a call of before it opened is ignored", {**calm, "threshold": 1})
    late.step("admit")
    late.calls_end("f").step("succeed", 0)
    late.wait(10.0).step("fail", 0)
    found.append(late.calls_end("s"))
    silent = History("a silent probe is given up", {**calm, "threshold": 1}).calls_end("f").wait(10.0)
    probe = silent.step("admit")
    silent.calls_end("s").wait(30.0).step("succeed", probe)
    found.append(silent.calls_end("s"))
    several = History("three probes, and as many successes", {**calm, "threshold": 1, "probes": 3})
    several.calls_end("f").wait(10.0)
    probes = [several.step("admit") for _ in range(3)]
    several.step("admit")
    for each in probes:
        several.step("succeed", each)
    found.append(several.calls_end("s"))
    back = History("time that goes back stands still", {**calm, "threshold": 1}).wait(100.0).calls_end("f")
    found.append(back.wait(-50.0).calls_end("s").wait(60.0).calls_end("s"))
    return found


def random_history(seed: int) -> History:
    """A walk through all states, drawn."""
    draw = random.Random(seed)
    options = {
        "threshold": draw.randint(1, 4),
        "failure_rate": draw.choice([0.25, 0.5, 1.0]),
        "minimum_calls": draw.randint(1, 8),
        "probes": draw.randint(1, 3),
        "jitter": draw.choice([0.0, 0.5, 1.0]),
        "seed": draw.randrange(2**63),
        "cooldown": 8.0,
        "longest_cooldown": 40.0,
        "probe_timeout": 20.0,
    }
    history = History(f"drawn by {seed}", options)
    under_way: list[int] = []
    for _ in range(60):
        history.wait(draw.choice([0.0, 0.0, 0.0, 0.5, 3.0, 8.0, 15.0, 59.5]))
        if not under_way or draw.random() < 0.5:
            number = history.step("admit")
            if history.calls[number] is not None:
                under_way.append(number)
            continue
        what = draw.choice(["succeed", "succeed", "fail", "fail", "cancel"])
        number = under_way.pop(draw.randrange(len(under_way)))
        history.step(what, number, draw.choice(["engine", "artifact", "bad_input"]))
    return history


def breaker_vectors() -> list[Vector]:
    """Histories, with how a breaker stands after each step, where that has changed."""
    return [history.vector() for history in [*written(), *map(random_history, range(12))]]


def outage_vectors(encoder: Encoder, artifacts: dict[str, bytes]) -> list[Vector]:
    """What is decided below the learned policy, of the requests of ``decisions.json`` that ask something."""
    found = []
    for explain, artifact, request, options, changes in DECISIONS:
        if options == {} and artifact != "five":
            continue
        vector: Vector = {"explain": explain, "artifact": artifact, **described("request", request)}
        if options != {}:
            vector |= described("options", options)
        router = Router(artifacts[artifact], encoder)
        try:
            if changes:
                router.change_models(changes)
                vector["changes"] = changes
            vector["expect"] = answer(
                router,
                as_json(vector, "request"),
                as_json(vector, "options"),
                "engine failure (it panicked: down)",
            )
        except Refusal as refusal:
            vector["expect"] = {"error": refusal.kind}
        found.append(vector)
    return found
