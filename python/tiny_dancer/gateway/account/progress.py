"""What is known of one request while it is served: what its record is made of in the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tiny_dancer.budgets.clock import steady
from tiny_dancer.gateway.access.payers import NOBODY
from tiny_dancer.gateway.upstream.proxy import Attempts
from tiny_dancer.routing.router import new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.access.purse import Purse
    from tiny_dancer.gateway.account.guess import Guess
    from tiny_dancer.gateway.account.tokens import Prompt
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Plan
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.tools.called import Called
    from tiny_dancer.gateway.tools.offered import Offered
    from tiny_dancer.gateway.upstream.dialect import Endpoint, Usage
    from tiny_dancer.observability.traces import RequestTrace


_NOTHING: Final[Mapping[str, str]] = {}


class Progress:
    """One request so far; filled in by what serves it.

    Attributes:
        id: of the request.
        serving: the configuration it is served by, from beginning to end.
        endpoint: which of the gateway's.
        arrived: UTC seconds.
        start: the same moment by the clock that measures.
        caller: who asked; None until admitted.
        payers: who pays for it.
        incoming: what was asked; None until read.
        tools: what became of the request's tools; None where nobody has selected any.
        called: the tools its answer calls; None where nobody learns from that.
        plan: what to do; None until made.
        attempts: what was done.
        usage: as the upstream said; None where it has not.
        billed: as of :func:`.billed.completed`, of a whole answer; None where it is not known yet.
        answer_id: the upstream's, of its answer.
        status: of HTTP; 0 until known.
        error: code; empty where there is none.
        first: when the first byte of the answer's body left, by the clock that measures.
        failed: agents that were asked before there was a plan and did not answer.
        removed: what removed whom, where that left nobody and there is no plan.
        guess: the text of the answer, as far as it came; None until there is one.
        prompt: what is known of it; None where nobody has asked yet.
        purse: of the budgets it falls under; None where there are none.
        depth: agents that have led to the request, one calling the other.
        queued: id of the request in the queue for people; empty where it is not there.
        free: no model was called, and it is known to have cost nothing.
        trace: None where nothing is traced.
    """

    __slots__ = (
        "answer_id",
        "arrived",
        "attempts",
        "billed",
        "called",
        "caller",
        "depth",
        "endpoint",
        "error",
        "failed",
        "first",
        "free",
        "guess",
        "id",
        "incoming",
        "payers",
        "plan",
        "prompt",
        "purse",
        "queued",
        "removed",
        "serving",
        "start",
        "status",
        "tools",
        "trace",
        "usage",
    )

    def __init__(self, serving: Serving, endpoint: Endpoint) -> None:
        self.serving = serving
        self.endpoint = endpoint
        self.start = time.perf_counter()
        self.arrived = steady()
        self.attempts = Attempts()
        self.caller: Caller | None = None
        self.payers = NOBODY
        self.incoming: Incoming | None = None
        self.tools: Offered | None = None
        self.called: Called | None = None
        self.plan: Plan | None = None
        self.trace: RequestTrace | None = None
        self.usage: Usage | None = None
        self.billed: tuple[Usage | None, bool] | None = None
        self.answer_id: str | None = None
        self.status = 0
        self.error = ""
        self.first: float | None = None
        self.guess: Guess | None = None
        self.prompt: Prompt | None = None
        self.purse: Purse | None = None
        self.depth = 0
        self.failed: list[str] = []
        self.removed: Mapping[str, str] = _NOTHING
        self.queued = ""
        self.free = False
        self.id = new_id()
