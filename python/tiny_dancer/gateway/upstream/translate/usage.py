"""What an answer cost, in the two protocols' words.

Anthropic counts the prompt's tokens in three parts, those read from the cache, those written to it and the others;
OpenAI counts them together and says how many of them were cached.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tiny_dancer.gateway.upstream.dialect import Usage


class _OutputDetails(Struct):
    thinking_tokens: int | None = None


class AnthropicUsage(Struct):
    """``usage`` of an answer, ``message_start`` or ``message_delta``; counts in a stream are running totals."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None

    def update(self, later: AnthropicUsage) -> None:
        """Takes over what a later event says."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def plain(self) -> Usage:
        """In the gateway's form."""
        cached = _count(self.cache_read_input_tokens)
        written = _count(self.cache_creation_input_tokens)
        return Usage(_count(self.input_tokens) + cached + written, _count(self.output_tokens), cached)

    def openai(self) -> dict[str, Any]:
        """As chat completions say it."""
        plain = self.plain()
        usage: dict[str, Any] = {
            "prompt_tokens": plain.input_tokens,
            "completion_tokens": plain.output_tokens,
            "total_tokens": plain.input_tokens + plain.output_tokens,
            "prompt_tokens_details": {
                "cached_tokens": plain.cached_tokens,
                "cache_write_tokens": _count(self.cache_creation_input_tokens),
            },
        }
        if self.output_tokens_details is not None:
            thinking = _count(self.output_tokens_details.thinking_tokens)
            usage["completion_tokens_details"] = {"reasoning_tokens": thinking}
        return usage


class _PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OpenAIUsage(Struct):
    """``usage`` of a chat completion or of its last chunk."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None

    def plain(self) -> Usage:
        """In the gateway's form."""
        details = self.prompt_tokens_details or _PromptDetails()
        return Usage(_count(self.prompt_tokens), _count(self.completion_tokens), _count(details.cached_tokens))

    def anthropic(self) -> dict[str, int]:
        """As Anthropic's messages say it."""
        details = self.prompt_tokens_details or _PromptDetails()
        cached, written = _count(details.cached_tokens), _count(details.cache_write_tokens)
        return {
            "input_tokens": max(_count(self.prompt_tokens) - cached - written, 0),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": cached,
            "output_tokens": _count(self.completion_tokens),
        }


def _count(tokens: int | None) -> int:
    return max(tokens or 0, 0)
