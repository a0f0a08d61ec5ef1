"""The kinds of upstream, by the name the configuration uses."""

from typing import Final

from tiny_dancer.gateway.upstream.dialect import Kind
from tiny_dancer.gateway.upstream.kinds import a2a, anthropic, azure, openai

KINDS: Final[dict[str, Kind]] = {"a2a": a2a, "anthropic": anthropic, "azure": azure, "openai": openai}
