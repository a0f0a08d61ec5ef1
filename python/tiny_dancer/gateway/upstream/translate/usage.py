"""What an answer cost, in all protocols' words: read tolerantly, said in OpenAI's or Anthropic's.

A count may come as a float, as a text, as null or not at all; what is no count is as if it had not been said, and
never a reason to throw an answer away. A count of 0 says nothing either: it never replaces one that is known, and
:mod:`tiny_dancer.gateway.account.settle` does not believe it where there was something to count.

Anthropic counts the prompt's tokens in three parts, those read from the cache, those written to it and the others;
OpenAI counts them together and says how many of them were cached. Some servers leave reasoning out of
``completion_tokens``; the total shows it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.gateway.upstream.translate.fields import present

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST: Final = 2**40  # tokens; what is above is no count
_any: Final = msgspec.json.Decoder().decode
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
_ANTHROPIC: Final = {"cache_read_input_tokens", "cache_creation_input_tokens"}
_NOTHING: Final[Mapping[str, Any]] = {}


class _OfPrompt(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: Count | None = None
    audio_tokens: Count | None = None


class _OfOutput(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    accepted_prediction_tokens: Count | None = None
    rejected_prediction_tokens: Count | None = None


class _Usual(msgspec.Struct, forbid_unknown_fields=True):
    """As OpenAI's chat completions say it, and most servers: read at once. All else is read part by part."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: _OfPrompt | None = None
    completion_tokens_details: _OfOutput | None = None


_usual: Final = msgspec.json.Decoder(_Usual).decode


def read_openai(raw: msgspec.Raw | bytes) -> Usage | None:
    """``usage`` of a chat completion, completion, response or embedding; None where it counts nothing."""
    try:
        usual = _usual(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_tolerantly(raw)
    prompt, output = usual.prompt_tokens, usual.completion_tokens
    if not prompt or not output or usual.total_tokens != prompt + output:
        return _read_tolerantly(raw)
    of_prompt, of_output = usual.prompt_tokens_details, usual.completion_tokens_details
    if of_prompt is None and of_output is None:
        return Usage(prompt, output)
    if of_prompt is not None and (of_prompt.cached_tokens or 0) > prompt:
        return _read_tolerantly(raw)
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_tokens=0 if of_prompt is None else min(of_prompt.cached_tokens or 0, prompt),
        input_audio_tokens=0 if of_prompt is None else min(of_prompt.audio_tokens or 0, prompt),
        output_audio_tokens=0 if of_output is None else min(of_output.audio_tokens or 0, output),
        reasoning_tokens=0 if of_output is None else min(of_output.reasoning_tokens or 0, output),
    )


def _read_tolerantly(raw: msgspec.Raw | bytes) -> Usage | None:
    said = _object(raw)
    if not said:
        return None
    prompt = _first(said, "prompt_tokens", "input_tokens")
    output = _first(said, "completion_tokens", "output_tokens")
    total = _count(said.get("total_tokens"))
    if not (prompt or output or total):
        return None
    of_prompt = _part(said, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    of_output = _part(said, "completion_tokens_details", "output_tokens_details", "output_token_details")
    # DeepSeek, Moonshot and Mistral say it beside the counts.
    cached = _first(of_prompt, "cached_tokens", "cache_read_tokens") or _first(
        said, "cached_tokens", "prompt_cache_hit_tokens", "num_cached_tokens", "cache_read_input_tokens"
    )
    written = _first(of_prompt, "cache_write_tokens", "cache_creation_tokens") or _first(
        said, "cache_write_tokens", "cache_creation_input_tokens"
    )
    hour = _hour(said) or _hour(of_prompt)
    written = max(written, hour)
    reasoning = _first(of_output, "reasoning_tokens") or _count(said.get("reasoning_tokens"))
    beside = cached + written
    if beside and "prompt_tokens" not in said and "total_tokens" not in said and said.keys() & _ANTHROPIC:
        prompt += beside
    elif beside > prompt or (beside and total - prompt - output == beside != reasoning):
        prompt += beside  # counted as Anthropic does
    if not prompt and total > output:
        prompt = total - output  # all of it, where nothing else is said: embeddings have no other side
    beyond = total - prompt - output
    if beyond > 0 and (not output or beyond >= reasoning):
        # Reasoning that is not among them: as much as is said, or else all that the total has more.
        output += (output and reasoning) or beyond
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_tokens=min(cached, prompt),
        written_tokens=min(written, prompt),
        written_hour_tokens=min(hour, prompt),
        input_audio_tokens=min(_first(of_prompt, "audio_tokens"), prompt),
        output_audio_tokens=min(_first(of_output, "audio_tokens"), output),
        reasoning_tokens=min(reasoning, output),
        tier=_text(said.get("service_tier")),
    )


