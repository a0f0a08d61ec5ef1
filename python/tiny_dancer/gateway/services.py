"""What serves every request of a process: one object, that the gateway makes and exchanges and endpoints use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from tiny_dancer.gateway.access.limits import TokenBucket
from tiny_dancer.gateway.edge.bodies import Bodies
from tiny_dancer.gateway.tools.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.budgets import Budgets
    from tiny_dancer.gateway.access.admission import Access
    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.gateway.account.background import Accounting
    from tiny_dancer.gateway.account.progress import Progress
    from tiny_dancer.gateway.choosing.chooser import Chooser
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Choice
    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.upstream.proxy import Proxy
    from tiny_dancer.observability.metrics import Metrics
    from tiny_dancer.observability.traces import Tracer
    from tiny_dancer.storage import Storage


# Of requests nobody's key let in and that were refused before anything was decided, so many a minute become rows:
# at most some 15 MB a day, whoever sends them.
_REFUSALS_A_MINUTE: Final = 60


class Leads(Protocol):
    """What chains and groups of agents decide about requests; :class:`tiny_dancer.gateway.leading.Leading`."""

    async def lead(
        self,
        services: Services,
        serving: Serving,
        incoming: Incoming,
        caller: Caller,
        headers: Sequence[tuple[bytes, bytes]],
        progress: Progress | None,
    ) -> Choice:
        """What they decide about a request that names one."""


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
        budgets: of any scope.
        chooser: decides.
        proxy: calls upstreams.
        leads: decides where a request names a chain, a group of agents or an ensemble.
        accounting: takes the records.
        metrics: counts them.
        tracer: None where traces are not configured.
        bodies: of the requests under way.
        kept: what was made of lists of tools.
        refusals: how many of those without a key may still become rows, of what could not be read.
        forms: how JSON was last asked of models the gateway itself asks, by name: the place in
            :data:`tiny_dancer.routing.ask.FORMS`.
        in_flight: requests to models under way.
        unwatched: those just begun, the oldest first; nobody looks yet whether their clients are still there.
    """

    serving: Serving
    storage: Storage
    access: Access
    budgets: Budgets
    chooser: Chooser
    proxy: Proxy
    leads: Leads
    accounting: Accounting
    metrics: Metrics
    tracer: Tracer | None
    bodies: Bodies = field(default_factory=Bodies)
    kept: Kept = field(default_factory=Kept)
    refusals: TokenBucket = field(default_factory=lambda: TokenBucket(_REFUSALS_A_MINUTE))
    forms: dict[str, int] = field(default_factory=dict)
    in_flight: int = 0
    unwatched: dict[Watched, None] = field(default_factory=dict)
