"""`tiny-dancer keys`, as a user runs it; and a gateway's access, as it finds what the commands did."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, execute, fails

from tiny_dancer.gateway.access.admission import Access
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_used_listed_and_revoked(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    # The executable itself: standard output must hold the secret and nothing else.
    made = execute("keys", "create", "ada", "--database", database, "--model", "small", "--daily-budget", 2)
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
        "--soft-budget",
        "--expires",
        "2w",
    ]
    found = json.loads(done("keys", "create", "a [b]", "--database", tmp_path / "g.db", *words, "--json"))
    assert found["secret"].startswith("td-")
    assert (found["requests_per_minute"], found["tokens_per_minute"]) == (60, 9000)
    assert (found["daily_budget"], found["monthly_budget"], found["soft_budget"]) == (None, 20.0, True)
    assert found["expires"] > found["created"]
    assert (found["state"], found["name"], found["models"]) == ("active", "a [b]", None)
    listed = done("keys", "list", "--database", tmp_path / "g.db")
    assert "a [b]" in listed
    assert "0 of 20 (soft)" in listed


def test_a_name_that_means_two_keys_is_refused_with_their_ids(tmp_path: Path) -> None:
    database = tmp_path / "gateway.db"
    ids = []
    for _ in range(2):
        ids.append(json.loads(done("keys", "create", "ci", "--database", database, "--json"))["id"])
    said = fails(2, "keys", "revoke", "ci", "--database", database)
    assert all(id in said for id in ids)
    done("keys", "revoke", ids[0], "--database", database)
    done("keys", "revoke", "ci", "--database", database)
    assert done("keys", "list", "--database", database).count("revoked") == 2


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("--daily-budget -1", "daily_budget"),
        ("--monthly-budget nan", "monthly_budget"),
        ("--requests-per-minute 0", "requests_per_minute"),
        ("--tokens-per-minute many", "tokens-per-minute"),
        ("--expires 2020-01-01", "expires"),
        ("--expires soon", "expires"),
        ("--soft-budget", "soft_budget"),
    ],
)
def test_bad_numbers_make_no_key_and_no_database(tmp_path: Path, words: str, field: str) -> None:
    assert field in fails(2, "keys", "create", "ada", "--database", tmp_path / "g.db", *words.split())
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    for words in (["list"], ["revoke", "ada"]):
        assert "no such file" in fails(2, "keys", *words, "--database", tmp_path / "typo.db")
    assert not list(tmp_path.iterdir())
    done("keys", "create", "ada", "--database", tmp_path / "g.db")
    assert "keys list" in fails(2, "keys", "revoke", "bob", "--database", tmp_path / "g.db")
