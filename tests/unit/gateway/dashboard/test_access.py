"""Who sees what: nothing of the data without an operator's key, whatever the way it is asked for."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import msgspec
import pytest
from tests.unit.gateway.gateways import configured

from tiny_dancer.gateway.access.keys import NewKey, make_key
from tiny_dancer.gateway.dashboard.app import Dashboard
from tiny_dancer.gateway.operate.health import HealthApp, WorkerSnapshot
from tiny_dancer.gateway.status import GatewayStatus
from tiny_dancer.observability.metrics import MetricsSnapshot
from tiny_dancer.storage import Feedback, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = 1_796_043_600.0
DATA = ("standing", "summary", "traffic", "calibration", "decisions", "budgets", "agents")
HERE = {"host": "127.0.0.1:8001"}


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        return self.headers["set-cookie"].partition(";")[0]


class Port:
    """The operators' port, asked without a socket."""

    def __init__(self, path: Path, *, loopback: bool = True) -> None:
        self.path = path
        self.now = NOW
        self.operator = self.add("operator", operator=True)
        self.client = self.add("client")
        self.loop = asyncio.new_event_loop()

        async def workers() -> list[WorkerSnapshot]:
            return [WorkerSnapshot(0, 7, GatewayStatus(ready=True), MetricsSnapshot())]

        config = configured()
        self.dashboard = Dashboard(path, lambda: config, workers, loopback=loopback, clock=lambda: self.now)
        self.app = HealthApp(workers, dashboard=self.dashboard)

    def add(self, name: str, **more: Any) -> NewKey:
        made = make_key(name, now=NOW - 1000, **more)
        with SqliteStorage(self.path, mirror=False) as storage:
            storage.insert_api_key(made.key)
        return made

    def revoke(self, key: NewKey) -> None:
        with SqliteStorage(self.path, mirror=False) as storage:
            storage.revoke_api_key(key.key.id, NOW - 1)
        self.dashboard._reader._kept.clear()

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        query: str = "",
    ) -> Answer:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        given = [(name.encode(), value.encode("latin-1")) for name, value in {**HERE, **(headers or {})}.items()]
        scope = {"type": "http", "path": path, "method": method, "headers": given, "query_string": query.encode()}
        self.loop.run_until_complete(self.app(scope, receive, send))
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(each.get("body", b"") for each in sent[1:]))

    def sign_in(self, secret: str, **headers: str) -> Answer:
        return self.ask("/dashboard/login", "POST", headers, f"key={quote_plus(secret)}".encode())


@contextmanager
def opened(path: Path, **more: Any) -> Iterator[Port]:
    port = Port(path, **more)
    try:
        yield port
    finally:
        port.dashboard.close()
        port.loop.close()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    with opened(tmp_path / "gateway.db") as found:
        yield found


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("name", DATA)
def test_an_operators_key_sees_the_data(port: Port, name: str) -> None:
    answer = port.ask(f"/dashboard/data/{name}", headers=bearer(port.operator.secret))
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    head = port.ask(f"/dashboard/data/{name}", "HEAD", bearer(port.operator.secret))
    assert (head.status, head.body) == (200, b"")


