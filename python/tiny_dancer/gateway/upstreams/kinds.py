"""The kinds of upstream, by the name the configuration uses."""

from typing import Final

from tiny_dancer.gateway.upstreams import anthropic, azure, openai
from tiny_dancer.gateway.upstreams.base import Kind

KINDS: Final[dict[str, Kind]] = {"anthropic": anthropic, "azure": azure, "openai": openai}
