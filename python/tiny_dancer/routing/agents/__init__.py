"""Which of many agents answers a request, and what that may cost: a registry that learns, and choices over it."""

from tiny_dancer.routing.agents.batches import AgentAssignment, Assignment, assign
from tiny_dancer.routing.agents.loads import AgentLoad
from tiny_dancer.routing.agents.plans import AgentPlan, AgentStep, error_correlation
from tiny_dancer.routing.agents.registry import AgentFound, AgentRegistry
from tiny_dancer.routing.agents.router import AgentPolicy, AgentRouter

__all__ = [
    "AgentAssignment",
    "AgentFound",
    "AgentLoad",
    "AgentPlan",
    "AgentPolicy",
    "AgentRegistry",
    "AgentRouter",
    "AgentStep",
    "Assignment",
    "assign",
    "error_correlation",
]
