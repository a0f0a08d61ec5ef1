"""`tiny-dancer queue`, end to end."""

from __future__ import annotations

import getpass
import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, fails

from tiny_dancer.storage import QueuedRequest, SqliteStorage

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = {
    "system": "Be kind.",
    "messages": [
        {"role": "user", "content": "Where is my\nparcel?\x1b[31m"},
        {"role": "assistant", "content": [{"type": "text", "text": "Which one?"}]},
    ],
    "tools": [{"type": "function"}],
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    now = time.time()
    with SqliteStorage(path) as storage:
        for number in range(3):
            request = QueuedRequest(
                id=f"q{number}",
                time=now + number,
                expires_at=now + 7200,
                context=json.dumps(CONTEXT),
                said=f"said {number} " + "long " * 20,
                chain="triage",
                hops="semantic: refund 0.412 < 0.7",
            )
            storage.enqueue(request)
    return path


def test_a_request_is_found_claimed_and_answered(database: Path) -> None:
    at = ("--database", database)
    listed = done("queue", "list", *at)
    assert "q0" in listed and "triage" in listed and "waiting" in listed and "said 1 long" in listed
    assert f"claimed by {getpass.getuser()} until" in done("queue", "claim", "q1", *at)
    shown = done("queue", "show", "q1", *at)
    for part in (
        "claimed",
        "semantic: refund 0.412 < 0.7",
        "system: Be kind.",
        "user: Where is my",
        "user: parcel?",
    ):
        assert part in shown
    assert "Which one?" in shown and "\x1b" not in shown
    assert fails(2, "queue", "claim", "q1", "--by", "bob", *at).startswith("error: state: claimed by ")
    assert fails(2, "queue", "answer", "q1", "no", "--by", "bob", *at).startswith("error: state: claimed by ")
    done("queue", "answer", "q1", "It arrives tomorrow.", *at)
    assert "It arrives tomorrow." in done("queue", "show", "q1", *at)
    done("queue", "answer", "q2", "-", "--by", "bob", *at, stdin=b"From a file.\n")
    done("queue", "cancel", "q0", *at)
    assert "nothing in the queue" in done("queue", "list", *at)
    found = json.loads(done("queue", "list", "--state", "answered", "--state", "cancelled", "--json", *at))
    assert [(each["id"], each["state"], each["answer"]) for each in found] == [
        ("q0", "cancelled", None),
        ("q1", "answered", "It arrives tomorrow."),
        ("q2", "answered", "From a file.\n"),
    ]
    assert json.loads(done("queue", "show", "q2", "--json", *at))["context"] == CONTEXT


def test_pages(database: Path) -> None:
    found = json.loads(done("queue", "list", "--limit", "2", "--json", "--database", database))
    assert [each["id"] for each in found] == ["q0", "q1"]
    rest = json.loads(done("queue", "list", "--after", "q1", "--json", "--database", database))
    assert [each["id"] for each in rest] == ["q2"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "nobody"), "error: id: nobody; no request of this id"),
        (("claim", "nobody"), "error: id: nobody"),
        (("answer", "q0", " "), "error: answer: empty"),
        (("claim", "q0", "--seconds", "0"), "error: seconds: 0"),
        (("list", "--state", "asleep"), "error: states: asleep; use waiting"),
        (("list", "--after", "nobody"), "error: after: nobody"),
        (("list", "--limit", "0"), "error: limit: 0"),
    ],
)
def test_what_cannot_be_done_is_said(database: Path, arguments: tuple[str, ...], said: str) -> None:
    assert fails(2, "queue", *arguments, "--database", database).startswith(said)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for command in (("list",), ("show", "x"), ("claim", "x"), ("answer", "x", "y"), ("cancel", "x")):
        fails(2, "queue", *command, "--database", tmp_path / "none.db")
    assert not list(tmp_path.iterdir())


def test_a_key_may_be_an_operators_and_have_a_tier_and_tags(tmp_path: Path) -> None:
    at = ("--database", tmp_path / "gateway.db", "--json")
    made = json.loads(
        done("keys", "create", "ann", "--operator", "--tier", "gold", "--tag", "vip", "--create", *at)
    )
    assert (made["operator"], made["tier"], made["tags"]) == (True, "gold", ["vip"])
    (listed,) = json.loads(done("keys", "list", *at))
    assert (listed["operator"], listed["tier"], listed["tags"]) == (True, "gold", ["vip"])
