"""What a name can stand for, beside a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from tiny_dancer.gateway.configuration.check import AGENT
from tiny_dancer.gateway.configuration.settings import AgentPolicy, Policy

__all__ = ["AGENT", "AgentsTarget", "ChainTarget", "EnsembleTarget", "RouterTarget", "Target", "agent_of"]

if TYPE_CHECKING:
    from tiny_dancer.gateway.upstream.deployments import ServedModel


class RouterTarget(Struct, frozen=True):
    """A name that stands for a router.

    Attributes:
        router: its name.
        policy: or None for the router's own.
        threshold: or None.
    """

    router: str
    policy: Policy | None = None
    threshold: float | None = None


class ChainTarget(Struct, frozen=True):
    """A name that stands for a chain.

    Attributes:
        chain: its name.
    """

    chain: str


class EnsembleTarget(Struct, frozen=True):
    """A name that stands for several agents, who are asked the same.

    Attributes:
        agent: its name in the registry.
        members: their names in the registry.
    """

    agent: str
    members: tuple[str, ...]


class AgentsTarget(Struct, frozen=True):
    """A name that stands for whichever agent of a group a policy wants.

    Attributes:
        group: its name.
        policy: or None for the group's own.
    """

    group: str
    policy: AgentPolicy | None = None


Target: TypeAlias = "ServedModel | RouterTarget | ChainTarget | EnsembleTarget | AgentsTarget"


def agent_of(name: str) -> str | None:
    """The agent that a name stands for, as the registry calls it; None where it is no agent's."""
    return name[len(AGENT) :] if name.startswith(AGENT) else None
