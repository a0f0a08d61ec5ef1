"""The dashboard as an ASGI application: which address is what, who may see it, and how it is sent.

The page, its script and its style hold no data and are for everybody who reaches the port; every number comes from
``/dashboard/data/``, which wants an operator's key. Nothing is changed by any of it but the visitor's own session.
"""

from __future__ import annotations

import hashlib
import html
import time
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from tiny_dancer.gateway.dashboard import figures
from tiny_dancer.gateway.dashboard.agents import agents
from tiny_dancer.gateway.dashboard.budgets import budgets, forecasts
from tiny_dancer.gateway.dashboard.decisions import decisions
from tiny_dancer.gateway.dashboard.reading import Reader
from tiny_dancer.gateway.dashboard.spans import span_of
from tiny_dancer.gateway.dashboard.standing import standing
from tiny_dancer.gateway.dashboard.visitors import (
    Visitors,
    cookies,
    from_own_page,
    named_locally,
    set_cookie,
)
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.gateway.dashboard.standing import Standing
    from tiny_dancer.storage import ApiKey

ADDRESS: Final = "/dashboard"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_ASSETS: Final = {
    f"{ADDRESS}/assets/{name.rpartition('/')[2]}": name
    for name in (
        "dashboard.css",
        "icon.svg",
        "dashboard.js",
        "sections.js",
        "charts.js",
        "dom.js",
        "format.js",
        "uplot/uPlot.iife.min.js",
        "uplot/uPlot.min.css",
    )
}
_LONGEST_FORM: Final = 4096
_MOST_FIELDS: Final = 16
# What every answer says: nothing from elsewhere, in no frame, and no guessing of types.
_ALWAYS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_WRONG: Final = (
    "This is not the key of an operator, or it has ended. Make one: tiny-dancer keys create NAME --operator"
)
_MESSAGE: Final = b"<!-- message -->"


