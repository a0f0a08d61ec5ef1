"""Who may look: whoever has an operator's key, sent with the request or exchanged for a session of the browser's.

A session is a random cookie that scripts cannot read and other sites cannot send. It lives in this process, ends
with the key it was opened by, after twelve hours, or with the process.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tiny_dancer.gateway.access.keys import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tiny_dancer.storage import ApiKey

COOKIE: Final = "td_dashboard"
LASTS_S: Final = 12 * 3600
_MOST_SESSIONS: Final = 256
_LONGEST_SECRET: Final = 512


@dataclass(frozen=True, slots=True)
class _Session:
    key: str
    ends: float


class Visitors:
    """Sessions of browsers, and the keys that open them."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Nobody is in yet; ``clock`` gives UTC seconds."""
        self._clock = clock
        # By the SHA-256 of the cookie: who reads this process's memory cannot send what is in it.
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    def by_key(self, keys: Iterable[ApiKey], secret: bytes) -> ApiKey | None:
        """The operator's key of this secret, while it holds; None where there is none.

        Every key is compared, in constant time each.
        """
        if not secret or len(secret) > _LONGEST_SECRET:
            return None
        digest, now = hashlib.sha256(secret).hexdigest(), self._clock()
        found = None
        for key in keys:
            same = hmac.compare_digest(digest, key.secret_hash)
            if same and key.operator and state_of(key, now) == "active":
                found = key
        return found

    def open(self, key: ApiKey) -> str:
        """A new session's cookie; the longest unused one ends where there are too many."""
        cookie = secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = _Session(key.id, self._clock() + LASTS_S)
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def by_cookie(self, keys: Iterable[ApiKey], cookie: str) -> ApiKey | None:
        """The key a session was opened by, while both hold."""
        digest = _digest(cookie)
        session = self._sessions.get(digest)
        if session is None:
            return None
        now = self._clock()
        key = next((each for each in keys if each.id == session.key), None)
        if key is None or now >= session.ends or not key.operator or state_of(key, now) != "active":
            del self._sessions[digest]
            return None
        self._sessions.move_to_end(digest)
        return key

    def end(self, cookie: str) -> None:
        """Ends a session."""
        self._sessions.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()


def cookies(header: str) -> Sequence[str]:
    """The values our cookie has in a request's header: another site of this host may have set a second one."""
    parts = (part.strip().partition("=") for part in header.split(";"))
    return [value for name, _, value in parts if name == COOKIE and value][:4]


def set_cookie(value: str, *, secure: bool, seconds: int = LASTS_S) -> bytes:
    """The header's value that has a browser keep it; of 0 seconds, forget it."""
    flags = "; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
    return f"{COOKIE}={value}; Path=/dashboard; Max-Age={seconds}{flags}".encode()


def from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a request that changes something comes from a page of ours, or from no browser at all.

    Browsers say so themselves (``Sec-Fetch-Site``) where a connection can be trusted, that is https and loopback;
    elsewhere the page's origin has to be the host that was asked.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def named_locally(host: str) -> bool:
    """Whether a ``Host`` header names this machine or an address: no name that a stranger's DNS points here."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
