"""What serves every request of a process: one object, that the gateway makes and exchanges and endpoints use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tiny_dancer.gateway.access.admission import Access
    from tiny_dancer.gateway.account.background import Accounting
    from tiny_dancer.gateway.choosing.plan import Chooser
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.upstream.proxy import Proxy
    from tiny_dancer.observability.metrics import Metrics
    from tiny_dancer.observability.traces import Tracer
    from tiny_dancer.storage import Storage


class Watched(Protocol):
    """A request under way, whose client is looked for once it takes longer than an instant.

    Attributes:
        start: when it arrived, by the clock that measures.
    """

    start: float

    def watch(self) -> None:
        """Begins to look whether the client is still there."""


@dataclass(slots=True)
class Services:
    """Belongs to the event loop's thread. A reload replaces ``serving``, and what was made by its configuration.

    Attributes:
        serving: the configuration in force.
        storage: of keys, records and feedback.
        access: who may call.
        chooser: decides.
        proxy: calls upstreams.
        accounting: takes the records.
        metrics: counts them.
        tracer: None where traces are not configured.
        in_flight: requests to models under way.
        unwatched: those just begun, the oldest first; nobody looks yet whether their clients are still there.
    """

    serving: Serving
    storage: Storage
    access: Access
    chooser: Chooser
    proxy: Proxy
    accounting: Accounting
    metrics: Metrics
    tracer: Tracer | None
    in_flight: int = 0
    unwatched: dict[Watched, None] = field(default_factory=dict)