WRONG: dict[str, Callable[[Port], dict[str, str]]] = {
    "nothing": lambda port: {},
    "an empty key": lambda port: bearer(""),
    "another word": lambda port: {"authorization": f"Basic {port.operator.secret}"},
    "a client's key": lambda port: bearer(port.client.secret),
    "half a key": lambda port: bearer(port.operator.secret[:-1]),
    "a longer one": lambda port: bearer(port.operator.secret + "a"),
    "its hash": lambda port: bearer(port.operator.key.secret_hash),
    "its id": lambda port: bearer(port.operator.key.id),
    "the key as cookie": lambda port: {"cookie": f"td_dashboard={port.operator.secret}"},
    "the id as cookie": lambda port: {"cookie": f"td_dashboard={port.operator.key.id}"},
    "a chosen cookie": lambda port: {"cookie": "td_dashboard=chosen"},
    "an empty cookie": lambda port: {"cookie": "td_dashboard="},
    "x-api-key": lambda port: {"x-api-key": port.operator.secret},
    "no ASCII": lambda port: bearer("td-ü\xff"),
    "much": lambda port: bearer("a" * 60_000),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("way", WRONG)
def test_nobody_else_does(port: Port, name: str, method: str, way: str) -> None:
    answer = port.ask(f"/dashboard/data/{name}", method, WRONG[way](port))
    assert answer.status == 401
    if method == "GET":
        assert answer.json["error"]["code"] == "not_an_operator"
    assert port.operator.secret not in str(answer)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_is_changed_by_any_method(port: Port, name: str, method: str) -> None:
    answer = port.ask(f"/dashboard/data/{name}", method, bearer(port.operator.secret))
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert not any(header.startswith("access-control") for header in answer.headers)


@pytest.mark.parametrize(
    "path",
    [
        "//dashboard/data/summary",
        "/dashboard//data/summary",
        "/dashboard/./data/summary",
        "/dashboard/data/../data/summary",
        "/dashboard/assets/../data/summary",
        "/health/live/../../dashboard/data/summary",
        "/dashboard;/data/summary",
        "/dashboard/data/summary/x",
        "/dashboard/data/summary.js",
        "/Dashboard/data/summary",
        "/dashboard/data/",
        "/dashboard/login/data/summary",
        "/dashboard/assets/dashboard.js/data/summary",
        "/dashboard/data/summary\x00",
        "/dashboard/data/summary%2f",
        "/dashboard\\data\\summary",
        "/dashboardx",
        "/dashboard/assets/../app.py",
        "/dashboard/assets/index.html",
        "/dashboard/assets/uplot/LICENSE",
        "/dashboard/data/__class__",
    ],
)
def test_paths_that_are_written_otherwise_lead_nowhere(port: Port, path: str) -> None:
    for headers in ({}, bearer(port.operator.secret)):
        answer = port.ask(path, headers=headers)
        assert answer.status in (401, 404)
        if headers:
            assert answer.status == 404
        assert b'"total"' not in answer.body


def test_the_slash_at_the_end_makes_no_difference_to_who_sees(port: Port) -> None:
    assert port.ask("/dashboard/data/summary/").status == 401
    assert port.ask("/dashboard/").status == 200


def test_the_page_holds_no_data_and_only_its_own_things(port: Port) -> None:
    for path in ("/dashboard", "/dashboard/login"):
        answer = port.ask(path)
        assert answer.status == 200
        text = answer.body.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=\"/dashboard/assets/)", text)
        assert not re.search(r"\son\w+=|\sstyle=|https?:|javascript:|<style", text)
        for source in re.findall(r'(?:src|href)="([^"#]+)"', text):
            assert port.ask(source).status == 200, source
    assert port.operator.key.name not in port.ask("/dashboard").body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard",
        "/dashboard/login",
        "/dashboard/assets/dashboard.js",
        "/dashboard/data/summary",
        "/dashboard/none",
    ],
)
def test_every_answer_says_what_browsers_may_not_do(port: Port, path: str) -> None:
    headers = port.ask(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_form_gives_a_cookie_that_scripts_and_other_sites_have_no_use_of(port: Port) -> None:
    answer = port.sign_in(port.operator.secret)
    assert (answer.status, answer.headers["location"]) == (303, "/dashboard")
    flags = answer.headers["set-cookie"]
    assert all(each in flags for each in ("; HttpOnly", "; SameSite=Strict", "; Path=/dashboard", "; Max-Age="))
    assert "Secure" not in flags
    assert port.operator.secret not in str(answer)
    assert port.ask("/dashboard/data/summary", headers={"cookie": answer.cookie}).status == 200
    secure = port.sign_in(
        port.operator.secret, origin="https://ops.example", host="127.0.0.1", **{"sec-fetch-site": "same-origin"}
    )
    assert "; Secure" in secure.headers["set-cookie"]


@pytest.mark.parametrize("secret", ["", "td-nothing", "' OR 1=1 --", "<script>alert(1)</script>", "\x00", "ü"])
def test_a_wrong_key_is_refused_in_words_that_do_not_repeat_it(port: Port, secret: str) -> None:
    answer = port.sign_in(secret)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    assert b"not the key of an operator" in answer.body
    assert not secret or secret.encode() not in answer.body.replace(b"<!doctype html>", b"")
    assert port.sign_in(port.client.secret).status == 401


def test_each_sign_in_is_a_session_of_its_own(port: Port) -> None:
    """A cookie that somebody else has set before (fixation) never becomes a session."""
    chosen = {"cookie": "td_dashboard=chosen"}
    first = port.ask("/dashboard/login", "POST", chosen, f"key={port.operator.secret}".encode())
    assert "chosen" not in first.cookie
    assert port.ask("/dashboard/data/summary", headers=chosen).status == 401
    assert port.sign_in(port.operator.secret).cookie != first.cookie
    both = {"cookie": f"td_dashboard=chosen; {first.cookie}"}
    assert port.ask("/dashboard/data/summary", headers=both).status == 200


def test_a_session_ends(port: Port) -> None:
    def sees(answer: Answer) -> bool:
        return port.ask("/dashboard/data/summary", headers={"cookie": answer.cookie}).status == 200

    out, late, gone = (port.sign_in(port.operator.secret) for _ in range(3))
    assert sees(out) and sees(late) and sees(gone)
    left = port.ask("/dashboard/logout", "POST", {"cookie": out.cookie})
    assert (left.status, left.headers["location"]) == (303, "/dashboard/login")
    assert "Max-Age=0" in left.headers["set-cookie"]
    assert not sees(out)
    port.now += 12 * 3600
    assert not sees(late)
    port.now = NOW
    gone = port.sign_in(port.operator.secret)
    assert sees(gone)
    port.revoke(port.operator)
    assert not sees(gone)
    assert port.sign_in(port.operator.secret).status == 401


def test_sessions_are_bounded(port: Port) -> None:
    first = port.sign_in(port.operator.secret)
    for _ in range(300):
        port.sign_in(port.operator.secret)
    assert len(port.dashboard._visitors._sessions) == 256
    assert port.ask("/dashboard/data/summary", headers={"cookie": first.cookie}).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8001"}, 303),
        ({"origin": "http://127.0.0.1:8001"}, 303),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_another_sites_page_neither_signs_in_nor_out(port: Port, headers: dict[str, str], status: int) -> None:
    assert port.sign_in(port.operator.secret, **headers).status == status
    assert port.ask("/dashboard/logout", "POST", headers).status == status


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("localhost:8001", True),
        ("127.0.0.1", True),
        ("[::1]:8001", True),
        ("10.0.0.5:8001", True),
        ("dashboard.localhost", True),
        ("evil.example", False),
        ("evil.example:8001", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("[", False),
        ("user@evil.example", False),
    ],
)
def test_a_strangers_name_for_this_machine_is_not_answered(port: Port, host: str, fine: bool) -> None:
    """DNS rebinding: the page of evil.example has had its name point here, and asks as if of its own site."""
    answers = [
        port.ask(path, headers={"host": host, **bearer(port.operator.secret)})
        for path in ("/dashboard", "/dashboard/data/summary")
    ]
    assert {each.status for each in answers} == ({200} if fine else {421})