class Dashboard:
    """The page and its data. Belongs to the event loop's thread; reading is done beside it."""

    def __init__(
        self,
        database: Path | str,
        config: Callable[[], GatewayConfig],
        workers: Callable[[], Awaitable[Sequence[Standing]]],
        *,
        loopback: bool,
        clock: Callable[[], float] = time.time,
        reader: Reader | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            database: the gateway's.
            config: what is served now; a reload changes it.
            workers: how they stand, those that answer.
            loopback: whether only this machine can connect. Then only names of this machine are answered to:
                another name is a stranger's, who has had it point here to read by a browser what he cannot.
            clock: UTC seconds.
            reader: of the database.
        """
        self._config, self._workers, self._loopback, self._clock = config, workers, loopback, clock
        self._reader = reader or Reader(database)
        self._visitors = Visitors(clock)
        self._files = {address: _file(name) for address, name in _ASSETS.items()}
        self._page, self._login = _file("index.html"), _file("login.html")
        self._data: Mapping[str, Callable[[Mapping[str, str]], Awaitable[Any]]] = {
            "standing": self._standing,
            "summary": self._summary,
            "traffic": self._traffic,
            "calibration": self._calibration,
            "decisions": self._decisions,
            "budgets": self._budgets,
            "agents": self._agents,
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request for an address below :data:`ADDRESS`."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            status, body, more = await self._answer(scope, headers, receive)
        except GatewayError as error:
            status, body = error.status, error.openai()
            more = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *error.headers]
        start = [*more, (b"content-length", b"%d" % len(body)), *_ALWAYS]
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def close(self) -> None:
        """Lets go of threads and database."""
        self._reader.close()

    async def _answer(self, scope: Any, headers: Mapping[str, str], receive: Any) -> _Answer:
        if self._loopback and not named_locally(headers.get("host", "")):
            raise GatewayError(
                421,
                "This port answers to names of this machine only: localhost, or an address such as 127.0.0.1. "
                "A proxy in front of it has to send one of those as Host.",
                code="unknown_host",
            )
        path, method = scope["path"].removesuffix("/"), scope["method"]
        if path in (f"{ADDRESS}/login", f"{ADDRESS}/logout") and method == "POST":
            return await self._change(path, headers, receive)
        known = path in (ADDRESS, f"{ADDRESS}/login") or path in self._files
        data = (
            self._data.get(path.removeprefix(f"{ADDRESS}/data/")) if path.startswith(f"{ADDRESS}/data/") else None
        )
        if not known and data is None:
            raise GatewayError(404, "There is nothing of this name; the page is at /dashboard.", code="not_found")
        if method not in ("GET", "HEAD"):
            raise GatewayError(
                405, "This is read by GET.", code="method_not_allowed", headers=((b"allow", b"GET, HEAD"),)
            )
        if data is not None:
            await self._authorise(headers)
            return _json(await data(_fields(scope.get("query_string", b""))))
        if path == ADDRESS:
            # Not kept by a browser either: going back after signing out would show what was there.
            return (
                200,
                self._page.content,
                [(b"content-type", self._page.type.encode()), (b"cache-control", b"no-store")],
            )
        file = self._login if path == f"{ADDRESS}/login" else self._files[path]
        if headers.get("if-none-match") == file.tag:
            return 304, b"", [(b"etag", file.tag.encode()), (b"cache-control", b"no-cache")]
        kind = (b"content-type", file.type.encode())
        return 200, file.content, [kind, (b"etag", file.tag.encode()), (b"cache-control", b"no-cache")]

    async def _keys(self) -> Sequence[ApiKey]:
        return await self._reader.read(("keys",), lambda storage: storage.api_keys())

    async def _authorise(self, headers: Mapping[str, str]) -> ApiKey:
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        keys = await self._keys()
        if scheme.lower() == "bearer":
            found = self._visitors.by_key(keys, secret.strip().encode("latin-1"))
        else:
            given = cookies(headers.get("cookie", ""))
            found = next((key for each in given if (key := self._visitors.by_cookie(keys, each))), None)
        if found is None:
            raise GatewayError(401, _WRONG, code="not_an_operator", headers=((b"www-authenticate", b"Bearer"),))
        return found

    async def _change(self, path: str, headers: Mapping[str, str], receive: Any) -> _Answer:
        """Opens or ends a session."""
        if not from_own_page(headers):
            raise GatewayError(403, "This was sent by another site's page.", code="foreign_page")
        secure = headers.get("origin", "").startswith("https://")
        if path.endswith("/logout"):
            for each in cookies(headers.get("cookie", "")):
                self._visitors.end(each)
            gone = (b"set-cookie", set_cookie("", secure=secure, seconds=0))
            return 303, b"", [(b"location", b"/dashboard/login"), gone, (b"cache-control", b"no-store")]
        form = _fields(await _body(receive))
        try:
            key = self._visitors.by_key(await self._keys(), form.get("key", "").strip().encode())
        except GatewayError as error:
            return self._refused(error.status, error.message)
        if key is None:
            return self._refused(401, _WRONG)
        kept = (b"set-cookie", set_cookie(self._visitors.open(key), secure=secure))
        return 303, b"", [(b"location", b"/dashboard"), kept, (b"cache-control", b"no-store")]

    def _refused(self, status: int, message: str) -> _Answer:
        """The form again, with what was wrong."""
        notice = f'<p class="notice bad" role="alert">{html.escape(message)}</p>'.encode()
        kind = (b"content-type", self._login.type.encode())
        return status, self._login.content.replace(_MESSAGE, notice), [kind, (b"cache-control", b"no-store")]

    async def _standing(self, query: Mapping[str, str]) -> Any:
        del query
        return standing(await self._workers(), self._config(), self._clock())

    async def _summary(self, query: Mapping[str, str]) -> Any:
        span = span_of(query, self._clock())
        clock = self._clock
        return await self._reader.read(
            ("summary", span), lambda storage: {**figures.summary(storage, span), "read_at": clock()}
        )

    async def _traffic(self, query: Mapping[str, str]) -> Any:
        span, by = span_of(query, self._clock()), figures.grouping(query)
        return await self._reader.read(("traffic", span, by), lambda storage: figures.traffic(storage, span, by))

    async def _calibration(self, query: Mapping[str, str]) -> Any:
        span = span_of(query, self._clock())
        return await self._reader.read(("calibration", span), lambda storage: figures.calibration(storage, span))

    async def _decisions(self, query: Mapping[str, str]) -> Any:
        del query
        config = self._config()
        return await self._reader.read(("decisions", id(config)), lambda storage: decisions(storage, config))

    async def _budgets(self, query: Mapping[str, str]) -> Any:
        del query
        now = self._clock()
        found = await self._reader.read(("budgets",), lambda storage: budgets(storage, now))
        try:
            ahead = await self._reader.read(("forecasts",), lambda storage: forecasts(storage, now), patience=0.2)
        except GatewayError:
            ahead = {}  # how they stand does not wait for how they will: that is there the next time
        return [{**each, "forecast": ahead.get(each["id"])} for each in found]

    async def _agents(self, query: Mapping[str, str]) -> Any:
        del query
        return await self._reader.read(("agents",), agents)


_Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]


class _File(msgspec.Struct, frozen=True):
    content: bytes
    type: str
    tag: str


def _file(name: str) -> _File:
    content = resources.files("tiny_dancer.gateway.dashboard").joinpath("static", *name.split("/")).read_bytes()
    return _File(content, _TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _json(found: Any) -> _Answer:
    # NaN and infinity become null: JSON has neither.
    kind = (b"content-type", b"application/json")
    return 200, msgspec.json.encode(found), [kind, (b"cache-control", b"no-store")]


def _fields(text: bytes) -> dict[str, str]:
    """What a query or a form says.

    Raises:
        GatewayError: 400, it says more than anything here asks for.
    """
    try:
        return dict(parse_qsl(text.decode("latin-1"), max_num_fields=_MOST_FIELDS))
    except ValueError:
        message = f"Nothing here takes more than {_MOST_FIELDS} fields."
        raise GatewayError(400, message, code="too_many_fields") from None


async def _body(receive: Any) -> bytes:
    """A form that was sent.

    Raises:
        GatewayError: 413, it is no form of ours.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise GatewayError(400, "The form did not arrive as a whole.", code="cut")
        body += message.get("body", b"")
        if len(body) > _LONGEST_FORM:
            raise GatewayError(413, "A form with a key is shorter than this.", code="too_large")
        if not message.get("more_body"):
            return bytes(body)
