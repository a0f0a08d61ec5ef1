"""What to make of a failed call: whether it may be repeated, whether another model may take over, how long to
wait."""

from __future__ import annotations

import math
import random
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream import filtering
from tiny_dancer.gateway.upstream.clients.base import CallError, Phase
from tiny_dancer.resilience import Category

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.gateway.configuration.settings import Retries

# The gateway's credentials or credit: no better the second time.
_OPERATOR: Final = frozenset({401, 402, 407})
# What servers that say it by another status call it: xAI and Gemini, Anthropic, OpenAI.
_OF_OPERATOR: Final = re.compile(
    r"\b(?:incorrect|invalid) api[ _-]?key|\bapi[ _-]?key (?:is )?(?:not valid|invalid|expired|not found)"
    r"|\bcredit balance is too low|\bbilling hard limit|\bbilling_hard_limit_reached",
    re.IGNORECASE,
)
# Of these: one request may have asked for too much (OpenRouter: "requires more credits, or fewer max_tokens").
_CREDIT: Final = 402
# What this upstream will not or cannot do, and another may: a model it does not have, an endpoint it lacks. It is
# well all the same.
_ELSEWHERE: Final = frozenset({403, 404, 405, 501})
_UNIT: Final = re.compile(r"(?<=\d)s\Z")
# Seconds that are a time since 1970: no wait is so long.
_EPOCH: Final = 1e9
# What servers call an address they do not have, and what else they do not find.
_NO_ENDPOINT: Final = frozenset(
    {"", "404", "not_found", "not_found_error", "notfound", "unknown_url", "route_not_found"}
)
_NOT_FOUND: Final = re.compile(
    rb"\b(?:model|item|deployment|conversation|prompt|response|with id)\b", re.IGNORECASE
)


class Failure(Exception):  # noqa: N818
    """One call to a deployment that did not serve the client.

    Attributes:
        error: what the client is told where nothing else serves it.
        category: what the breaker counts; None: the deployment is well, whatever it said of this request.
        again: whether the same model may be asked again.
        elsewhere: whether another model may be asked.
        larger: whether only a model with a larger context window can do better.
        wait: seconds the upstream asks to wait, or None.
        rests: whether it asks everybody to wait.
        asked: whether it was asked at all.
        worked: whether the upstream may have worked, and charge for it: it had the request, and did not refuse it.
        filtered: whether a content filter refused: another model may be asked only where that is chosen.
    """

    def __init__(
        self,
        error: GatewayError,
        category: Category | None,
        *,
        again: bool = False,
        elsewhere: bool = True,
        larger: bool = False,
        wait: float | None = None,
        rests: bool = False,
        asked: bool = True,
        worked: bool = False,
        filtered: bool = False,
    ) -> None:
        super().__init__(error.status, error.message)
        self.error = error
        self.category = category
        self.again = again
        self.elsewhere = elsewhere
        self.larger = larger
        self.wait = wait
        self.rests = rests
        self.asked = asked
        self.worked = worked
        self.filtered = filtered


def of_call(error: CallError, repeatable: bool) -> Failure:
    """No answer came. ``repeatable``: doing the request twice does nothing but cost twice."""
    if error.phase is Phase.TIMEOUT:
        found = GatewayError(504, sentence(error.message), type="server_error", code="upstream_timeout")
        return Failure(found, Category.TIMEOUT, worked=True)
    found = GatewayError(502, sentence(error.message), type="server_error", code="upstream_unavailable")
    unsent = error.phase is Phase.CONNECT
    return Failure(found, Category.UPSTREAM, again=unsent or repeatable, worked=not unsent)


def sentence(message: str) -> str:
    """A transport's words for the client."""
    return f"{message[:1].upper()}{message[1:]}."


def of_answer(detail: str, *, worked: bool = True, repeatable: bool = True) -> Failure:
    """An answer came that is none. ``worked``: as of :class:`Failure`; ``repeatable``: as of :func:`of_call`."""
    message = f"The model's server sent an answer that cannot be read: {detail}."
    return Failure(
        GatewayError(502, message[:500], type="server_error", code="bad_upstream_answer"),
        Category.UPSTREAM,
        again=repeatable or not worked,
        worked=worked,
    )