def test_where_others_can_connect_it_has_whatever_name_they_call_it_by(tmp_path: Path) -> None:
    with opened(tmp_path / "gateway.db", loopback=False) as port:
        assert port.ask("/dashboard", headers={"host": "ops.example:8001"}).status == 200


def test_a_form_is_short(port: Port) -> None:
    answer = port.ask("/dashboard/login", "POST", {}, b"key=" + b"a" * 5000)
    assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")


def test_more_fields_than_anything_asks_for_are_refused(port: Port) -> None:
    many = "&".join(f"a{number}=1" for number in range(20))
    form = port.ask("/dashboard/login", "POST", {}, f"key=x&{many}".encode())
    query = port.ask("/dashboard/data/summary", headers=bearer(port.operator.secret), query=f"range=1h&{many}")
    for answer in (form, query):
        assert (answer.status, answer.json["error"]["code"]) == (400, "too_many_fields")


def test_files_are_sent_once(port: Port) -> None:
    first = port.ask("/dashboard/assets/dashboard.js")
    again = port.ask("/dashboard/assets/dashboard.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert first.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("query", ["range=2h", "since=5&until=1", "since=x&until=1", "by=colour", "by=<script>"])
def test_bad_questions_are_refused_with_the_remedy(port: Port, query: str) -> None:
    answer = port.ask("/dashboard/data/traffic", headers=bearer(port.operator.secret), query=query)
    assert answer.status == 400
    assert (
        "use" in answer.json["error"]["message"]
        or "give" in answer.json["error"]["message"]
        or "exchange" in answer.json["error"]["message"]
    )
    assert b"<script>" not in answer.body


def test_the_other_pages_of_the_port_stay(port: Port) -> None:
    assert port.ask("/health/live").status == 200
    assert port.ask("/metrics").status == 200
    assert port.ask("/nothing").status == 404


@pytest.mark.parametrize("query", ["key={}", "token={}", "api_key={}", "authorization=Bearer+{}"])
def test_a_key_in_an_address_is_no_key(port: Port, query: str) -> None:
    assert port.ask("/dashboard/data/summary", query=query.format(port.operator.secret)).status == 401


def test_prompts_and_secrets_are_in_none_of_the_data(port: Port) -> None:
    said = "what nobody else should read"
    with SqliteStorage(port.path, mirror=False) as storage:
        asked = RequestRecord(
            id="r", time=NOW - 60, endpoint="responses", key=port.client.key.id, asked="auto", status=200,
            query_text=said, query_hash="hash-of-it", session="session-of-it", response_id="id-of-it",
        )  # fmt: skip
        storage.record_requests([asked])
        storage.record_feedback(Feedback("r", 1.0, text=said))
    for name in DATA:
        text = port.ask(f"/dashboard/data/{name}", headers=bearer(port.operator.secret)).body.decode()
        for secret in (said, "of-it", port.operator.key.secret_hash, port.client.key.secret_hash):
            assert secret not in text, name


def test_a_database_that_cannot_be_read_is_said_where_people_sign_in(port: Port) -> None:
    port.dashboard._reader._path = port.path.with_name("<b>gone.db")
    answer = port.sign_in(port.operator.secret)
    assert answer.status == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert b"cannot be read" in answer.body
    assert b"<b>" not in answer.body
    assert port.ask("/dashboard/data/standing", headers=bearer(port.operator.secret)).status == 503


def test_a_body_that_ends_early_is_no_form(port: Port) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "path": "/dashboard/login", "method": "POST", "headers": headers, "query_string": b""}
    port.loop.run_until_complete(port.app(scope, receive, send))
    assert sent[0]["status"] == 400