def beside(found: Usage | None, x_groq: msgspec.Raw, service_tier: msgspec.Raw) -> Usage | None:
    """What a chat completion, or a chunk of one, says beside its ``usage``.

    Args:
        found: its usage, as far as it was read.
        x_groq: has a ``usage`` inside, which counts where the other says nothing.
        service_tier: of the answer.
    """
    if found is None and present(x_groq) and (said := _object(x_groq).get("usage")) is not None:
        found = read_openai(msgspec.json.encode(said))
    if found is None or not present(service_tier):
        return found
    try:
        tier = _text(_any(service_tier))
    except (ValueError, RecursionError):
        tier = ""
    return msgspec.structs.replace(found, tier=tier or found.tier)


class AnthropicCounts:
    """``usage`` of an answer, or of ``message_start`` and ``message_delta``, whose counts are running totals.

    Attributes:
        usage: as far as it was said; None where nothing was.
    """

    __slots__ = ("_counts", "_tier", "usage")

    _NAMES: Final = (
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    )

    def __init__(self, raw: msgspec.Raw | bytes = b"") -> None:
        self._counts: dict[str, int] = {}
        self._tier = ""
        self.usage: Usage | None = None
        self.update(raw)

    def update(self, raw: msgspec.Raw | bytes) -> None:
        """Takes over what a later event says."""
        said = _object(raw)
        if not said:
            return
        found = {name: _count(said.get(name)) for name in self._NAMES}
        found["hour"] = _hour(said)
        details = _part(said, "output_tokens_details")
        found["reasoning"] = _first(details, "thinking_tokens", "reasoning_tokens")
        self._counts.update({name: count for name, count in found.items() if count})
        self._tier = _text(said.get("service_tier")) or self._tier
        if not self._counts:
            return
        count = self._counts.get
        cached, hour = count("cache_read_input_tokens", 0), count("hour", 0)
        written = max(count("cache_creation_input_tokens", 0), hour)
        output = count("output_tokens", 0)
        self.usage = Usage(
            input_tokens=count("input_tokens", 0) + cached + written,
            output_tokens=output,
            cached_tokens=cached,
            written_tokens=written,
            written_hour_tokens=hour,
            reasoning_tokens=min(count("reasoning", 0), output),
            tier=self._tier,
        )


def later(before: Usage | None, found: Usage | None) -> Usage | None:
    """What a stream has said so far: the later count, unless that is 0."""
    if before is None or found is None:
        return found or before
    kept = {
        name: value
        for name in Usage.__struct_fields__
        if not getattr(found, name) and (value := getattr(before, name))
    }
    return msgspec.structs.replace(found, **kept) if kept else found


def say_openai(usage: Usage | None) -> dict[str, Any]:
    """As chat completions say it."""
    found = usage or Usage()
    said: dict[str, Any] = {
        "prompt_tokens": found.input_tokens,
        "completion_tokens": found.output_tokens,
        "total_tokens": found.input_tokens + found.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": found.cached_tokens,
            "cache_write_tokens": found.written_tokens,
        },
    }
    if found.reasoning_tokens:
        said["completion_tokens_details"] = {"reasoning_tokens": found.reasoning_tokens}
    return said


def say_responses(usage: Usage) -> dict[str, Any]:
    """As responses say it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.written_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def say_anthropic(usage: Usage | None) -> dict[str, int]:
    """As Anthropic's messages say it."""
    found = usage or Usage()
    return {
        "input_tokens": max(found.input_tokens - found.cached_tokens - found.written_tokens, 0),
        "cache_creation_input_tokens": found.written_tokens,
        "cache_read_input_tokens": found.cached_tokens,
        "output_tokens": found.output_tokens,
    }


def _object(raw: msgspec.Raw | bytes) -> Mapping[str, Any]:
    """The object; an empty one where it is none."""
    try:
        said = _any(raw)
    except (ValueError, RecursionError):
        return _NOTHING
    return said if isinstance(said, dict) else _NOTHING


def _part(said: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(found := said.get(name), dict):
            return found
    return _NOTHING


def _hour(said: Mapping[str, Any]) -> int:
    """Of what was written into the cache: what stays there for an hour."""
    parts = _part(said, "cache_creation", "cache_creation_token_details")
    return _count(parts.get("ephemeral_1h_input_tokens"))


def _first(said: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if count := _count(said.get(name)):
            return count
    return 0


def _count(said: object) -> int:
    """Tokens; 0 where it is no count."""
    if type(said) is int:
        return said if 0 < said <= _MOST else 0
    try:
        found = float(said) if isinstance(said, float | str) else 0.0
    except ValueError:
        return 0
    return round(found) if math.isfinite(found) and 0 < found <= _MOST else 0


def _text(said: object) -> str:
    return said if isinstance(said, str) else ""
