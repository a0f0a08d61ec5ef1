"""Agents in SQL: the registry, choices, routes by likeness, and what of them another program over the "
"tables sees."""

from __future__ import annotations

import json
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors
from tests.integration.doors import Answers, compared, count, written
from tests.integration.pg_cluster import database, extended, name

from tiny_dancer import Agent, AgentRegistry, AgentRouter
from tiny_dancer.errors import NoSuitableAgentError, OptionError
from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage.history import hash_query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Connection = psycopg.Connection[Any]

THREE = (
    "SELECT tiny_dancer.register_agent('small', 'llm', '{sum,code}', 0.0005, NULL, 400, .7)",
    "SELECT tiny_dancer.register_agent('large', 'llm', '{sum,code,law}', 0.01, NULL, 1500, .92)",
    "SELECT tiny_dancer.register_agent('clerk', 'human', '{law}', NULL, 2, 600000, .98)",
)


@pytest.fixture(scope="module")
def template() -> str:
    return name(database())


@pytest.fixture
def url(template: str) -> str:
    return extended().database(template=template)


@contextmanager
def connected(url: str, *, user: str = "postgres", autocommit: bool = True) -> Iterator[Connection]:
    with psycopg.connect(url.replace("user=postgres", f"user={user}"), autocommit=autocommit) as connection:
        yield connection


@pytest.fixture
def db(url: str) -> Iterator[Connection]:
    with connected(url) as connection:
        yield connection


@pytest.fixture
def three(db: Connection) -> Connection:
    for each in THREE:
        db.execute(each)
    return db


def one(db: Connection, statement: str, *values: Any) -> Any:
    row = db.execute(statement, values or None).fetchone()
    assert row is not None
    return row[0]


def agent(db: Connection, options: str = "") -> str:
    found = one(db, f"SELECT (tiny_dancer.route('a request', 'quality'{options})).agent_name")
    assert isinstance(found, str)
    return found


