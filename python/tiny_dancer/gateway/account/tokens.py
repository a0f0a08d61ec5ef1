"""Tokens and money of a request before any upstream has said them: what they are likely, and at most.

The engine counts word pieces of a prompt, which upstreams' own count resembles; what it knows no pieces of (other
scripts, long runs of letters and digits) counts one token for six bytes. The most is reckoned with more: one for
three bytes where that is more than the engine counts, never less than a thousand, for providers add to prompts
what nobody sees; and of the answer what the request or the model allows. An image is no text: it counts as one,
whatever its bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer import _core
from tiny_dancer.errors import RequestError
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Usage

if TYPE_CHECKING:
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Plan
    from tiny_dancer.gateway.upstream.deployments import ServedModel

LONGEST_ANSWER: Final = 8_192
"""Tokens of an answer at most, where neither the request nor its model says."""

# Tokens of a prompt nobody counted, where its model's window is not known.
_LARGEST_PROMPT: Final = 128_000
# Tokens of one image, likely and at most, by what OpenAI and Anthropic say they count.
_IMAGE: Final = 1_000
_LARGEST_IMAGE: Final = 2_000
_IMAGES: Final = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image|image)"')
# A string of JSON this long without a space is data.
_DATA: Final = 1024
# What providers add to a prompt: templates, what explains tools.
_LEAST_PROMPT: Final = 1_000
_BYTES_A_TOKEN: Final = 6
_FEWEST_BYTES_A_TOKEN: Final = 3
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_any: Final = msgspec.json.Decoder().decode


class Prompt:
    """What is known of a request's prompt; counted when first asked."""

    def __init__(self, incoming: Incoming, plan: Plan, body_bytes: int) -> None:
        self._incoming, self._plan, self._body_bytes = incoming, plan, body_bytes
        self._counted: int | None = None
        self._body: bytes | None = None
        self._images = 0

    def tokens(self, model: ServedModel) -> int:
        """Likely; no more than the model takes."""
        if self._counted is None:
            self._counted = self._count()
        return min(self._counted, model.settings.context_window or _LARGEST_PROMPT)

    def most_tokens(self, model: ServedModel) -> int:
        """At most; no more than the model takes."""
        likely = self.tokens(model)
        text = self._text_bytes() // _FEWEST_BYTES_A_TOKEN
        most = max(likely, text + self._images * _LARGEST_IMAGE)
        if self._incoming.endpoint != "embeddings":
            most = max(most, _LEAST_PROMPT)
        window = model.settings.context_window
        return most if window is None else min(most, window)

    def likely(self, model: ServedModel) -> Usage:
        """What a call of this model takes, where nobody saw its end."""
        answer = min(model.settings.expected_output_tokens, self._most_answers(model))
        return Usage(self.tokens(model), round(answer))

    def most_cost(self, model: ServedModel) -> float | None:
        """USD a call of this model costs at most; None where it has no price."""
        prompt = self.most_tokens(model)
        cost = model.cost(Usage(prompt, self._most_answers(model)))
        written = model.settings.cache_creation_input_token_cost
        if cost is not None and written is not None and b"cache_control" in self._whole():
            cost += prompt * max(written - (model.settings.input_cost_per_token or 0.0), 0.0)
        return cost

    def _most_answers(self, model: ServedModel) -> int:
        """Tokens of all answers together."""
        incoming, settings = self._incoming, model.settings
        if incoming.endpoint == "embeddings":
            return 0
        most = max((self._number(field) or 0 for field in _LIMITS), default=0) or None
        longest = [
            each for each in (most, settings.max_output_tokens, settings.context_window) if each is not None
        ]
        if most is None and settings.max_output_tokens is None:
            longest.append(LONGEST_ANSWER)
        choices = max(self._number("n") or 1, self._number("best_of") or 1)
        if incoming.endpoint == "completions":
            prompts = _read(incoming.fields.get("prompt"))
            if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
                choices *= len(prompts)
        return min(longest) * choices

    def _number(self, field: str) -> int | None:
        """A whole number above 0; what is none is for the upstream to refuse."""
        value = _read(self._incoming.fields.get(field))
        return int(value) if isinstance(value, int | float) and 1 <= value < 2**40 else None

    def _count(self) -> int:
        text = self._text_bytes() // _BYTES_A_TOKEN
        return max(self._pieces(), text) + self._images * _IMAGE

    def _pieces(self) -> int:
        """Of words, by the engine."""
        decision = self._plan.decision
        if decision is not None and decision.tokens:
            return decision.tokens
        incoming = self._incoming
        try:
            counted = int(_core.featurise([incoming.words()], [incoming.tools()]).tokens[0])
        except (RequestError, GatewayError, KeyError):
            return 0  # images alone, or what only the upstream reads
        system = incoming.system()
        return counted + (0 if system is None else len(system) // 4)

    def _text_bytes(self) -> int:
        """Of the body without its images, which are counted."""
        body = self._whole()
        if b"image" not in body:
            return self._body_bytes
        words = [each for each in body.split(b'"') if len(each) < _DATA or b" " in each]
        text = b'"'.join(words)
        self._images = len(_IMAGES.findall(text))
        return len(text) if self._images else self._body_bytes

    def _whole(self) -> bytes:
        if self._body is None:
            self._body = b"".join(map(bytes, self._incoming.fields.values()))
        return self._body


def _read(raw: msgspec.Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return _any(raw)
    except (ValueError, RecursionError):
        return None
