"""The kinds of upstream, by the name the configuration uses."""

from typing import Final

from tiny_dancer.gateway.upstream.dialect import Kind
from tiny_dancer.gateway.upstream.kinds import anthropic, azure, openai

KINDS: Final[dict[str, Kind]] = {"anthropic": anthropic, "azure": azure, "openai": openai}
