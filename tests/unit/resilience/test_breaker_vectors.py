"""The breaker, and the levels below the learned policy, as the vectors that every binding passes have them."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from tiny_dancer import NoFeasibleModelError, OptionError, RequestError, ResilientRouter, Router
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.resilience import Category, CircuitBreaker

CONFORMANCE = Path(__file__).resolve().parents[3] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from examples import as_json  # noqa: E402
from reference.drift import drawn  # noqa: E402

ERRORS = {"RequestInvalid": RequestError, "OptionInvalid": OptionError, "NoFeasibleModel": NoFeasibleModelError}


def vectors(name: str) -> list[dict[str, Any]]:
    document = json.loads((CONFORMANCE / "vectors" / f"{name}.json").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = document["vectors"]
    return found


class Seeded(random.Random):
    """The generator of the vectors: one number an opening."""

    def __init__(self, seed: int) -> None:
        super().__init__(0)
        self.of, self.step = seed, 0

    def random(self) -> float:
        self.step += 1
        return 1 - drawn(self.of, self.step)


@pytest.mark.parametrize("vector", [pytest.param(each, id=each["explain"]) for each in vectors("breaker")])
def test_the_breaker_stands_as_the_vectors_say_after_every_step(vector: dict[str, Any]) -> None:
    options = dict(vector["options"])
    now = 0.0
    breaker = CircuitBreaker(clock=lambda: now, generator=Seeded(options.pop("seed", 0)), **options)
    calls: list[int | None] = []
    status: dict[str, Any] = {}
    for step in vector["steps"]:
        # A clock of Python's does not go back.
        now = max(now, step["at"])
        if step["do"] == "admit":
            calls.append(breaker.admit())
            assert (calls[-1] is not None) == step["admitted"], step
        else:
            token = calls[step["call"]]
            assert token is not None
            if step["do"] == "fail":
                breaker.fail(token, Category(step["category"]))
            else:
                getattr(breaker, step["do"])(token)
        status = step.get("status", status)
        found = breaker.status()
        assert found.state == status["state"], step
        assert dict(found.failures) == status["failures"], step
        assert (found.openings, found.retry_in, found.probes) == (
            status["openings"],
            status["retry_in"],
            status["probes"],
        ), step


class Down(Router):
    """A router whose learned policy fails."""

    def decide(self, *_: Any, **__: Any) -> Any:
        raise MemoryError("down")


def is_for_python(vector: dict[str, Any]) -> bool:
    """Whether it can be said in Python's words: a text or messages alone, and options of the right types."""
    request, options = vector.get("request"), vector.get("options", {})
    if isinstance(request, dict) and set(request) == {"messages"}:
        request = request["messages"]
    if isinstance(request, list) and not all(isinstance(each, dict) for each in request):
        return False
    said = isinstance(request, str | list) and isinstance(options, dict)
    return said and vector["artifact"] != "older" and "options_text" not in vector and "changes" not in vector


# A keyword that is none is Python's own error, a text is a list of names, and the request is read first.
OTHERWISE = {
    "an unknown option",
    "a name in place of a list of names",
    "options are judged before the request is",
}
OUTAGES = [
    pytest.param(each, id=each["explain"])
    for each in vectors("outage")
    if is_for_python(each) and each["explain"] not in OTHERWISE
]


@pytest.mark.parametrize("vector", OUTAGES)
def test_during_an_outage_python_answers_as_every_binding_does(vector: dict[str, Any]) -> None:
    request = json.loads(as_json(vector, "request"))
    request = request["messages"] if isinstance(request, dict) else request
    options, expect = vector.get("options", {}), vector["expect"]
    artifact = ArtifactFile(CONFORMANCE / "artifacts" / f"{vector['artifact']}.safetensors")
    router = ResilientRouter(artifact, load=Down)
    if "error" in expect:
        with pytest.raises(ERRORS[expect["error"]]):
            router.route(request, **options)
        return
    decision = router.route(request, **options)
    for name in ("model", "reason", "routed_by", "level"):
        assert getattr(decision, name) == expect[name], name
    assert dict(decision.removed) == expect["removed"]
    # How the failure is named is the language's own.
    assert decision.level_reason.partition("; ")[2] == expect["level_reason"].partition("; ")[2]


def test_many_outages_can_be_said_in_python() -> None:
    assert len(OUTAGES) >= 60