@contextmanager
def refused(sqlstate: str, detail: str, hint: str = "") -> Iterator[None]:
    """An error with what a reader needs to act."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    about = caught.value.diag
    assert about.sqlstate == sqlstate, caught.value
    assert detail in (about.message_detail or ""), caught.value
    assert about.message_hint is not None
    assert hint in about.message_hint


# The engine's answers


def test_every_vector_of_agents_has_the_answer_of_the_engine(db: Connection, tmp_path: Path) -> None:
    path, expected = written(tmp_path, ("agents",))
    cases = json.loads(path.read_text(encoding="utf-8"))
    choose, after = (
        "SELECT tiny_dancer.choose_among(%s, %s, %s)",
        "SELECT tiny_dancer.agent_state_after(%s, %s, %s)",
    )
    found: Answers = []
    for case in cases:
        answers: list[str] = []
        agents, half_life = "[]", None
        for operation, first, second in case["steps"]:
            try:
                if operation == "agents":
                    half_life = json.loads(first) if first else None
                    answers.append("")
                elif operation == "putAgents":
                    agents = first
                    try:
                        one(db, choose, agents, "{}", half_life)
                    except psycopg.Error as error:
                        if error.sqlstate == "TD009":
                            raise
                    answers.append("")
                elif operation == "choose":
                    answers.append(one(db, choose, agents, first, half_life))
                else:
                    state = answers[-1] if first is None else first
                    answers.append(one(db, after, state, second, half_life))
            except psycopg.Error as error:
                about, kinds = (
                    error.diag,
                    {"TD007": "OptionInvalid", "TD008": "NoFeasibleModel", "TD009": "CandidateInvalid"},
                )
                field = about.column_name or ""
                value = (about.message_detail or "").removeprefix(f"{field}: ")
                answers.append(
                    json.dumps(
                        {
                            "code": kinds[about.sqlstate or ""],
                            "field": field,
                            "value": value,
                            "remedy": about.message_hint,
                        }
                    )
                )
                break
        found.append(answers)
    assert compared(cases, expected, found) == count(("agents",))


def some_agents(chance: random.Random, number: int) -> list[Agent]:
    """Agents of all kinds, some without prices, times or qualities."""

    def maybe(value: Any) -> Any:
        return value if chance.random() < 0.8 else None

    found = []
    for at in range(number):
        price = maybe(chance.random() / 100)
        found.append(
            Agent(
                f"agent '{at}' \\ \"{chance.choice(('ä', '猫', 'x'))}\"",
                type=chance.choice(("llm", "tool", "api", "human")),
                capabilities=tuple(chance.sample(("code", "law", "sum", "see"), chance.randint(0, 3))),
                input_cost_per_1k=price,
                output_cost_per_1k=None if price is None else 3 * price,
                cost_per_call=maybe(chance.random() / 10),
                cost_per_second=maybe(chance.random() / 1000),
                latency_s=maybe(chance.random() * 3 + 0.1),
                quality=maybe(chance.random()),
                success_rate=maybe(chance.random()),
                task_quality={"code": chance.random()} if chance.random() < 0.5 else {},
                tags=("eu",) if chance.random() < 0.5 else (),
                region=maybe("eu"),
                context=maybe(chance.randint(100, 10_000)),
                metadata={"n": 1e308, "deep": {"list": [None, True, "\u2028"]}},
                active=chance.random() < 0.9,
            )
        )
    return found


def test_choices_are_those_of_python_over_the_same_tables(url: str, db: Connection) -> None:
    chance = random.Random(5)
    with PostgresStorage(url) as storage:
        registry = AgentRegistry(some_agents(chance, 12), storage=storage, clock=lambda: 1.8e9)
        router = AgentRouter(registry)
        for step in range(150):
            named = chance.choice([each.name for each in registry.agents])
            registry.observe(
                named, quality=chance.random(), cost=chance.random() / 50, latency_ms=900, at=1.8e9 + step
            )
            text = chance.choice(("short", "ein längerer Text " * chance.randint(1, 300)))
            policy = chance.choice(("cost", "latency", "quality", "balanced", "quality_per_dollar"))
            bounds = {
                "required_capabilities": chance.sample(("code", "law", "sum"), chance.randint(0, 2)),
                "max_cost": chance.choice((None, chance.random() / 10)),
                "max_latency_ms": chance.choice((None, chance.random() * 4000)),
                "min_quality": chance.choice((None, chance.random() / 3)),
                "budget_remaining": chance.choice((None, chance.random() / 5)),
            }
            options = {
                "tags": chance.choice(([], ["eu"])),
                "task": chance.choice((None, "code")),
                "now": 1.8e9 + step,
            }
            arguments = {**bounds, "required_capabilities": list(bounds["required_capabilities"])}
            asked = (
                "SELECT * FROM tiny_dancer.route(%(text)s, %(policy)s, %(required_capabilities)s, %(max_cost)s, "
                "%(max_latency_ms)s, %(min_quality)s, %(budget_remaining)s, %(options)s)"
            )
            values = {"text": text, "policy": policy, "options": json.dumps(options), **arguments}
            try:
                choice = router.route(text, policy, **arguments, **options)  # type: ignore[arg-type]
            except NoSuitableAgentError as nobody:
                with refused("TD008", nobody.value):
                    db.execute(asked, values)
                rows = db.execute(asked.replace(".route(", ".compare_agents("), values).fetchall()
                assert {row[0]: row[-1] for row in rows} == nobody.removed
                continue
            except OptionError as error:
                with refused("TD007", str(error.value)):
                    db.execute(asked, values)
                continue
            row = db.execute(asked, values).fetchone()
            assert row is not None
            assert row[0] == choice.agent
            assert row[1:5] == (
                choice.confidence,
                choice.estimated_cost,
                choice.estimated_latency_ms,
                choice.quality,
            )
            assert row[5] == choice.reason
            assert row[6] == choice.runner_up


def test_what_sql_declares_python_reads_and_the_other_way_round(url: str, db: Connection) -> None:
    with PostgresStorage(url) as storage:
        registry = AgentRegistry(storage=storage)
        for each in some_agents(random.Random(6), 8):
            assert one(db, "SELECT tiny_dancer.declare_agent(%s)", each.to_json())
            registry.refresh()
            assert registry[each.name] == each
        registry.add(Agent("of python", quality=0.5))
        assert one(db, "SELECT quality_score FROM tiny_dancer.list_agents() WHERE name = 'of python'") == 0.5
        # Sums over outcomes are the same to the last bit.
        registry.observe("of python", quality=0.25, success=True, cost=0.1, latency_ms=321.5, task="sum", at=1.7e9)
        db.execute("SELECT tiny_dancer.register_agent('of sql', quality_score := .5)")
        db.execute(
            "SELECT tiny_dancer.observe_agent('of sql', .25, cost := .1, latency_ms := 321.5, task := 'sum', "
            "at := to_timestamp(1.7e9))"
        )
        registry.refresh()
        assert registry.statistics("of sql") == registry.statistics("of python")
        assert registry.statistics("of sql")["tasks"] == {"sum": 0.25}


def test_plans_and_batches_are_those_of_python(url: str, three: Connection) -> None:
    with PostgresStorage(url) as storage:
        router = AgentRouter(AgentRegistry(storage=storage))
        for strategy in ("pipeline", "parallel", "ensemble"):
            needed = ["sum", "law"] if strategy != "ensemble" else ["law"]
            plan = router.route_multi("a request", 2, strategy, required_capabilities=needed)  # type: ignore[arg-type]
            rows = three.execute(
                "SELECT agent_name, capabilities, expected_quality, estimated_cost, total_quality, "
                "total_cost, reason "
                "FROM tiny_dancer.route_multi('a request', required_capabilities := %s, num_agents := "
                "2, strategy := %s)",
                (needed, strategy),
            ).fetchall()
            assert [(row[0], tuple(row[1]), row[2], row[3]) for row in rows] == [
                (step.agent, step.capabilities, step.quality, step.estimated_cost) for step in plan.steps
            ]
            assert {row[4:6] for row in rows} == {(plan.quality, plan.estimated_cost)}
            assert {row[6] for row in rows} == {plan.reason}
        texts = [f"{'word ' * n}end" for n in range(1, 40)]
        for least in (None, 0.7, 0.85):
            batch = router.route_batch(texts, min_mean_quality=least, types=["llm"], capacities={"large": 30})
            rows = three.execute(
                "SELECT agent_name, total_cost, mean_quality FROM tiny_dancer.batch_route(%s, "
                "min_mean_quality := %s, "
                'options := \'{"types": ["llm"]}\', capacities := \'{"large": 30}\')',
                (texts, least),
            ).fetchall()
            assert tuple(row[0] for row in rows) == batch.agents
            assert rows[0][1:] == pytest.approx((batch.cost, batch.quality), rel=1e-12)
        best = router.route_batch(texts, "quality", budget=0.05)
        rows = three.execute(
            "SELECT agent_name FROM tiny_dancer.batch_route(%s, 'quality', budget_remaining := 0.05)", (texts,)
        ).fetchall()
        assert tuple(row[0] for row in rows) == best.agents
    by_one = three.execute("SELECT agent_name FROM tiny_dancer.batch_route('{a,b}', 'balanced')").fetchall()
    assert by_one == [(one(three, "SELECT (tiny_dancer.route('a')).agent_name"),)] * 2
    with refused("TD007", "optimize_for: cheapest", "total_cost"):
        three.execute("SELECT * FROM tiny_dancer.batch_route('{a}', 'cheapest')")
    with refused("TD008", "budget_remaining: 0.000001 USD"):
        three.execute("SELECT * FROM tiny_dancer.batch_route('{a}', budget_remaining := 0.000001)")
    with refused("TD007", "capacities: 'nobody'", "clerk"):
        three.execute("SELECT * FROM tiny_dancer.batch_route('{a}', capacities := '{\"nobody\": 1}')")
    assert three.execute("SELECT * FROM tiny_dancer.batch_route('{}')").fetchall() == []


# The calls of ruvector's users


def test_the_documented_calls_of_ruvector(db: Connection) -> None:
    """As its users write them: names of arguments with :=, no schema, rows by their columns."""
    db.execute("SET search_path = public, tiny_dancer")
    db.execute(
        """SELECT ruvector_register_agent(name := 'gpt-4', agent_type := 'llm',
            capabilities := ARRAY['reasoning', 'code', 'analysis', 'creative'], cost_per_1k_tokens := 0.03,
            avg_latency_ms := 2500, quality_score := 0.95,
            metadata := '{"provider": "openai", "context_window": 128000}')"""
    )
    db.execute(
        """SELECT ruvector_register_agent(name := 'claude-3-haiku', agent_type := 'llm',
            capabilities := ARRAY['fast-response', 'simple-tasks', 'classification'],
            cost_per_1k_tokens := 0.00025, avg_latency_ms := 400, quality_score := 0.80,
            metadata := '{"provider": "anthropic", "context_window": 200000}')"""
    )
    db.execute(
        """SELECT ruvector_register_agent(name := 'code-specialist', agent_type := 'tool',
            capabilities := ARRAY['code-execution', 'debugging', 'testing'], cost_per_call := 0.001,
            avg_latency_ms := 100, quality_score := 0.90)"""
    )
    listed = db.execute(
        "SELECT name, agent_type, capabilities, avg_latency_ms, quality_score, success_rate, "
        "total_requests, is_active "
        "FROM ruvector_list_agents()"
    ).fetchall()
    assert listed[2] == ("gpt-4", "llm", ["reasoning", "code", "analysis", "creative"], 2500, 0.95, 1, 0, True)
    assert one(db, "SELECT metadata ->> 'provider' FROM ruvector_list_agents() WHERE name = 'gpt-4'") == "openai"
    cheap = db.execute(
        "SELECT agent_name, confidence, estimated_cost, estimated_latency FROM ruvector_route("
        "request := 'Write a Python function to calculate Fibonacci numbers', optimize_for := 'cost')"
    ).fetchone()
    assert cheap == ("claude-3-haiku", 1, pytest.approx(0.0000675, rel=0.02), 400)
    bound = db.execute(
        "SELECT agent_name, reason FROM ruvector_route(request := 'Analyze this complex legal document', "
        "required_capabilities := ARRAY['reasoning', 'analysis'], max_cost := 0.10, max_latency_ms := 5000, "
        "min_quality := 0.70)"
    ).fetchone()
    assert bound is not None
    assert bound[0] == "gpt-4"
    assert "2 of 3 removed" in bound[1]
    # A declaration alone is worth five outcomes: nobody surely reaches .9.
    with refused("TD008", "min_quality removed claude-3-haiku, code-specialist, gpt-4", "relax"):
        db.execute("SELECT * FROM ruvector_route(request := 'Analyze this', min_quality := 0.90)")
    steps = db.execute(
        "SELECT agent_name, confidence, estimated_cost, estimated_latency, reason FROM ruvector_route_multi("
        "request := 'Build and deploy a web application', num_agents := 3, strategy := 'pipeline')"
    ).fetchall()
    assert 1 <= len(steps) <= 3
    assert "capabilities by likeness to the request" in steps[0][4]
    together = db.execute("SELECT agent_name FROM ruvector_route_multi('Build it', 2, 'ensemble')").fetchall()
    assert len(together) == 2
    with refused("TD007", "strategy: chain", "use pipeline, parallel or ensemble"):
        db.execute("SELECT * FROM ruvector_route_multi('Build it', 2, 'chain')")
    db.execute(
        """SELECT ruvector_create_route(name := 'customer_support',
            description := 'Handle customer support inquiries, complaints, and feedback',
            embedding := ruvector_embed('Customer support: a password, an account, a complaint'),
            target_agent := 'support-agent', priority := 1)"""
    )
    db.execute(
        """SELECT ruvector_create_route(name := 'technical_docs',
            description := 'Answer questions about technical documentation and APIs',
            target_agent := 'docs-agent', priority := 2)"""
    )
    routes = db.execute(
        "SELECT route_name, similarity, target_agent, confidence FROM ruvector_semantic_route("
        "query := 'How do I reset my account password?', top_k := 3)"
    ).fetchall()
    assert [row[0] for row in routes] == ["customer_support", "technical_docs"]
    assert routes[0][2] == "support-agent"
    assert routes[0][1] > 0.3
    assert sum(row[3] for row in routes) == pytest.approx(1)
    budgeted = db.execute(
        "SELECT * FROM ruvector_route(request := 'Summarize this article', budget_remaining := 10.00, "
        "optimize_for := 'quality_per_dollar')"
    ).fetchone()
    assert budgeted is not None
    assert budgeted[0] == "claude-3-haiku"
    batch = db.execute(
        "SELECT request_index, agent_name, estimated_cost FROM ruvector_batch_route(requests := "
        "ARRAY['Simple question 1', 'Complex analysis task', 'Code generation request'], optimize_for "
        ":= 'total_cost')"
    ).fetchall()
    assert [row[:2] for row in batch] == [(1, "claude-3-haiku"), (2, "claude-3-haiku"), (3, "claude-3-haiku")]
    db.execute("CREATE TABLE pending_requests (request_id int, content text)")
    db.execute(
        "INSERT INTO pending_requests VALUES (1, 'Write a Python function that adds two numbers'), (2, NULL)"
    )
    classified = db.execute(
        "SELECT request_id, ruvector_classify_request(content) AS classification FROM pending_requests ORDER BY 1"
    ).fetchall()
    assert classified[0][1]["top_category"] == "code_generation"
    assert classified[0][1]["classifications"][0][0] == "code_generation"
    assert 0.9 < classified[0][1]["confidence"] <= 1
    assert classified[1] == (2, None)
    assert len(one(db, "SELECT ruvector_embed('Hello, world!')")) == 256
    with refused("TD013", "look_back: 30 days", "record_outcome"):
        db.execute("SELECT * FROM ruvector_optimize_budget(monthly_budget := 100.00)")
    for _ in range(3):
        db.execute(
            "SELECT record_outcome('gpt-4', quality := 1, cost := .03, latency_ms := 2500, input_tokens := 500, "
            "output_tokens := 500)"
        )
    db.execute("SELECT record_outcome('claude-3-haiku', success := false, latency_ms := 400)")
    assert db.execute(
        "SELECT agent, total_requests, total_cost, avg_latency, success_rate FROM ruvector_routing_analytics("
        "time_range := '7 days', group_by := 'agent')"
    ).fetchall() == [("gpt-4", 3, pytest.approx(0.09), 2500, 1), ("claude-3-haiku", 1, 0, 400, 0)]
    plan = db.execute(
        "SELECT agent_name, allocated_budget, share, sufficient FROM ruvector_optimize_budget("
        "monthly_budget := 100.00, quality_threshold := 0.85, latency_threshold_ms := 2000)"
    ).fetchall()
    assert sum(row[2] for row in plan) == pytest.approx(1)
    assert sum(row[1] for row in plan) <= 100
    assert {row[0]: row[2] for row in plan}["gpt-4"] == 0  # 2,500 ms


# What a backend keeps


def test_a_transaction_sees_its_own_agents_and_a_rollback_takes_them_back(three: Connection) -> None:
    assert agent(three) == "clerk"
    three.execute("BEGIN")
    three.execute("SELECT tiny_dancer.register_agent('best', quality_score := 1)")
    assert agent(three) == "best"
    three.execute("SAVEPOINT one")
    three.execute("SELECT tiny_dancer.register_agent('god', quality_score := 1, cost_per_call := 0)")
    assert agent(three) == "god"
    three.execute("ROLLBACK TO one")
    assert agent(three) == "best"
    three.execute("SAVEPOINT two")
    three.execute("SELECT tiny_dancer.set_agent_active('best', false)")
    assert agent(three) == "clerk"
    three.execute("RELEASE two")
    assert agent(three) == "clerk"
    three.execute("ROLLBACK")
    assert agent(three) == "clerk"
    # The next writer may get the same place and count of changes as what was taken back.
    three.execute("SELECT tiny_dancer.register_agent('other', quality_score := 1)")
    assert agent(three) == "other"
    three.execute("DELETE FROM tiny_dancer.agent WHERE name = 'other'")
    assert agent(three) == "clerk"
    three.execute("TRUNCATE tiny_dancer.agent")
    with refused("TD008", "agents: no agents", "add agents"):
        agent(three)


def test_a_block_that_catches_an_error_takes_its_agents_back(three: Connection) -> None:
    three.execute(
        """CREATE FUNCTION tried() RETURNS text[] LANGUAGE plpgsql AS $$
        DECLARE
            within text;
            outside text;
        BEGIN
            BEGIN
                PERFORM tiny_dancer.register_agent('best', quality_score := 1);
                within := (tiny_dancer.route('x', 'quality')).agent_name;
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN
                outside := (tiny_dancer.route('x', 'quality')).agent_name;
            END;
            RETURN ARRAY[within, outside, (tiny_dancer.route('x', 'quality')).agent_name];
        END $$"""
    )
    assert one(three, "SELECT tried()") == ["best", "clerk", "clerk"]


def test_other_sessions_see_agents_when_they_are_committed(url: str, three: Connection) -> None:
    with connected(url) as other:
        assert agent(other) == "clerk"
        three.execute("BEGIN")
        three.execute("SELECT tiny_dancer.register_agent('best', quality_score := 1)")
        assert agent(three) == "best"
        assert agent(other) == "clerk"
        three.execute("COMMIT")
        assert agent(other) == "best"
        # One moment throughout: what is deleted meanwhile is chosen still, and no more after.
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert agent(other) == "best"
        three.execute("SELECT tiny_dancer.remove_agent('best')")
        assert agent(three) == "clerk"
        assert agent(other) == "best"
        other.execute("COMMIT")
        assert agent(other) == "clerk"
        three.execute("SELECT tiny_dancer.observe_agent('clerk', quality := 0) FROM generate_series(1, 50)")
        assert agent(other) == "large"


def test_a_cursor_keeps_its_moment(three: Connection) -> None:
    three.execute("BEGIN")
    three.execute(
        "DECLARE found CURSOR FOR SELECT (tiny_dancer.route('x' || n, 'quality')).agent_name FROM "
        "generate_series(1, 4) AS n"
    )
    assert one(three, "FETCH found") == "clerk"
    three.execute("SELECT tiny_dancer.register_agent('best', quality_score := 1)")
    assert agent(three) == "best"
    assert one(three, "FETCH found") == "clerk"
    assert agent(three) == "best"
    three.execute("ROLLBACK")


def test_a_read_only_and_a_serializable_transaction_route(url: str, three: Connection) -> None:
    three.execute("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")
    assert agent(three) == "clerk"
    assert len(three.execute("SELECT * FROM tiny_dancer.list_agents()").fetchall()) == 3
    with pytest.raises(errors.ReadOnlySqlTransaction):
        three.execute("SELECT tiny_dancer.register_agent('more')")
    three.execute("ROLLBACK")
    # Of two that choose by what both may change, one has to try again.
    with connected(url) as other:
        for each in (three, other):
            each.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
            assert agent(each) == "clerk"
        three.execute("SELECT tiny_dancer.set_agent_active('clerk', false)")
        three.execute("COMMIT")
        with pytest.raises(errors.SerializationFailure):
            other.execute("SELECT tiny_dancer.set_agent_active('large', false)")
        other.execute("ROLLBACK")


def test_many_sessions_register_and_route_at_once(url: str, three: Connection) -> None:
    wrong: list[object] = []

    def work(seat: int) -> None:
        chance = random.Random(seat)
        try:
            with connected(url) as db:
                for turn in range(25):
                    best = f"{seat}/{turn}"
                    db.execute(
                        "SELECT tiny_dancer.register_agent(%s, quality_score := 1, cost_per_call := 0)", (best,)
                    )
                    if chance.random() < 0.5:
                        db.execute("SELECT tiny_dancer.observe_agent('small', quality := .5)")
                    chosen = agent(db)
                    if chosen in ("small", "large", "clerk"):
                        wrong.append(chosen)
                    if not one(db, "SELECT tiny_dancer.remove_agent(%s)", best):
                        wrong.append(best)
        except psycopg.Error as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seat,)) for seat in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert one(three, "SELECT count(*) FROM tiny_dancer.agent") == 3
    assert agent(three) == "clerk"


def test_workers_of_a_parallel_query_choose_as_one_process_does(three: Connection) -> None:
    three.execute(
        "CREATE TABLE asked AS SELECT n, repeat('word ', n % 50) AS text FROM generate_series(1, 4000) AS n"
    )
    three.execute("ANALYZE asked")
    query = "SELECT sum(n), (tiny_dancer.route(text, 'balanced')).agent_name FROM asked GROUP BY 2 ORDER BY 2"
    three.execute("SET max_parallel_workers_per_gather = 0")
    alone = three.execute(query).fetchall()
    for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        three.execute(f"SET {setting} = 0")
    three.execute("SET max_parallel_workers_per_gather = 2")
    plan = "\n".join(
        row[0] for row in three.execute(f"EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) {query}").fetchall()
    )
    assert "Workers Launched: 2" in plan
    assert three.execute(query).fetchall() == alone


# Who may see whom


@pytest.fixture
def tenants(three: Connection) -> Iterator[Connection]:
    """Roles ann and bob, who may see the agents that their names or a setting allow."""
    drop = "DROP OWNED BY ann, bob; DROP ROLE ann, bob"
    three.execute("DROP ROLE IF EXISTS ann, bob")
    three.execute("CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN")
    three.execute("GRANT USAGE ON SCHEMA tiny_dancer TO ann, bob; GRANT SELECT ON tiny_dancer.agent TO ann, bob")
    three.execute("ALTER TABLE tiny_dancer.agent ENABLE ROW LEVEL SECURITY")
    three.execute(
        "CREATE POLICY own ON tiny_dancer.agent USING (declared -> 'metadata' ->> 'owner' IN "
        "(current_user, current_setting('app.tenant', true)))"
    )
    for owner in ("ann", "bob"):
        three.execute(
            "SELECT tiny_dancer.declare_agent(%s)",
            (
                json.dumps(
                    {
                        "name": f"{owner}'s",
                        "quality": 0.9,
                        "capabilities": [f"{owner}_only"],
                        "metadata": {"owner": owner},
                    }
                ),
            ),
        )
    yield three
    three.execute(drop)


def test_policies_hold_also_for_what_a_backend_keeps(url: str, tenants: Connection) -> None:
    # One connection that takes one role after the other, as pools do.
    assert agent(tenants) == "clerk"
    for _ in range(2):
        for owner in ("ann", "bob"):
            tenants.execute(f"SET ROLE {owner}")
            assert agent(tenants) == f"{owner}'s"
            assert [
                row[0] for row in tenants.execute("SELECT agent_name FROM tiny_dancer.compare_agents('x')")
            ] == [f"{owner}'s"]
            assert [row[0] for row in tenants.execute("SELECT name FROM tiny_dancer.list_agents()")] == [
                f"{owner}'s"
            ]
    # Neither an agent of another nor what it can do is named.
    tenants.execute("SET ROLE ann")
    with refused("TD007", "'bob_onl'", "'ann_only'"):
        tenants.execute("SELECT tiny_dancer.route('x', required_capabilities := '{bob_onl}')")
    with refused("TD007", "'bob''s'".replace("''", "'"), "ann's"):
        tenants.execute("SELECT tiny_dancer.route('x', options := '{\"excluded\": [\"bob''s\"]}')")
    tenants.execute("RESET ROLE")
    assert agent(tenants) == "clerk"
    # A setting that changes within one statement, under one snapshot.
    tenants.execute("SET ROLE ann")
    rows = tenants.execute(
        "SELECT set_config('app.tenant', who, false), (tiny_dancer.route('x', 'quality', options := "
        "json_build_object('excluded', ARRAY[]::text[])::jsonb)).agent_name, "
        "ARRAY(SELECT agent_name FROM tiny_dancer.compare_agents(who)) FROM (VALUES ('bob'), "
        "('nobody')) AS asked (who)"
    ).fetchall()
    assert [row[2] for row in rows] == [["ann's", "bob's"], ["ann's"]]
    # Whose function it is, not who calls it.
    tenants.execute("RESET ROLE; RESET app.tenant")
    tenants.execute(
        "CREATE FUNCTION of_owner() RETURNS text LANGUAGE sql SECURITY DEFINER AS "
        "$$ SELECT (tiny_dancer.route('x', 'quality')).agent_name $$"
    )
    with connected(url, user="bob") as bob:
        assert bob.execute(
            "SELECT (tiny_dancer.route('x', 'quality')).agent_name, of_owner(), "
            "(tiny_dancer.route('y', 'quality')).agent_name"
        ).fetchone() == ("bob's", "clerk", "bob's")
        with pytest.raises(errors.InsufficientPrivilege):
            bob.execute("SELECT tiny_dancer.register_agent('mine')")
        tenants.execute("REVOKE SELECT ON tiny_dancer.agent FROM bob")
        with pytest.raises(errors.InsufficientPrivilege):
            agent(bob)
        tenants.execute("GRANT SELECT ON tiny_dancer.agent TO bob")
        assert agent(bob) == "bob's"
        tenants.execute("DROP POLICY own ON tiny_dancer.agent")
        with refused("TD008", "agents: no agents"):
            agent(bob)


def test_a_statement_that_was_prepared_and_a_policy_that_routes(url: str, tenants: Connection) -> None:
    with connected(url, user="ann") as ann:
        ann.execute("PREPARE chosen AS SELECT (tiny_dancer.route('x', 'quality')).agent_name")
        for _ in range(7):  # also by a generic plan
            assert one(ann, "EXECUTE chosen") == "ann's"
        tenants.execute(
            "DROP POLICY own ON tiny_dancer.agent; CREATE POLICY own ON tiny_dancer.agent USING (name = 'small')"
        )
        assert one(ann, "EXECUTE chosen") == "small"
        ann.execute("SET row_security = off")
        with pytest.raises(errors.InsufficientPrivilege):
            ann.execute("EXECUTE chosen")
        ann.execute("RESET row_security")
        # Asking the registry while the registry is read.
        tenants.execute(
            "CREATE FUNCTION best(name text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS "
            "$$ BEGIN RETURN name = (tiny_dancer.route('x', 'quality')).agent_name; END $$"
        )
        tenants.execute(
            "DROP POLICY own ON tiny_dancer.agent; CREATE POLICY own ON tiny_dancer.agent USING (best(name))"
        )
        for _ in range(2):
            assert one(ann, "EXECUTE chosen") == "clerk"
        assert agent(tenants) == "clerk"


def test_policies_hold_for_routes_by_likeness(tenants: Connection) -> None:
    for owner in ("ann", "bob"):
        tenants.execute("SELECT tiny_dancer.create_route(%s, 'anything at all', NULL, %s)", (owner, owner))
    tenants.execute("ALTER TABLE tiny_dancer.semantic_route ENABLE ROW LEVEL SECURITY")
    tenants.execute("CREATE POLICY own ON tiny_dancer.semantic_route USING (name = current_user)")
    tenants.execute("GRANT SELECT ON tiny_dancer.semantic_route TO ann, bob")
    asked = "SELECT route_name, confidence FROM tiny_dancer.semantic_route('anything')"
    assert len(tenants.execute(asked).fetchall()) == 2
    for owner in ("ann", "bob", "ann"):
        tenants.execute(f"SET ROLE {owner}")
        assert tenants.execute(asked).fetchall() == [(owner, 1)]
    tenants.execute("RESET ROLE")


# What is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "detail", "hint"),
    [
        ("'x', 'fast'", "TD007", "optimize_for: fast", "cost, latency, quality, balanced, quality_per_dollar"),
        ("'x', max_cost := -1", "TD007", "max_cost: -1", "0 or more"),
        ("'x', max_cost := 'NaN'", "TD007", "max_cost: NaN", "0 or more"),
        ("'x', max_latency_ms := 0", "TD007", "max_latency_ms: 0", "above 0"),
        ("'x', max_latency_ms := 'NaN'", "TD007", "max_latency_ms: NaN", "above 0"),
        ("'x', min_quality := 1.5", "TD007", "min_quality: 1.5", "from 0 to 1"),
        ("'x', min_quality := 'NaN'", "TD007", "min_quality: NaN", "from 0 to 1"),
        ("'x', budget_remaining := '-Infinity'", "TD007", "budget_remaining: -inf", "0 or more"),
        ("'x', required_capabilities := '{cod}'", "TD007", "required_capabilities: 'cod'", "'code'"),
        ("'x', required_capabilities := '{code,NULL}'", "22023", "required_capabilities[2]: null", "a null"),
        ("'x', min_quality := .99", "TD008", "min_quality removed clerk, large, small", "relax"),
        ("'x', max_cost := 0", "TD008", "max_cost removed", "relax"),
        ("'x', options := '{\"tag\": []}'", "TD007", "options: unknown field `tag`", "an object of options"),
        ("'x', options := '[]'", "TD007", "options: ", "an object of options"),
        ("'x', options := 'null'", "TD007", "options: ", "an object of options"),
        ("'x', options := '{\"qualities\": {\"nobody\": 1}}'", "TD007", "qualities: 'nobody'", "the nearest"),
        ("'x', options := '{\"input_tokens\": 1e400}'", "TD007", "options: ", "an object of options"),
        ("'x', 'weights', options := '{\"weights\": {\"quality\": 0, \"cost\": 0, \"latency\": "
"0}}'", "TD007", "weights: all 0", "above 0"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_be(three: Connection, arguments: str, sqlstate: str, detail: str, hint: str) -> None:
    with refused(sqlstate, detail, hint):
        three.execute(f"SELECT tiny_dancer.route({arguments})")  # type: ignore[arg-type]


def test_null_says_nothing_and_of_a_null_request_nothing_is_known(three: Connection) -> None:
    assert three.execute("SELECT (tiny_dancer.route(NULL)).agent_name").fetchone() == (None,)
    plain = three.execute("SELECT tiny_dancer.route('x')").fetchone()
    assert (
        three.execute("SELECT tiny_dancer.route('x', NULL, NULL, NULL, NULL, NULL, NULL, NULL)").fetchone()
        == plain
    )
    assert three.execute("SELECT tiny_dancer.route('x', NULL, '{}', 'Infinity')").fetchone() == plain
    assert three.execute("SELECT * FROM tiny_dancer.batch_route(NULL)").fetchall() == []
    with refused("22023", "requests[1]: null"):
        three.execute("SELECT * FROM tiny_dancer.batch_route('{NULL}')")
    assert agent(three, ', options := \'{"excluded": ["clerk"]}\'') == "large"


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "detail"),
    [
        ("NULL", "22004", "name"),
        ("''", "TD009", "name: empty"),
        ("'a', 'vision'", "TD009", "unknown variant `vision`, expected one of `llm`, `tool`, `api`, `human`, "
"`ensemble`"),
        ("'a', 'ensemble'", "TD009", "members of agent 'a': 0 of a ensemble"),
        ("'a', 'llm', '{code,NULL}'", "22004", "capabilities: a null among them"),
        ("'a', 'llm', '{\"\"}'", "TD009", "capabilities: an empty one"),
        ("'a', 'llm', '{{a,b},{c,d}}'", "TD009", "agent: invalid type: sequence"),
        ("'a', 'llm', '{}', 'NaN'", "22003", "cost_per_1k_tokens: NaN"),
        ("'a', 'llm', '{}', -1", "22003", "cost_per_1k_tokens: -1"),
        ("'a', 'llm', '{}', NULL, 'Infinity'", "22003", "cost_per_call: Infinity"),
        ("'a', 'llm', '{}', NULL, 1e300", "TD009", "prices of agent 'a'"),
        ("'a', 'llm', '{}', NULL, NULL, 0", "TD009", "latency of agent 'a': 0"),
        ("'a', 'llm', '{}', NULL, NULL, NULL, 1.01", "TD009", "quality of agent 'a': 1.01"),
        ("'a', metadata := '[1]'", "TD009", "metadata: invalid type: sequence"),
        ("'a', metadata := '\"text\"'", "TD009", "metadata: invalid type: string"),
        ("'small'", "23505", "name: small"),
    ],
)  # fmt: skip
def test_an_agent_that_cannot_be(three: Connection, arguments: str, sqlstate: str, detail: str) -> None:
    with refused(sqlstate, detail):
        three.execute(f"SELECT tiny_dancer.register_agent({arguments})")  # type: ignore[arg-type]
    assert one(three, "SELECT count(*) FROM tiny_dancer.agent") == 3


def test_metadata_is_kept_as_it_was_given(url: str, db: Connection) -> None:
    for given in (None, "null", "{}"):
        db.execute("SELECT tiny_dancer.register_agent('a', metadata := %s, replace := true)", (given,))
        assert one(db, "SELECT metadata::text FROM tiny_dancer.list_agents()") == "{}"
    long = '{"n": 12345678901234567890.123456789012345678, "x": 1e400}'
    db.execute(
        "SELECT tiny_dancer.register_agent('a', metadata := %s, replace := true)",
        (long.replace("1e400", "1e300"),),
    )
    assert one(
        db, "SELECT metadata -> 'n' = '12345678901234567890.123456789012345678' FROM tiny_dancer.list_agents()"
    )
    with refused("TD009", "metadata: "):
        db.execute("SELECT tiny_dancer.register_agent('a', metadata := %s, replace := true)", (long,))
    deep = '{"a":' * 200 + "1" + "}" * 200
    with refused("TD009", "metadata: recursion limit"):
        db.execute("SELECT tiny_dancer.register_agent('a', metadata := %s, replace := true)", (deep,))
    with PostgresStorage(url) as storage:
        assert [each.agent.name for each in storage.agents()] == ["a"]


def test_names_are_any_text(db: Connection) -> None:
    names = ["'; DROP TABLE tiny_dancer.agent; --", '"', "\\", "%s {0} $1", "ä猫\u202e🜁", "line\nbreak", "x" * 600]
    for each in names:
        db.execute(
            "SELECT tiny_dancer.register_agent(%s, capabilities := %s, quality_score := .5)", (each, [each])
        )
    for each in names:
        assert one(db, "SELECT (tiny_dancer.route('x', required_capabilities := %s)).agent_name", [each]) == each
        assert one(db, "SELECT tiny_dancer.agent(%s) ->> 'name'", each) == each
    assert [row[0] for row in db.execute("SELECT name FROM tiny_dancer.list_agents()")] == sorted(names)
    # An entry of an index holds no more, where it cannot be compressed.
    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2_601))
    db.execute("SELECT tiny_dancer.register_agent(%s)", (noise[1:],))
    with refused("22001", f"name: {noise[:20]}… (2601 bytes)", "at most 2,600 bytes"):
        db.execute("SELECT tiny_dancer.register_agent(%s)", (noise,))
    assert one(db, "SELECT tiny_dancer.agent('nobody')") is None
    assert one(db, "SELECT tiny_dancer.remove_agent('nobody')") is False
    assert one(db, "SELECT tiny_dancer.set_agent_active('nobody', true)") is False
    with refused("TD009", "agent: nobody", "register it first"):
        db.execute("SELECT tiny_dancer.observe_agent('nobody')")


def test_repeated_requests_are_told_apart_without_their_texts(three: Connection) -> None:
    texts = ("Sum this up: ä🜁", "Sum this up: ä🜁", "something else")
    decided = [one(three, "SELECT decision_id FROM tiny_dancer.route_recorded(%s)", each) for each in texts]
    for each in decided:
        three.execute("SELECT tiny_dancer.record_outcome(agent_name, %s) FROM tiny_dancer.route('x')", (each,))
    hashes = [hash_query(each) for each in texts]
    for table in ("routing", "request"):
        query = f"SELECT decision_id, query_hash, query_text FROM tiny_dancer.{table}"
        found = {row[0]: row[1:] for row in three.execute(query.encode()).fetchall()}
        assert [found[each] for each in decided] == [(each, None) for each in hashes]
    assert one(three, "SELECT tiny_dancer.query_hash('')") == hash_query("")


def test_a_row_that_is_no_agent_is_named_and_nobody_chosen(three: Connection) -> None:
    three.execute('INSERT INTO tiny_dancer.agent VALUES (\'odd\', \'{"name": "odd", "quality": 7}\', NULL, 0)')
    with refused("TD009", "quality of agent 'odd': 7"):
        agent(three)
    three.execute(
        'UPDATE tiny_dancer.agent SET declared = \'{"name": "odd"}\', state = \'{"at": "x"}\' WHERE name = \'odd\''
    )
    with refused("TD009", "state of agent 'odd'"):
        agent(three)
    three.execute("DELETE FROM tiny_dancer.agent WHERE name = 'odd'")
    assert agent(three) == "clerk"


def test_ensembles_ask_agents_that_are_there_and_not_themselves(url: str, three: Connection) -> None:
    def team(name: str, *members: str, replace: bool = False) -> tuple[str, tuple[str, bool]]:
        declared = json.dumps({"name": name, "type": "ensemble", "members": members})
        return "SELECT tiny_dancer.declare_agent(%s, %s)", (declared, replace)

    with refused("TD009", "members of agent 'team': 'smal'", "small"):
        three.execute(*team("team", "smal", "large"))
    assert one(three, "SELECT count(*) FROM tiny_dancer.agent") == 3
    three.execute(*team("team", "small", "large"))
    three.execute(*team("teams", "team", "clerk"))
    with refused("TD009", "members: "):
        three.execute(*team("team", "teams", replace=True))
    with refused("TD009", "members of agent 'team': 'small'"):
        three.execute("SELECT tiny_dancer.remove_agent('small')")
    assert one(three, "SELECT tiny_dancer.remove_agent('teams')")
    # Two sessions that would close a circle together: one of them is refused.
    with connected(url) as other:
        three.execute(*team("other", "small"))
        three.execute("BEGIN")
        three.execute(*team("team", "other", replace=True))
        caught: list[psycopg.Error] = []

        def close() -> None:
            try:
                other.execute(*team("other", "team", replace=True))
            except psycopg.Error as error:
                caught.append(error)

        closing = threading.Thread(target=close)
        closing.start()
        while not one(three, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
        three.execute("COMMIT")
        closing.join()
        assert [each.sqlstate for each in caught] == ["TD009"]


# Routes by likeness


def test_routes_are_compared_with_vectors_of_their_encoder(db: Connection) -> None:
    assert db.execute("SELECT * FROM tiny_dancer.semantic_route('anything')").fetchall() == []
    for name_, text in (("refund", "I want my money back"), ("weather", "will it rain tomorrow")):
        db.execute("SELECT tiny_dancer.create_route(%s, %s, NULL, 'agent')", (name_, text))
    found = db.execute(
        "SELECT route_name, similarity FROM tiny_dancer.semantic_route('give me my money back', 1)"
    ).fetchall()
    assert [row[0] for row in found] == ["refund"]
    assert 0.5 < found[0][1] <= 1
    with refused("23505", "name: refund", "replace := true"):
        db.execute("SELECT tiny_dancer.create_route('refund', 'x', NULL, 'agent')")
    assert one(db, "SELECT tiny_dancer.create_route('refund', 'will it snow', NULL, 'agent', replace := true)")
    assert one(db, "SELECT route_name FROM tiny_dancer.semantic_route('will it snow', 1)") == "refund"
    assert one(db, "SELECT tiny_dancer.drop_route('refund')")
    assert not one(db, "SELECT tiny_dancer.drop_route('refund')")
    db.execute("SELECT tiny_dancer.create_route('far', '', '{1,0}', 'agent')")
    with refused("TD007", "embedding of route 'far': 2 numbers, the request has 256", "one encoder"):
        db.execute("SELECT * FROM tiny_dancer.semantic_route('anything')")
    db.execute("SELECT tiny_dancer.drop_route('weather')")
    db.execute("SELECT tiny_dancer.create_route('near', '', '{0,2}', 'agent', 1)")
    db.execute("SELECT tiny_dancer.create_route('nearer', '', '{0,3}', 'agent', 2)")
    rows = db.execute("SELECT route_name, similarity FROM tiny_dancer.semantic_route('{0,1}'::real[])").fetchall()
    assert rows == [("nearer", 1), ("near", 1), ("far", 0)]
    for vector in ("{}", "{0,0}", "{NaN,1}", "{NULL,1}", "{Infinity,0}"):
        with refused("22023" if "NULL" in vector else "TD007", "embedding"):
            db.execute("SELECT tiny_dancer.create_route('bad', '', %s, 'agent')", (vector,))
        with refused("TD007", "embedding"):
            db.execute("SELECT * FROM tiny_dancer.semantic_route(%s::real[])", (vector,))
    with refused("22004", "target_agent: empty"):
        db.execute("SELECT tiny_dancer.create_route('bad', 'text')")
    with refused("22004", "description: empty"):
        db.execute("SELECT tiny_dancer.create_route('bad', NULL, NULL, 'agent')")
    with refused("TD007", "top_k: 0"):
        db.execute("SELECT * FROM tiny_dancer.semantic_route('x', 0)")


# As an extension


def test_an_owner_of_a_database_has_it_without_being_superuser(db: Connection) -> None:
    server = extended()
    for each in ("DROP DATABASE IF EXISTS owned", "DROP ROLE IF EXISTS owner", "CREATE ROLE owner LOGIN"):
        server.sql(each)
    server.sql("CREATE DATABASE owned OWNER owner")
    with connected(server.url("owned", user="owner")) as owner:
        owner.execute("CREATE EXTENSION tiny_dancer")
        for each in THREE:
            owner.execute(each)
        assert agent(owner) == "clerk"
        owner.execute("SELECT tiny_dancer.create_route('r', 'text', NULL, 'small')")
        owner.execute("SELECT tiny_dancer.set_budget('all', '', 1)")
        hold = one(owner, "SELECT hold FROM tiny_dancer.reserve_budget(.5)")
        owner.execute("SELECT tiny_dancer.record_outcome('small', cost := .25, quality := 1, hold := %s)", (hold,))
        assert owner.execute("SELECT spent, remaining FROM tiny_dancer.budget_status()").fetchone() == (
            pytest.approx(0.25),
            pytest.approx(0.75),
        )
        owner.execute("SELECT * FROM tiny_dancer.route_recorded('x', 'quality')")
        assert len(owner.execute("SELECT * FROM tiny_dancer.routing_analytics()").fetchall()) == 1
    server.sql("DROP DATABASE owned WITH (FORCE)")
    server.sql("DROP ROLE owner")


def test_a_dump_has_the_registry_and_another_database_has_not(url: str, three: Connection) -> None:
    server = extended()
    three.execute("SELECT tiny_dancer.observe_agent('small', quality := .25)")
    three.execute("SELECT tiny_dancer.create_route('r', 'text', NULL, 'small')")
    three.execute("SELECT tiny_dancer.set_budget('all', '', 1)")
    hold = one(three, "SELECT hold FROM tiny_dancer.reserve_budget(.25)")
    decided = "SELECT decision_id FROM tiny_dancer.route_recorded('x')"
    three.execute("SELECT tiny_dancer.record_outcome('small', %s, quality := .5)", (one(three, decided),))
    there = server.database()
    dumped = server.folder / "registry.sql"
    arguments = ("--host", str(server.folder), "--username=postgres", "--dbname")
    server.program("pg_dump", *arguments, name(url), "--file", str(dumped))
    server.program("psql", *arguments, name(there), "--quiet", "--set=ON_ERROR_STOP=1", "--file", str(dumped))
    with connected(there) as restored:
        assert agent(restored) == "clerk"
        tables = (
            "agent",
            "semantic_route",
            "budget",
            "budget_spending",
            "budget_hold",
            "routing",
            "request",
            "feedback",
        )
        for table in tables:
            rows = f"SELECT json_agg(each ORDER BY each::text)::text FROM tiny_dancer.{table} AS each"
            assert one(restored, rows) == one(three, rows)
        restored.execute("SELECT tiny_dancer.settle_budget(%s, .1)", (hold,))
        restored.execute(
            "SELECT tiny_dancer.record_outcome('small', %s, quality := .5)", (one(restored, decided),)
        )
        restored.execute("SELECT tiny_dancer.remove_agent('clerk')")
        assert agent(restored) == "large"
        assert agent(three) == "clerk"
        restored.execute("DROP EXTENSION tiny_dancer")
        restored.execute("CREATE EXTENSION tiny_dancer")
        with refused("TD008", "no agents"):
            agent(restored)


def test_an_extension_that_is_rolled_back_and_made_anew(url: str) -> None:
    empty = extended().database()
    with connected(empty) as db:
        for end in ("ROLLBACK", "COMMIT"):
            db.execute("BEGIN")
            db.execute("CREATE EXTENSION tiny_dancer")
            db.execute("SELECT tiny_dancer.register_agent('a', quality_score := .5)")
            assert agent(db) == "a"
            db.execute(end)
        db.execute("BEGIN")
        db.execute("DROP EXTENSION tiny_dancer")
        with pytest.raises(errors.UndefinedFunction):
            agent(db)
        db.execute("ROLLBACK")
        assert agent(db) == "a"


def test_a_long_batch_can_be_cancelled(three: Connection) -> None:
    three.execute("SET statement_timeout = '200ms'")
    for asked in (
        "tiny_dancer.batch_route(ARRAY(SELECT repeat('w ', n % 99) FROM generate_series(1, 3000000) AS n))",
        "tiny_dancer.route('x') AS r, generate_series(1, 100000000)",
    ):
        with pytest.raises(errors.QueryCanceled):
            three.execute(f"SELECT count(*) FROM {asked}")  # type: ignore[arg-type]
    three.execute("RESET statement_timeout")
    assert agent(three) == "clerk"


def test_a_database_of_another_encoding(url: str) -> None:
    latin = database("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with connected(latin) as db:
        db.execute("SELECT tiny_dancer.register_agent('ä', capabilities := '{ö}', quality_score := .5)")
        assert one(db, "SELECT (tiny_dancer.route('ü', required_capabilities := '{ö}')).agent_name") == "ä"
        with refused("TD007", "required_capabilities: '\\u{df}'", "'\\u{f6}'"):
            db.execute("SELECT tiny_dancer.route('ü', required_capabilities := '{ß}')")
        with pytest.raises(errors.UntranslatableCharacter):
            db.execute('SELECT tiny_dancer.declare_agent(\'{"name": "\\u732b"}\')')


def test_names_of_others_are_not_taken_for_those_meant(db: Connection) -> None:
    """Functions, operators and tables of a schema in front, and temporary ones, as in attacks on extensions."""
    db.execute("CREATE SCHEMA evil")
    for kind in ("text, text", "double precision, double precision", "name, name", "bigint, bigint"):
        one_, other = kind.split(", ")
        for operator, function in (("=", "is"), ("<", "less"), ("<=", "atmost"), ("||", "joined")):
            gives = "text" if operator == "||" else "boolean"
            db.execute(
                f"CREATE FUNCTION evil.{function}({kind}) RETURNS {gives} LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'evil'; END $$"
            )
            db.execute(
                f"CREATE OPERATOR evil.{operator} (LEFTARG = {one_}, RIGHTARG = {other}, FUNCTION = "
                f"evil.{function})"
            )
    for function in (
        "coalesce_(text)", "lower(text)", "btrim(text)", "round(numeric)", "to_timestamp(double precision)",
        "gen_random_uuid()", "statement_timestamp()", "clock_timestamp()", "json_build_object(VARIADIC \"any\")",
        "jsonb_build_object(VARIADIC \"any\")", "hashtextextended(text, bigint)", "floor(double precision)",
    ):  # fmt: skip
        if '"any"' not in function:
            db.execute(
                f"CREATE FUNCTION evil.{function} RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE "
                f"EXCEPTION 'evil'; END $$"
            )
    for table in ("agent", "budget", "request", "routing", "semantic_route", "budget_spending", "budget_hold"):
        db.execute(f"CREATE TEMP TABLE {table} (name text, declared text)")
        db.execute(f"CREATE TABLE evil.{table} (name text, declared text)")
    db.execute("SET search_path = evil, pg_temp, pg_catalog, tiny_dancer")
    for each in THREE:
        db.execute(each)
    assert agent(db) == "clerk"
    db.execute(
        "SELECT tiny_dancer.observe_agent('small', .5); SELECT tiny_dancer.set_agent_active('clerk', false)"
    )
    assert agent(db) == "large"
    assert len(db.execute("SELECT * FROM tiny_dancer.ruvector_list_agents()").fetchall()) == 3
    db.execute("SELECT tiny_dancer.create_route('r', 'text', NULL, 'small')")
    assert one(db, "SELECT route_name FROM tiny_dancer.semantic_route('text')") == "r"
    db.execute(
        "SELECT tiny_dancer.set_budget('team', 'x', 1, 'month'); SELECT tiny_dancer.set_budget('all', "
        "'', 1, 'rolling 30d')"
    )
    hold = one(db, "SELECT hold FROM tiny_dancer.reserve_budget(.5, team := 'x')")
    assert one(db, "SELECT tiny_dancer.budget_remaining(team := 'x')") == pytest.approx(0.5)
    decision = one(db, "SELECT decision_id FROM tiny_dancer.route_recorded('x')")
    db.execute(
        "SELECT tiny_dancer.record_outcome('small', %s, quality := 1, cost := .1, hold := %s)", (decision, hold)
    )
    assert one(db, "SELECT total_requests FROM tiny_dancer.routing_analytics()") == 1
    assert len(db.execute("SELECT * FROM tiny_dancer.ruvector_optimize_budget(10)").fetchall()) == 3
    assert one(db, "SELECT tiny_dancer.ruvector_classify_request('x')")
    for table in ("agent", "budget", "request"):
        assert (
            one(db, f"SELECT count(*) FROM evil.{table}") == one(db, f"SELECT count(*) FROM pg_temp.{table}") == 0
        )


READS = [
    "agent",
    "list_agents",
    "route",
    "compare_agents",
    "route_multi",
    "batch_route",
    "choose_agent",
    "semantic_route",
    "classify_request",
    "routing_analytics",
    "optimize_budget",
    "allocate_budget",
    "budget_status",
    "budget_remaining",
    "budgets_of",
    "ruvector_list_agents",
    "ruvector_route",
    "ruvector_route_multi",
    "ruvector_embed",
    "ruvector_semantic_route",
    "ruvector_optimize_budget",
    "ruvector_batch_route",
    "ruvector_classify_request",
]
WRITES = [
    "declare_agent",
    "register_agent",
    "remove_agent",
    "set_agent_active",
    "observe_agent",
    "create_route",
    "drop_route",
    "route_recorded",
    "record_outcome",
    "set_budget",
    "delete_budget",
    "reserve_budget",
    "settle_budget",
    "release_budget",
    "ruvector_register_agent",
    "ruvector_create_route",
]
PURE = [
    "checked_agent",
    "choose_among",
    "agent_state_after",
    "mean_after",
    "amount",
    "direction",
    "budget_units",
    "budget_period",
    "budget_span",
    "period_seconds",
    "utc_month",
    "month_start",
]


def test_functions_say_truly_what_they_do(db: Connection) -> None:
    rows = db.execute(
        "SELECT proname, provolatile, proparallel, obj_description(oid, 'pg_proc'), prosecdef, proretset, prorows "
        "FROM pg_proc WHERE pronamespace = 'tiny_dancer'::regnamespace"
    ).fetchall()
    found = {row[0]: row for row in rows}
    for names, label in ((READS, ("s", "s")), (WRITES, ("v", "u")), (PURE, ("i", "s"))):
        for each in names:
            assert found[each][1:3] == label, each
            assert found[each][3], f"{each} has no comment"
    # It reads a length of time that is given as a text, and says what is wrong with one.
    assert found["ruvector_routing_analytics"][1:3] == ("s", "u") and found["ruvector_routing_analytics"][3]
    assert not [row[0] for row in rows if row[4]], "nothing runs with another's rights"
    assert all(row[6] <= 100 for row in rows if row[5])
