"""`tiny-dancer keys`, as a user runs it; and a gateway's access, as it finds what the commands did."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, execute, fails

from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.access.keys import make_key
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_used_listed_and_revoked(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    # The executable itself: standard output must hold the secret and nothing else.
    made = execute(
        "keys", "create", "ada", "--database", database, "--create", "--model", "small", "--daily-budget", 2
    )
    secret = made.stdout.decode().removesuffix("\n")
    assert re.fullmatch(r"td-[A-Za-z0-9_-]{43}", secret)
    assert b"not be shown again" in made.stderr
    assert secret.encode() not in made.stderr
    assert not [each for each in tmp_path.iterdir() if secret[3:].encode() in each.read_bytes()], "kept nowhere"

    with SqliteStorage(database) as storage:
        access = Access(storage, required=True)
        access.refresh()
        caller = access.admit(secret)
        assert caller.models == frozenset({"small"})
        spent = RequestRecord(
            id="1", time=time.time(), endpoint="embeddings", key=caller.id, asked="small", status=200, cost=1.25
        )
        storage.record_requests([spent])

        listed = done("keys", "list", "--database", database)
        assert re.search(rf"{caller.id}\s+ada\s+active\s+never\s+small\s+1.25 of 2\s+1.25", listed)
        (row,) = json.loads(done("keys", "list", "--database", database, "--json"))
        assert row["spent_today"] == row["spent_this_month"] == 1.25
        assert row["daily_budget"] == 2
        for shown in (listed, json.dumps(row)):
            assert secret not in shown
            assert storage.api_keys()[0].secret_hash not in shown

        assert caller.id in done("keys", "revoke", "ada", "--database", database)
        access.refresh()
        with pytest.raises(GatewayError, match="revoked"):
            access.admit(secret)
    assert "revoked" in done("keys", "list", "--database", database)
    assert "was revoked at" in fails(2, "keys", "revoke", "ada", "--database", database)


def test_all_limits_in_json(tmp_path: Path) -> None:
    words = [
        "--requests-per-minute",
        "60",
        "--tokens-per-minute",
        "9000",
        "--monthly-budget",
        "20",
        "--cheaper-when-spent",
        "--expires",
        "2w",
    ]
    found = json.loads(
        done("keys", "create", "a [b]", "--database", tmp_path / "g.db", "--create", *words, "--json")
    )
    assert found["secret"].startswith("td-")
    assert (found["requests_per_minute"], found["tokens_per_minute"]) == (60, 9000)
    assert (found["daily_budget"], found["monthly_budget"], found["cheaper_when_spent"]) == (None, 20.0, True)
    assert found["expires"] > found["created"]
    assert (found["state"], found["name"], found["models"]) == ("active", "a [b]", None)
    listed = done("keys", "list", "--database", tmp_path / "g.db")
    assert "a [b]" in listed
    assert "0 of 20 (soft)" in listed
    words[:4] = ["--rpm-limit", "60", "--tpm-limit", "9000"]
    words += ["--max-budget", "40", "--budget-duration", "30d", "--soft-budget", "30"]
    words += ["--model-max-budget", "small=1.5/1d", "--model-max-budget", "large=2"]
    found = json.loads(done("keys", "create", "other", "--database", tmp_path / "g.db", *words, "--json"))
    assert (found["requests_per_minute"], found["tokens_per_minute"]) == (60, 9000)
    assert (found["max_budget"], found["budget_duration"], found["soft_budget"]) == (40.0, "30d", 30.0)
    assert found["model_max_budget"] == {
        "small": {"max_budget": 1.5, "budget_duration": "1d"},
        "large": {"max_budget": 2.0, "budget_duration": None},
    }
    rows = json.loads(done("keys", "list", "--database", tmp_path / "g.db", "--json"))
    assert [row["spend"] for row in rows] == [0.0, 0.0]
    assert "30d" in done("keys", "list", "--database", tmp_path / "g.db")


def test_a_name_that_means_two_keys_is_refused_with_their_ids(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    made = [make_key("ci").key for _ in range(2)]
    with SqliteStorage(database) as storage:
        for key in made:
            storage.insert_api_key(key)
    said = fails(2, "keys", "revoke", "ci", "--database", database)
    assert all(key.id in said for key in made)
    done("keys", "revoke", made[0].id, "--database", database)
    done("keys", "revoke", "ci", "--database", database)
    assert done("keys", "list", "--database", database).count("revoked") == 2


def test_a_name_is_one_key_s_while_it_serves(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    first = json.loads(done("keys", "create", "ci", "--database", database, "--create", "--json"))["id"]
    said = fails(2, "keys", "create", "ci", "--database", database)
    assert first in said
    assert "keys revoke" in said
    done("keys", "revoke", "ci", "--database", database)
    done("keys", "create", "ci", "--database", database)


GATEWAY = """
upstreams: {here: {base_url: "http://127.0.0.1:9/v1"}}
models: {small: {deployments: [{upstream: here}], aliases: [tiny]}, large: {deployments: [{upstream: here}]}}
storage: data/keys.db
"""


def test_models_are_compared_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    config = tmp_path / "gateway.yaml"
    for words in (["--model", "smal"], ["--model", "tiny"], ["--model-max-budget", "smal=1"]):
        said = fails(2, "keys", "create", "ada", "--config", config, *words)
        assert "small" in said
    assert not list((tmp_path / "data").iterdir())
    done("keys", "create", "ada", "--config", config, "--model", "small", "--model-max-budget", "large=1")
    # The same database without its configuration: nobody knows its models, and that is said.
    database = tmp_path / "data" / "keys.db"
    made = execute("keys", "create", "bob", "--database", database, "--model", "smal")
    assert b"nobody has checked" in made.stderr
    # One that is beside it, and is its own, is found.
    (tmp_path / "data" / "gateway.yaml").write_text(GATEWAY.replace("data/keys.db", "keys.db"))
    assert "small" in fails(2, "keys", "create", "eve", "--database", database, "--model", "smal")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("--daily-budget -1", "daily_budget"),
        ("--monthly-budget nan", "monthly_budget"),
        ("--requests-per-minute 0", "requests_per_minute"),
        ("--tokens-per-minute many", "tokens-per-minute"),
        ("--expires 2020-01-01", "expires"),
        ("--expires soon", "expires"),
        ("--cheaper-when-spent", "cheaper_when_spent"),
        ("--soft-budget -1", "soft_budget"),
        ("--max-budget -1", "max_budget"),
        ("--budget-duration 1d", "budget_duration"),
        ("--max-budget 1 --budget-duration 1y", "budget_duration"),
        ("--model-max-budget small", "model_max_budget"),
    ],
)
def test_bad_numbers_make_no_key_and_no_database(tmp_path: Path, words: str, field: str) -> None:
    assert field in fails(2, "keys", "create", "ada", "--database", tmp_path / "g.db", "--create", *words.split())
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    for words in (["list"], ["revoke", "ada"]):
        assert "no such file" in fails(2, "keys", *words, "--database", tmp_path / "typo.db")
    assert not list(tmp_path.iterdir())
    said = fails(2, "keys", "create", "ada", "--database", tmp_path / "g.db")
    assert str(tmp_path / "g.db") in said
    assert "--create" in said
    assert not list(tmp_path.iterdir())
    done("keys", "create", "ada", "--database", tmp_path / "g.db", "--create")
    assert "keys list" in fails(2, "keys", "revoke", "bob", "--database", tmp_path / "g.db")
