"""A server of the Model Context Protocol: remember, recall, forget, and route a request to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from tiny_dancer._core import __version__
from tiny_dancer.errors import TinyDancerError
from tiny_dancer.extras import needed
from tiny_dancer.integrations.memories import Memories

with needed("mcp"):
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
    from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.routing.router import Router
    from tiny_dancer.storage import CandidateStorage

__all__ = ["memory_server"]

_INSTRUCTIONS = """Long-term memory, and which model a request is worth.

Recall before you answer what may have been said before. Remember what will matter in later conversations: facts,
preferences, decisions; each as one sentence that is understood on its own. Forget what is wrong or not wanted."""
_DAY = 86_400
T = TypeVar("T")


class Memory(BaseModel):
    """A memory that was found."""

    id: str = Field(description="To forget it by.")
    text: str = Field(description="What was remembered.")
    score: float = Field(description="How well it answers the query, beside the others.")
    remembered_at: str = Field(description="When, ISO 8601 in UTC.")
    metadata: dict[str, Any] = Field(description="What was remembered beside the text.")


class Route(BaseModel):
    """Which model a request is worth, and why."""

    model: str = Field(description="The model to call.")
    reason: str = Field(description="Why this one.")
    confidence: float | None = Field(description="That it is the right choice, in [0, 1].")
    expected_quality: dict[str, float] = Field(description="Of every model, in [0, 1].")
    expected_cost: dict[str, float | None] | None = Field(description="Of every model, USD; null without prices.")


def memory_server(storage: CandidateStorage, namespace: Sequence[str] = (), *, router: Router) -> MCPServer[Any]:
    """A server with the tools ``remember``, ``recall``, ``forget`` and ``route``; ``run()`` serves standard input.

    Args:
        storage: keeps the memories; stays the caller's to close.
        namespace: whose they are, such as ``("users", "anna")``: clients see and change nothing else.
        router: decides for ``route``.
    """
    memories = Memories(storage, namespace, by="mcp")
    server: MCPServer[Any] = MCPServer("tiny-dancer", version=__version__, instructions=_INSTRUCTIONS)

    @server.tool(annotations=ToolAnnotations(title="Remember", read_only_hint=False, destructive_hint=False))
    def remember(
        text: Annotated[str, Field(description="What to remember: one sentence that is understood on its own.")],
        metadata: Annotated[
            dict[str, Any] | None, Field(description='Properties to recall it by, such as {"topic": "travel"}.')
        ] = None,
        days: Annotated[
            float | None, Field(description="Forget it after so many days; else never.", gt=0, le=100_000)
        ] = None,
    ) -> str:
        """Keep something for later conversations: a fact, a preference, a decision. Returns its id."""
        ttl = None if days is None else days * _DAY
        return _answered(lambda: memories.remember(text, metadata=metadata, ttl_s=ttl))

    @server.tool(annotations=ToolAnnotations(title="Recall", read_only_hint=True))
    def recall(
        query: Annotated[str, Field(description="What is asked, in words.")],
        k: Annotated[int, Field(description="Most memories to return.", ge=1, le=100)] = 5,
        filter: Annotated[
            dict[str, Any] | None,
            Field(
                description='Conditions on metadata: {"topic": "travel", "year": {"$gte": 2025}}. Operators: '
                "$eq $ne $in $nin $gt $gte $lt $lte $exists $and $or $nor $not."
            ),
        ] = None,
    ) -> list[Memory]:
        """Look up what was remembered in earlier conversations, best first."""
        found = _answered(lambda: memories.recall(query, k=k, filter=filter))
        return [
            Memory(
                id=each.id,
                text=each.text,
                score=each.score,
                remembered_at=each.remembered_at,
                metadata=each.metadata,
            )
            for each in found
        ]

    @server.tool(
        annotations=ToolAnnotations(
            title="Forget", read_only_hint=False, destructive_hint=True, idempotent_hint=True
        )
    )
    def forget(
        id: Annotated[str, Field(description="As `recall` or `remember` returned it.")],
    ) -> bool:
        """Remove a memory for good. Returns whether there was one."""
        return _answered(lambda: memories.forget(id))

    @server.tool(annotations=ToolAnnotations(title="Route", read_only_hint=True))
    def route(
        request: Annotated[str, Field(description="The request as it would be sent to a model.")],
        max_cost: Annotated[
            float | None, Field(description="Most USD the answer may cost; needs prices.", ge=0)
        ] = None,
        exclude: Annotated[list[str] | None, Field(description="Models that may not be chosen.")] = None,
    ) -> Route:
        """Decide, in microseconds and without calling a model, which model a request is worth."""
        decision = _answered(lambda: router.route(request, max_cost=max_cost, exclude=tuple(exclude or ())))
        return Route(
            model=decision.model,
            reason=decision.reason,
            confidence=_number(decision.confidence),
            expected_quality={name: float(value) for name, value in decision.scores.items()},
            expected_cost=None if decision.costs is None else dict(decision.costs),
        )

    return server


def _number(value: float) -> float | None:
    return value if value == value else None


def _answered(action: Callable[[], T]) -> T:
    """What it returns; its typed errors are told to the client, with their remedy."""
    try:
        return action()
    except TinyDancerError as error:
        raise ToolError(str(error)) from error
