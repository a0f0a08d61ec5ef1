"""Budgets of any scope at a gateway that serves: who pays, what is refused, and that sums equal the records."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.commands import done
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import HARD, LARGE, SMALL, Serving
from tests.integration.gateway.test_gateway_agents import add
from tests.integration.gateway.test_gateway_chains import bearer, key

from tiny_dancer import Agent
from tiny_dancer.budgets.money import UNITS
from tiny_dancer.gateway import app
from tiny_dancer.storage import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from tests.gateway_upstream import Upstream

    from tiny_dancer.types import RequestRecord

# What the stand-in upstream says that a request takes: 30 tokens in, 5 out.
LARGE_COST = 30e-5 + 5 * 3e-5
SMALL_COST = 30e-6 + 5 * 2e-6
# What is reserved for a small one: 1,000 tokens of prompt at least, and max_tokens.
MOST_OUT = 50
SMALL_MOST = 1000e-6 + MOST_OUT * 2e-6
LARGE_MOST = 1000e-5 + MOST_OUT * 3e-5


@pytest.fixture
def keyed(start: Callable[..., Serving]) -> Serving:
    """A gateway that requires keys."""
    return start(access={"keys": "required"})


def budget(serving: Serving, scope: str, subject: str = "", **terms: Any) -> Budget:
    """A budget that the gateway knows."""
    stored = serving.gateway.services.storage.insert_budget(Budget(scope, subject, **terms), replace=True)
    serving.gateway.services.budgets.refresh()
    return stored


def ask(serving: Serving, made: Any, **more: Any) -> httpx.Response:
    headers = {**bearer(made), **more.pop("headers", {})}
    return serving.chat(**{"max_tokens": MOST_OUT, **more}, headers=headers)


def records(serving: Serving) -> list[RequestRecord]:
    services = serving.gateway.services
    assert services.accounting.flush(20)
    return list(services.storage.request_history(limit=None))


def standing(serving: Serving, **who: Any) -> tuple[float, float]:
    """USD spent and reserved of the only budget of these payers, once nothing is under way."""
    deadline = time.monotonic() + 20
    while serving.gateway.services.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (found,) = serving.gateway.services.budgets.standing(**who)
    return found.spent, found.reserved


def charged(serving: Serving, usd: float | None, **who: Any) -> None:
    """Of the only budget of these payers so much is spent, and nothing is reserved."""
    spent, reserved = standing(serving, **who)
    assert spent == pytest.approx(usd, rel=1e-9)
    assert reserved == 0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def refused(answer: httpx.Response, id: str, *words: str) -> None:
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("budget_exceeded", "budget_exceeded")
    assert answer.headers["x-td-budget"] == id
    for word in words:
        assert word in error["message"], error["message"]


def test_team_and_user_are_charged_both_and_the_tighter_refuses(keyed: Serving) -> None:
    ada = key(keyed, "ada", user="ada", team="research")
    bob = key(keyed, "bob", user="bob", team="research")
    eve = key(keyed, "eve", user="eve", team="web")
    budget(keyed, "team", "research", limit=SMALL_MOST + 1.5 * SMALL_COST, period="month")
    budget(keyed, "user", "bob", limit=1.0, period="day")
    budget(keyed, "team", "web", limit=1.0)
    assert ask(keyed, ada).status_code == 200
    assert ask(keyed, bob).status_code == 200
    # A third could cost more than the team has left; bob has more than enough of his own.
    answer = ask(keyed, bob)
    refused(answer, "team/research/1mo", "team 'research'", "Set a lower max_tokens", "starts anew at 20")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "false"
    # It says what would help, and it does.
    assert ask(keyed, bob, max_tokens=1).status_code == 200
    assert ask(keyed, eve).status_code == 200
    spent, reserved = standing(keyed, team="research")
    assert spent == pytest.approx(3 * SMALL_COST, rel=1e-9)
    assert reserved == 0
    charged(keyed, 2 * SMALL_COST, user="bob")
    of = [each for each in records(keyed) if each.team == "research" and each.status == 200]
    assert spent == pytest.approx(sum(each.cost or 0 for each in of), rel=1e-9)
    assert {each.user for each in of} == {"ada", "bob"}


def test_a_spent_budget_says_so_and_starts_anew(
    start: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [0.0]
    monkeypatch.setattr(app, "steady", lambda: time.time() + ahead[0])
    serving = start()
    made = key(serving, "ada", team="research")
    budget(serving, "team", "research", limit=SMALL_COST, period="1d")
    serving.gateway.services.budgets.charge(SMALL_COST, team="research")
    refused(ask(serving, made), "team/research/1d", "is spent", "of 4e-05 USD", "It starts anew at")
    # Nor does it make what has no price free of it, and nothing is asked.
    ahead[0] = 86_400.0
    # The new day needs what a request can cost, which the budget never has: raised, it serves.
    refused(ask(serving, made), "team/research/1d", "more than is left")
    budget(serving, "team", "research", limit=1.0, period="1d")
    assert ask(serving, made).status_code == 200
    charged(serving, SMALL_COST, team="research")


def test_one_for_ever_does_not_start_anew(keyed: Serving) -> None:
    made = key(keyed, "ada", project="apollo")
    budget(keyed, "project", "apollo", limit=SMALL_COST)
    keyed.gateway.services.budgets.charge(1.0, project="apollo")
    answer = ask(keyed, made)
    refused(answer, "project/apollo/ever", "is spent", "does not start anew")
    assert "retry-after" not in answer.headers


def test_a_model_whose_budget_is_spent_is_passed_over(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream
) -> None:
    serving = start(routers={"default": {"models": {"weak": "small", "strong": "large"}}})
    made = key(serving, "ada")
    budget(serving, "model", "large", limit=LARGE_MOST / 2, period="day")
    for model in ("router-default", "auto"):
        answer = ask(serving, made, text=HARD, model=model)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-td-model"] == "small"
        if answer.headers["x-td-reason"] == "budget_exceeded":
            break
    refused(ask(serving, made, model="large"), "model/large/1d", "model 'large'", "name a cheaper model")
    # Named with another after it, the other serves.
    answer = ask(serving, made, model="large", models=["small"])
    assert (answer.status_code, answer.headers["x-td-model"]) == (200, "small")
    assert answer.headers["x-td-reason"] == "budget_exceeded"
    assert not strong.received
    charged(serving, 0.0, model="large")


def test_a_soft_budget_leaves_cheaper_models_and_warns(keyed: Serving) -> None:
    made = key(keyed, "ada", team="research")
    budget(keyed, "team", "research", limit=LARGE_COST / 2, period="month", kind="soft")
    before = ask(keyed, made, model="large")
    assert before.status_code == 200
    standing(keyed, team="research")
    answer = ask(keyed, made, text=HARD, model="auto")
    assert (answer.status_code, answer.headers["x-td-model"]) == (200, "small")
    assert "team/research/1mo" in answer.headers["x-td-soft-budget"]
    assert ask(keyed, made, model="large").status_code == 429
    other = key(keyed, "bob", team="web")
    free = ask(keyed, other, model="large")
    assert free.status_code == 200 and "x-td-soft-budget" not in free.headers


def test_no_client_escapes_by_naming_another(keyed: Serving) -> None:
    """Tags and users that clients send have let others past budgets: here they only add some."""
    ada = key(keyed, "ada", user="ada", team="research", tags=("prod",))
    key(keyed, "bob", user="bob", tags=("internal",))
    budget(keyed, "user", "ada", limit=1e-6)
    budget(keyed, "tag", "internal", limit=100.0)
    for said in (
        {"user": "bob"},
        {"safety_identifier": "somebody"},
        {"metadata": {"tags": ["internal"], "user_id": "bob"}},
        {"headers": {"x-td-tags": "free, other"}},
        {"headers": {"x-td-project": "elsewhere"}},
    ):
        refused(ask(keyed, ada, **said), "user/ada/ever")
    for headers in ({"x-td-user": "bob"}, {"x-td-tags": "internal"}):
        answer = ask(keyed, ada, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "payer_not_allowed")
    charged(keyed, 0.0, tags=("internal",))


def test_users_that_a_service_names_have_budgets_below_its_key(keyed: Serving, cheap: Upstream) -> None:
    service = key(keyed, "service", team="web")
    budget(keyed, "team", "web", limit=1.0)
    budget(keyed, "user", "zoe", limit=SMALL_MOST)
    assert ask(keyed, service, user="zoe").status_code == 200
    refused(ask(keyed, service, user="zoe"), "user/zoe/ever")
    refused(ask(keyed, service, headers={"x-td-user": "zoe"}), "user/zoe/ever")
    assert ask(keyed, service, user="max", metadata={"tags": ["a", "b"], "run": "1"}).status_code == 200
    # What is for the gateway goes no further; the rest does.
    assert cheap.received[-1].json["metadata"] == {"run": "1"}
    assert cheap.received[-1].json["user"] == "max"
    last = records(keyed)[0]
    assert (last.user, last.team, last.tags) == ("max", "web", ("a", "b"))
    assert standing(keyed, team="web")[0] == pytest.approx(2 * SMALL_COST)


def test_a_tag_of_a_key_holds_and_one_of_a_request_adds(keyed: Serving) -> None:
    made = key(keyed, "ada", tags=("eu",))
    budget(keyed, "tag", "eu", limit=1.0)
    budget(keyed, "tag", "nightly", limit=SMALL_MOST)
    assert ask(keyed, made, headers={"x-td-tags": "nightly"}).status_code == 200
    refused(ask(keyed, made, headers={"x-td-tags": "nightly"}), "tag/nightly/ever")
    assert ask(keyed, made).status_code == 200
    assert standing(keyed, tags=("eu",))[0] == pytest.approx(2 * SMALL_COST)


def test_a_key_that_is_replaced_takes_its_users_spending_with_it(keyed: Serving) -> None:
    old = key(keyed, "ada", user="ada")
    budget(keyed, "user", "ada", limit=SMALL_MOST + SMALL_COST / 2)
    budget(keyed, "key", old.key.id, limit=1.0)
    assert ask(keyed, old).status_code == 200
    storage = keyed.gateway.services.storage
    storage.revoke_api_key(old.key.id, time.time())
    new = key(keyed, "ada", user="ada")
    assert ask(keyed, old).status_code == 401
    refused(ask(keyed, new), "user/ada/ever")
    # What was the key's own ended with it.
    assert standing(keyed, key=old.key.id)[0] == pytest.approx(SMALL_COST)


def test_lowered_below_what_is_spent_and_raised_and_removed(keyed: Serving) -> None:
    made = key(keyed, "ada", team="research")
    stored = budget(keyed, "team", "research", limit=1.0, period="month")
    assert ask(keyed, made).status_code == 200
    standing(keyed, team="research")
    budget(keyed, "team", "research", limit=SMALL_COST / 2, period="month")
    refused(ask(keyed, made), "team/research/1mo", "is spent")
    budget(keyed, "team", "research", limit=1.0, period="month")
    assert ask(keyed, made).status_code == 200
    assert standing(keyed, team="research")[0] == pytest.approx(2 * SMALL_COST)
    # A budget, and a team without one: nothing is refused, and it is on record all the same.
    storage, budgets = keyed.gateway.services.storage, keyed.gateway.services.budgets
    assert storage.delete_budget(stored.id)
    budgets.refresh()
    assert ask(keyed, made).status_code == 200
    assert [each.team for each in records(keyed)[:1]] == ["research"]


def test_commands_change_budgets_of_a_gateway_that_serves(keyed: Serving) -> None:
    made = key(keyed, "ada", team="research")
    database = keyed.folder / "gateway.db"
    assert ask(keyed, made).status_code == 200  # not counted: there is no budget yet
    done("budget", "set", "team=research", "0.000001", "--period", "day", "--database", database)
    until(lambda: ask(keyed, made).status_code == 429)
    (row,) = json.loads(done("budget", "status", "team", "--database", database, "--json"))
    assert (row["limit"], row["subject"], row["period"]) == (1e-6, "research", "1d")
    done("budget", "set", "team=research", "1", "--period", "day", "--database", database)
    until(lambda: ask(keyed, made).status_code == 200)
    spent, _ = standing(keyed, team="research")
    (row,) = json.loads(done("budget", "status", "--database", database, "--json"))
    assert (row["spent"], row["reserved"], row["left"]) == (spent, 0, pytest.approx(1 - spent))
    table = done("budget", "status", "--database", database)
    assert "team=research" in table and row["starts_anew"] in table
    done("budget", "remove", "team=research", "--database", database)
    until(lambda: not keyed.gateway.services.budgets.standing(team="research"))


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour(status=500), "fails"),
        (Behaviour(fault="reset"), "breaks"),
        (
            Behaviour(body=b'{"error": {"message": "overloaded", "type": "server_error"}}'),
            "an error with status 200",
        ),
        (Behaviour(body=b"<html>"), "no answer"),
        (Behaviour(cached_tokens=20), "cached tokens"),
        (Behaviour(usage=False), "no usage"),
        (Behaviour(input_tokens=3000, output_tokens=900), "more than was reserved"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_charged_is_what_is_on_record(
    start: Callable[..., Serving], cheap: Upstream, behaviour: Behaviour, why: str, stream: bool
) -> None:
    serving = start(retries={"attempts": 2, "base": 0.01})
    made = key(serving, "ada", team="research")
    budget(serving, "team", "research", limit=1.0, period="month")
    cheap.usual = behaviour
    try:
        for _ in range(2):
            ask(serving, made, stream=stream, models=["large"])
    finally:
        cheap.usual = Behaviour()
    spent, reserved = standing(serving, team="research")
    assert reserved == 0
    assert spent == pytest.approx(sum(each.cost or 0 for each in records(serving)), rel=1e-9)
    if why == "cached tokens":
        assert spent == pytest.approx(2 * (10 * SMALL["input_cost_per_token"] + 20e-7 + 5 * 2e-6))


def test_a_stream_that_its_client_leaves_is_charged_for_what_was_said(keyed: Serving, cheap: Upstream) -> None:
    made = key(keyed, "ada", team="research")
    budget(keyed, "team", "research", limit=1.0)
    cheap.usual = Behaviour(fault="hang", at="middle", after=3)
    body = {"model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 50}
    with keyed.http.stream("POST", "/chat/completions", json=body, headers=bearer(made)) as answer:
        next(answer.iter_bytes())
    until(lambda: keyed.gateway.services.in_flight == 0)
    cheap.usual = Behaviour()
    (record,) = records(keyed)
    assert record.status == 499 and record.guessed and (record.cost or 0) > 0
    charged(keyed, record.cost, team="research")


def test_what_nobody_here_sees_the_cost_of_is_refused(start: Callable[..., Serving]) -> None:
    serving = start(access={"keys": "required"})
    free, bound = key(serving, "free"), key(serving, "bound", team="research")
    budget(serving, "team", "research", limit=1.0)
    body = {"model": "small", "input": "hi", "background": True}
    answer = serving.http.post("/responses", json=body, headers=bearer(bound))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "background_not_allowed")
    batch = {"input_file_id": "f", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    headers = {"x-td-upstream": "cheap"}
    answer = serving.http.post("/batches", json=batch, headers={**bearer(bound), **headers})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "batches_not_allowed")
    answer = serving.http.post("/batches", json=batch, headers={**bearer(free), **headers})
    assert answer.status_code != 403
    # A budget of a model falls on whoever may name it.
    budget(serving, "model", "large", limit=1.0)
    answer = serving.http.post("/batches", json=batch, headers={**bearer(free), **headers})
    assert answer.status_code == 403


def test_what_is_passed_on_is_paid_for(start: Callable[..., Serving], cheap: Upstream) -> None:
    serving = start()
    made = key(serving, "ada", team="research")
    budget(serving, "team", "research", limit=1.0)
    cheap.usual = Behaviour(body=b'{"results": [], "usage": {"prompt_tokens": 50, "completion_tokens": 0}}')
    body = {"model": "small", "query": "q", "documents": ["d"], "user": "zoe", "metadata": {"tags": ["t"]}}
    answer = serving.http.post("/rerank", json=body, headers=bearer(made))
    cheap.usual = Behaviour()
    assert answer.status_code == 200, answer.text
    assert "metadata" not in cheap.received[-1].json
    (record,) = records(serving)
    assert (record.user, record.tags, record.team) == ("zoe", ("t",), "research")
    charged(serving, 50e-6, team="research")
    budget(serving, "team", "research", limit=1e-9)
    refused(serving.http.post("/rerank", json=body, headers=bearer(made)), "team/research/ever")


def test_a_model_without_a_price_is_refused_by_what_is_spent_alone(start: Callable[..., Serving]) -> None:
    models = {"small": {"deployments": [{"upstream": "cheap", "model": "vendor/small-1"}]}}
    serving = start(models=models, routers={})
    made = key(serving, "ada", team="research")
    budget(serving, "team", "research", limit=1e-6)
    assert ask(serving, made).status_code == 200
    serving.gateway.services.budgets.charge(1.0, team="research")
    refused(ask(serving, made), "team/research/ever", "is spent")


def test_everything_has_a_budget_and_keyless_clients_fall_under_it(gateway: Serving) -> None:
    budget(gateway, "all", limit=1e-6, period="day")
    try:
        answer = gateway.chat(max_tokens=5)
        refused(answer, "all/1d", "of the gateway")
        gateway.gateway.services.budgets.charge(1.0)
        answer = gateway.chat(max_tokens=5)
        refused(answer, "all/1d", "the gateway (1d) is spent.")  # how much is nobody's business
    finally:
        gateway.gateway.services.storage.delete_budget("all/1d")
        gateway.gateway.services.budgets.refresh()
    assert gateway.chat(max_tokens=5).status_code == 200


def test_five_at_once_for_a_budget_of_one(keyed: Serving, cheap: Upstream) -> None:
    made = key(keyed, "ada", team="research")
    budget(keyed, "team", "research", limit=SMALL_MOST * 1.5, period="month")
    cheap.usual = Behaviour(free=0)  # says nothing until it is allowed to
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(ask, keyed, made, stream=True) for _ in range(5)]
        until(lambda: len(cheap.received) == 1 and sum(each.done() for each in asked) == 4)
        cheap.usual = Behaviour()
        cheap.received[0].allow(100)
        answers = [each.result() for each in asked]
    assert sorted(each.status_code for each in answers) == [200, 429, 429, 429, 429]
    assert len(cheap.received) == 1
    for each in answers:
        if each.status_code == 429:
            # What the one does not need will be there in a moment.
            assert each.headers["retry-after"] == "1" and "x-should-retry" not in each.headers
    charged(keyed, SMALL_COST, team="research")


def test_own_budgets_of_a_key_and_others_hold_together(keyed: Serving) -> None:
    made = key(keyed, "ada", team="research", max_budget=SMALL_MOST + SMALL_COST / 2)
    budget(keyed, "team", "research", limit=1.0)
    assert ask(keyed, made).status_code == 200
    answer = ask(keyed, made)
    assert answer.status_code == 429 and "key 'ada'" in answer.json()["error"]["message"]
    # What the key refused is not held against its team.
    charged(keyed, SMALL_COST, team="research")
    # And the other way round.
    budget(keyed, "team", "research", limit=1e-6)
    other = key(keyed, "bob", team="research", max_budget=1.0)
    refused(ask(keyed, other), "team/research/ever")
    (own,) = keyed.gateway.services.access._callers[other.key.id].budgets
    assert own.standing(time.time()) == (0, 0)
    assert UNITS == 10**12


def test_a_database_that_is_locked_does_not_stop_the_loop(keyed: Serving) -> None:
    import apsw

    made = key(keyed, "ada", team="research")
    other = key(keyed, "bob", team="web")
    budget(keyed, "team", "research", limit=SMALL_MOST * 3)
    lock = apsw.Connection(str(keyed.folder / "gateway.db"))
    lock.execute("BEGIN IMMEDIATE")
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, keyed, made)  # has to draw from the ledger
            for _ in range(5):
                # Were the loop to wait for the lock, this would wait for ever.
                assert ask(keyed, other).status_code == 200
            lock.execute("ROLLBACK")
            assert waiting.result(30).status_code in (200, 503)
    finally:
        lock.close()
    assert ask(keyed, made).status_code == 200


def test_prices_are_as_the_tests_reckon() -> None:
    assert SMALL["input_cost_per_token"] == 1e-6 and LARGE["output_cost_per_token"] == 3e-5


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_an_absurd_request_is_refused_by_name_and_leaves_nothing_reserved(
    start: Callable[..., Serving], kind: str
) -> None:
    models = {"small": {**SMALL, "deployments": [{"upstream": "cheap"}]}}
    serving = start(access={"keys": "open"}, models=models, routers={})
    budget(serving, "all", limit=1, kind=kind)
    assert serving.chat(max_tokens=MOST_OUT).status_code == 200
    for n in (10**6, 10**10, "10000000000"):
        answer = serving.chat(max_tokens=10**12, n=n)
        refused(answer, "all/ever" if kind == "hard" else "all/ever/soft", "budget of the gateway", "max_tokens")
    assert serving.chat(max_tokens=MOST_OUT).status_code == 200
    spent, reserved = standing(serving)
    assert spent == pytest.approx(2 * SMALL_COST) and reserved == 0


def test_a_keys_own_soft_budget_refuses_what_no_number_holds(start: Callable[..., Serving]) -> None:
    models = {"small": {**SMALL, "deployments": [{"upstream": "cheap"}]}}
    serving = start(access={"keys": "required"}, models=models, routers={})
    made = key(serving, "ada", soft_budget=1.0)
    for _ in range(2):
        answer = ask(serving, made, max_tokens=10**12, n=10**10)
        assert answer.status_code in (200, 429), answer.text
    assert ask(serving, made).status_code == 200


def test_an_agent_without_money_leaves_the_next_of_the_same_model(start: Callable[..., Serving]) -> None:
    serving = start(access={"keys": "open"})
    add(serving, *(Agent(name, quality=q, metadata={"model": "small"}) for name, q in (("a", 0.9), ("b", 0.8))))
    budget(serving, "agent", "a", limit=SMALL_MOST / 2)  # not spent, and too little
    refused(serving.chat(model="agent-a"), "agent/a/ever")
    refused(serving.chat(model="agent-a", models=["agent-b"], provider={"allow_fallbacks": False}), "agent/a/ever")
    excluding = {"exclude": ["agent-b"]}
    refused(serving.chat(model="router-agents-quality", td=excluding), "agent/a/ever")
    for asked in ({"model": "router-agents-quality"}, {"model": "agent-a", "models": ["agent-b"]}):
        answer = serving.chat(**asked)
        assert (answer.status_code, answer.headers["x-td-agent"]) == (200, "b"), answer.text
        assert records(serving)[0].agent == "b"
    answer = serving.chat(model="agent-a", models=["small"])
    assert answer.status_code == 200 and "x-td-agent" not in answer.headers
    budget(serving, "agent", "b", limit=0)
    refused(serving.chat(model="router-agents-quality"), "agent/a/ever")


def test_an_ensembles_budget_pays_for_its_members_and_theirs(start: Callable[..., Serving]) -> None:
    serving = start(access={"keys": "open"})
    members = (Agent(name, metadata={"model": model}) for name, model in (("a", "small"), ("b", "large")))
    inner = Agent("inner", type="ensemble", members=("a",))
    add(serving, *members, inner, Agent("panel", type="ensemble", members=("inner", "b")))
    budget(serving, "agent", "panel", limit=1)
    budget(serving, "agent", "inner", limit=1)
    budget(serving, "all", limit=1)
    assert serving.chat(model="agent-panel", max_tokens=MOST_OUT).status_code == 200
    until(lambda: all(each.reserved == 0 for each in serving.gateway.services.budgets.standings()))
    spent = {each.budget.subject: each.spent for each in serving.gateway.services.budgets.standings()}
    both = SMALL_COST + LARGE_COST
    assert spent == {"panel": pytest.approx(both), "inner": pytest.approx(SMALL_COST), "": pytest.approx(both)}
    budget(serving, "agent", "panel", limit=0)
    answer = serving.chat(model="agent-panel")
    assert answer.status_code == 429 and "budget of agent 'panel' is spent" in answer.text
    assert serving.chat(model="agent-b").status_code == 200
