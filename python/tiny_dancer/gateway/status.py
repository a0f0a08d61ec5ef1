"""How a gateway stands: what ``/health/ready`` and ``/metrics`` read of each worker."""

from __future__ import annotations

from msgspec import Struct, field

from tiny_dancer.routing.watch import Alarm
from tiny_dancer.routing.window import Measure


class DeploymentStatus(Struct, frozen=True):
    """One deployment of a model.

    Attributes:
        model: its name in the configuration.
        upstream: name of the upstream.
        state: of its breakers, of each endpoint asked so far: ``closed``, ``open`` or ``half_open``; what all of
            them are, else ``half_open``.
        openings: of its breakers so far.
        in_flight: requests it is serving now.
        resting: seconds it asked to be left alone, by a 429, that are left; 0 where it takes requests.
    """

    model: str
    upstream: str
    state: str
    openings: int
    in_flight: int
    resting: float = 0.0


class DriftStatus(Struct, frozen=True, kw_only=True):
    """A router's watch over what one worker decides, and what became of it.

    Attributes:
        artifact: whose decisions it counts, by version and checksum.
        observed: decisions counted since that artifact serves here.
        capital: the largest that betting against "nothing has changed" has made of any alarm's share of 1 by now.
        threshold: capital at which an alarm rings.
        since: the decision at which the first rang; None where none has. It does not stop ringing.
        withdrawn: whether that has cost the artifact a certificate.
        alarms: all of them, in a fixed order.
        measures: how far the last decisions are from usual, in a fixed order; no alarms.
    """

    artifact: str
    observed: int
    capital: float
    threshold: float
    since: int | None
    withdrawn: bool
    alarms: list[Alarm] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)


class GatewayStatus(Struct, frozen=True, kw_only=True):
    """One worker at one moment. Plain values only, so that it can be sent between processes.

    Attributes:
        ready: whether it may be sent requests: loaded, storage answering, not draining.
        reasons: why it is not ready; empty where it is.
        artifacts: version served, by router.
        drift: watches over its requests, by router; without those that have counted none yet.
        bugs: errors of the program itself while routing, by router; fallback levels answered.
        reload_error: why the last reload was refused, or None.
        storage_error: why the last write failed, or None.
        dropped: request records not kept because storage was slow or failed.
        queued: request records not written yet.
        deployments: every one of the configuration.
        last_decision: UTC seconds of the last routing decision, or None.
        in_flight: requests being served.
        memory_bytes: resident.
        draining: whether it is finishing what it has and takes no more.
        notes: what its operator should know of a router: that it never chooses, that its certificate is void here.
    """

    ready: bool
    reasons: list[str] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    drift: dict[str, DriftStatus] = field(default_factory=dict)
    bugs: dict[str, int] = field(default_factory=dict)
    reload_error: str | None = None
    storage_error: str | None = None
    dropped: int = 0
    queued: int = 0
    deployments: list[DeploymentStatus] = field(default_factory=list)
    last_decision: float | None = None
    in_flight: int = 0
    memory_bytes: int = 0
    draining: bool = False
    notes: list[str] = field(default_factory=list)
