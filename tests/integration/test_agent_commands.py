"""The `agents` and `policy` commands, as a user runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, fails

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two models and a person."""
    path = tmp_path / "agents.db"
    usual = ("--database", path)
    done("agents", "add", "small", "--capability", "summarise", "--quality", 0.7, "--input-cost", 0.0001,
         "--output-cost", 0.0004, "--latency-ms", 400, "--p99-ms", 1200, *usual)  # fmt: skip
    done("agents", "add", "large", "--capability", "summarise", "--capability", "code", "--quality", 0.9,
         "--input-cost", 0.003, "--output-cost", 0.015, "--latency-ms", 1500,
         "--region", "eu", *usual)  # fmt: skip
    done("agents", "add", "person", "--type", "human", "--description", "Handles complaints and refunds",
         "--example", "I want my money back", "--quality", 0.97, "--call-cost", 5,
         "--latency-ms", 60000, *usual)  # fmt: skip
    return path


def test_agents_are_added_listed_found_and_deactivated(database: Path) -> None:
    listed = done("agents", "list", "--database", database)
    assert all(name in listed for name in ("small", "large", "person"))
    rows = json.loads(done("agents", "list", "--capability", "code", "--database", database, "--json"))
    assert [row["name"] for row in rows] == ["large"] and rows[0]["latency_s"] == 1.5
    found = json.loads(
        done("agents", "search", "please refund my order", "--k", 1, "--database", database, "--json")
    )
    assert found["considered"] == 3 and found["agents"][0]["name"] == "person"
    assert "person" in done("agents", "search", "please refund my order", "--database", database)
    assert "not active" in done("agents", "deactivate", "person", "--database", database)
    tried = json.loads(done("policy", "try", "x", "--database", database, "--json"))
    assert tried["quality"]["agent"] == "large" and tried["quality"]["removed"] == {"person": "inactive"}
    done("agents", "deactivate", "person", "--activate", "--database", database)
    tried = json.loads(done("policy", "try", "x", "--database", database, "--json"))
    assert {policy: each["agent"] for policy, each in tried.items()} == {
        "cost": "small",
        "latency": "small",
        "quality": "person",
        "balanced": "large",
        "quality_per_dollar": "small",
    }


def test_a_policy_is_tried_with_constraints_and_says_why(database: Path) -> None:
    text = done("policy", "try", "Sum this up", "--max-cost", 0.001, "--database", database)
    assert "large" not in text.split("policy")[0] and "2 of 3 removed" in text
    text = done("policy", "try", "x", "--optimize-for", "balanced", "--capability", "code", "--database", database)
    assert "balanced: quality 0.9000 - 10 * " in text and "nothing else was left" in text
    assert "max_cost removed large" in fails(
        2,
        "policy",
        "try",
        "x",
        "--optimize-for",
        "cost",
        "--capability",
        "code",
        "--max-cost",
        0,
        "--database",
        database,
    )
    tried = json.loads(
        done("policy", "try", "x", "--capability", "code", "--max-cost", 0, "--database", database, "--json")
    )
    assert tried["cost"]["agent"] is None and tried["cost"]["removed"]["large"] == "max_cost"
    assert "'summarise'" in fails(2, "policy", "try", "x", "--capability", "sumarise", "--database", database)


def test_statistics_are_those_of_the_outcomes(database: Path) -> None:
    from tiny_dancer import AgentRegistry, SqliteStorage

    with SqliteStorage(database) as storage:
        registry = AgentRegistry(storage=storage)
        registry.observe("small", quality=1.0, cost=0.002, expected_cost=0.001, latency_ms=500, task="summarise")
        registry.observe("small", success=False)
    one = json.loads(done("agents", "stats", "small", "--database", database, "--json"))
    assert (one["outcomes"], one["quality"], one["cost_ratio"]) == (2, 1.0, 2.0)
    assert one["success_rate"] == pytest.approx(0.5, abs=1e-3) and one["tasks"] == {"summarise": 1.0}
    text = done("agents", "stats", "--database", database)
    assert "summarise 1.000" in text and "person" in text
    assert "'small'" in fails(2, "agents", "stats", "smal", "--database", database)


def test_agents_are_imported_and_written_as_others_read_them(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    card = {
        "name": "Refunds", "description": "Money back", "version": "1.2", "url": "https://x.example",
        "capabilities": {},
        "skills": [{"id": "refund", "name": "Refund", "description": "Pays back", "tags": ["billing"],
                    "examples": ["I want my money back"]}],
    }  # fmt: skip
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert "1 agents" in done("agents", "import", tmp_path / "card.json", "--database", database)
    exported = json.loads(done("agents", "list", "--format", "a2a", "--database", database))
    assert exported[0]["name"] == "Refunds" and exported[0]["skills"][0]["examples"] == ["I want my money back"]
    fails(2, "agents", "import", tmp_path / "card.json", "--database", database)
    done("agents", "import", tmp_path / "card.json", "--replace", "--database", database)
    (tmp_path / "none.json").write_text('{"x": 1}')
    assert "none of the known formats" in fails(
        2, "agents", "import", tmp_path / "none.json", "--database", database
    )
    fails(2, "agents", "list", "--database", tmp_path / "missing.db")
    fails(2, "agents", "add", "a", "--quality", 2, "--database", database)
