"""What agents have to do at a moment, beside what they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiny_dancer.errors import OptionError
from tiny_dancer.storage.values import number

if TYPE_CHECKING:
    from tiny_dancer.storage import Agent


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """What an agent has to do now, as whoever calls it counts.

    Attributes:
        in_flight: requests under way.
        requests: begun within the last minute.
        tokens: of prompt and answer, within the last minute.

    Raises:
        OptionError: a number that is below 0, or none.
    """

    in_flight: float = 0
    requests: float = 0
    tokens: float = 0

    def __post_init__(self) -> None:
        for name in ("in_flight", "requests", "tokens"):
            if number(name, getattr(self, name), error=OptionError) < 0:
                raise OptionError(name, getattr(self, name), "give a number, 0 or more")

    def reached(self, agent: Agent) -> str | None:
        """The limit the agent is at; None where it may have one more request."""
        for limit, has in (
            ("max_concurrency", self.in_flight),
            ("requests_per_minute", self.requests),
            ("tokens_per_minute", self.tokens),
        ):
            most = getattr(agent, limit)
            if most is not None and has >= most:
                return limit
        return None