def of_status(error: GatewayError, headers: Sequence[tuple[str, str]]) -> Failure:
    """An answer of status 400 or above.

    Args:
        error: as the dialect read it.
        headers: of the answer.
    """
    status = error.status
    if error.code == "context_length_exceeded":
        return Failure(error, None, larger=True)
    if filtering.refused(error):
        return Failure(error, None, elsewhere=False, filtered=True)
    wait = retry_after(headers)
    if status == 429 and wait is None and (wait := _retry_delay(error)) is not None:
        error.headers = (*error.headers, (b"retry-after", b"%d" % math.ceil(wait)))
    if status == 429:
        # Not a failure: it says when it is ready again. No quota that is used up is ready by waiting a little.
        spent = "insufficient_quota" in (error.code, error.type)
        return Failure(error, None, again=not spent, wait=wait, rests=wait is not None)
    if status in (408, 425) or (status >= 500 and status not in _ELSEWHERE):
        return Failure(error, Category.UPSTREAM, again=True, wait=wait)
    if status == 409:  # another request was under way
        return Failure(error, None, again=True, wait=wait)
    # By its words alone it is not held against the upstream: a server may repeat a caller's.
    told = status in (400, 403) and _OF_OPERATOR.search(error.message[:80]) is not None
    if status in _OPERATOR or told:
        # Its text may hold part of the gateway's own key, and would read as if the client's key or credit were
        # meant.
        error = GatewayError(
            502,
            "The model's server refused the gateway's key or account; the operator has to check them.",
            type="server_error",
            code="upstream_authentication",
        )
        return Failure(error, None if told or status == _CREDIT else Category.UPSTREAM)
    return Failure(error, None, elsewhere=status in _ELSEWHERE and not (status == 404 and _of_the_request(error)))


def _of_the_request(error: GatewayError) -> bool:
    """Whether what an upstream does not find is the client's: an earlier response, or an item of one."""
    named = error.param in ("previous_response_id", "input") or error.code == "previous_response_not_found"
    return named or error.message.lower().startswith(("item ", "response ", "previous response"))


def lacks_endpoint(status: int, body: bytes, error: GatewayError) -> bool:
    """Whether a server says that it has no such endpoint.

    A 404 may also mean a model, or something that is stored there: servers name in JSON what they do not find.

    Args:
        status: of the answer.
        body: of the answer.
        error: the same as the dialect read it.
    """
    if status in (405, 501):
        return True
    if status != 404 or error.param is not None or (error.code or "").lower() not in _NO_ENDPOINT:
        return False
    return not body.lstrip().startswith((b"{", b"[", b'"')) or _NOT_FOUND.search(body) is None


def retry_after(headers: Sequence[tuple[str, str]]) -> float | None:
    """Seconds of ``retry-after-ms`` or ``retry-after`` (RFC 9110, 10.2.3: seconds or a date), or None.

    Some servers say a time in seconds since 1970, some ``2s``, some a date of ISO 8601."""
    found = dict(headers)
    if (milliseconds := _number(found.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    text = found.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(_UNIT.sub("", text))) is not None:
        if seconds < _EPOCH:
            return seconds
        return max(seconds - time.time(), 0.0) if seconds < 10 * _EPOCH else None
    try:
        date = datetime.fromisoformat(text) if text[:4].isdecimal() else parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # Of the three forms of a date only one names its zone, and it is always GMT (RFC 9110, 5.6.7).
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


def _retry_delay(error: GatewayError) -> float | None:
    """Seconds that Gemini says within the error (google.rpc.RetryInfo: ``34s``), or None."""
    details = error.details.get("details")
    for each in details if isinstance(details, list) else ():
        if isinstance(each, dict) and isinstance(delay := each.get("retryDelay"), str):
            return _number(delay.removesuffix("s"))
    return None


def _number(text: str | None) -> float | None:
    """A finite number ≥ 0, or None."""
    try:
        found = math.nan if text is None else float(text)
    except ValueError:
        return None
    # More digits than there are seconds is long; the word for what has no end is no number.
    return found if 0 <= found < math.inf and text and text.strip()[0].isdigit() else None


class RetryBudget:
    """Keeps retries a share of the requests, so that they cannot multiply an outage (Finagle's retry budget).

    A balance: every request pays in ``share``, every retry takes 1; ten a minute come for free.
    """

    __slots__ = ("_at", "_balance", "_clock", "_share")

    _FREE: Final = 10.0

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._balance = self._FREE
        self._at = clock()

    def request(self) -> None:
        """A request begins."""
        if self._balance < 100.0:
            self._balance += self._share

    def retry(self) -> bool:
        """Whether one may be repeated."""
        now = self._clock()
        if self._balance < self._FREE:
            self._balance = min(self._FREE, self._balance + (now - self._at) * self._FREE / 60)
        self._at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True


def backoff(settings: Retries, retries: int, asked: float | None) -> float | None:
    """Seconds before the next try: full jitter under an exponential bound, never less than the upstream asks.

    Args:
        settings: bounds.
        retries: before this one.
        asked: by the upstream.

    Returns:
        None where the upstream asks for more than the configuration allows.
    """
    if asked is not None and asked > settings.longest:
        return None
    bound = min(settings.longest, settings.base * 2.0 ** min(retries, 32))
    return max(random.uniform(0.0, bound), asked or 0.0)
