"""What a request takes before any upstream has said so: what is likely, and at most.

The most of a prompt is the most of three counts: that of guesses (:mod:`.guess`), the engine's, and a token for
three bytes; it is never less than a thousand, for providers add to prompts what nobody sees. An image is no text:
it counts as one, whatever its bytes. The most of an answer is what the request or the model allows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer import _core
from tiny_dancer.errors import RequestError
from tiny_dancer.gateway.account.guess import BYTES_PER_TOKEN, prompt_tokens
from tiny_dancer.gateway.configuration.settings import USUAL_OUTPUT_TOKENS
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.upstream.dialect import Usage

if TYPE_CHECKING:
    from tiny_dancer.gateway.choosing.incoming import Incoming
    from tiny_dancer.gateway.choosing.plan import Plan
    from tiny_dancer.gateway.tools.offered import Offered
    from tiny_dancer.gateway.upstream.deployments import ServedModel

LONGEST_ANSWER: Final = 8_192
"""Tokens of an answer at most, where neither the request nor its model says."""

# Tokens of a prompt of which a part is elsewhere, where its model's window is not known.
_LARGEST_PROMPT: Final = 128_000
# Tokens of one image at most, by what OpenAI and Anthropic say they count.
_LARGEST_IMAGE: Final = 2_000
_IMAGES: Final = re.compile(rb'"type"\s*:\s*"(?:image_url|input_image|image)"')
# A string of JSON this long without a space is data.
_DATA: Final = 1024
# What providers add to a prompt: templates, what explains tools.
_LEAST_PROMPT: Final = 1_000
_FEWEST_BYTES_A_TOKEN: Final = 3
# What limits an answer; what another endpoint calls so limits nothing.
_LIMITS: Final[dict[str, tuple[str, ...]]] = {
    "chat.completions": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
# What stands for a prompt, or a part of one, that is not in the request; the last is a template.
_ELSEWHERE: Final = ("previous_response_id", "conversation", "prompt")
_REFERENCES: Final = (b'"file_id"', b'"file_url"', b'"item_reference"')
_BY_URL: Final = re.compile(rb'"type"\s*:\s*"url"')
# More than this is taken for it.
_MOST_ASKED: Final = 2**40
_any: Final = msgspec.json.Decoder().decode
_text: Final = msgspec.json.Decoder(str).decode


class Prompt:
    """What is known of a request's prompt; counted when first asked."""

    def __init__(self, incoming: Incoming, plan: Plan, text_bytes: int | None = None) -> None:
        """``text_bytes``: of what is passed on, whose fields nobody has read; None: as many as the fields have."""
        self._incoming, self._plan = incoming, plan
        self._given = text_bytes
        self._counted: int | None = None
        self._body: bytes | None = None
        self._images = 0

    def tokens(self, model: ServedModel) -> int:
        """Likely; no more than the model takes."""
        if self._counted is None:
            self._counted = (
                prompt_tokens(self._incoming) if self._given is None else self._given // BYTES_PER_TOKEN
            )
        return min(self._counted, model.settings.context_window or self._counted)

    def most_tokens(self, model: ServedModel) -> int:
        """At most; no more than the model takes."""
        text = self._text_bytes()
        if (whole := self._incoming.searched) is not None and model.searches_itself:
            text = max(text, sum(map(len, whole.values())))
        text = text // _FEWEST_BYTES_A_TOKEN + self._images * _LARGEST_IMAGE
        most = max(self.tokens(model), self._pieces(), text)
        if self._incoming.endpoint != "embeddings":
            most = max(most, _LEAST_PROMPT)
        if self._refers():
            most = max(most, _LARGEST_PROMPT)
        window = model.settings.context_window
        return most if window is None else min(most, window)

    def likely(self, model: ServedModel) -> Usage:
        """What a call of this model takes, where nobody saw its end."""
        answer = min(model.settings.expected_output_tokens or USUAL_OUTPUT_TOKENS, self._most_answers(model))
        return Usage(self.tokens(model), round(answer))

    def most_cost(self, model: ServedModel) -> float | None:
        """USD a call of this model costs at most; None where it has no price."""
        prompt, answer = self.most_tokens(model), self._most_answers(model)
        tier = asked_tier(self._incoming)
        cost = model.cost(Usage(prompt, answer, tier=tier))
        if cost is not None and b"cache_control" in (body := self._whole()):
            hour = prompt if b'"1h"' in body else 0
            written = Usage(prompt, answer, written_tokens=prompt, written_hour_tokens=hour, tier=tier)
            cost = max(cost, model.cost(written) or 0.0)
        return cost

    def _most_answers(self, model: ServedModel) -> int:
        """Tokens of all answers together."""
        incoming, settings = self._incoming, model.settings
        if incoming.endpoint == "embeddings":
            return 0
        limits = _LIMITS.get(incoming.endpoint, ())
        most = max((self._limit(field) for field in limits), default=0) or None
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

    def _limit(self, field: str) -> int:
        """Tokens an answer may have by this field, 0 where it says nothing. A text may limit nothing somewhere."""
        said = self._number(field) or 0
        return max(said, LONGEST_ANSWER) if said and bytes(self._incoming.fields[field])[:1] == b'"' else said

    def _number(self, field: str) -> int | None:
        """A whole number above 0, also where it is a text, which many servers read as one; what is none is for the
        upstream to refuse."""
        value = _read(self._incoming.fields.get(field))
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return None
        return int(min(value, _MOST_ASKED)) if isinstance(value, int | float) and value >= 1 else None

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
        if self._given is not None:
            return self._given
        body = self._whole()
        if b"image" not in body:
            return len(body)
        words = [each for each in body.split(b'"') if len(each) < _DATA or b" " in each]
        text = b'"'.join(words)
        self._images = len(_IMAGES.findall(text))
        return len(text) if self._images else len(body)

    def _refers(self) -> bool:
        """Whether a part of the prompt is not in the request."""
        fields = self._incoming.fields
        if self._incoming.endpoint == "responses" and any(
            name in fields and bytes(fields[name]) != b"null" for name in _ELSEWHERE
        ):
            return True
        said = bytes(fields.get("messages") or fields.get("input") or b"")
        return any(each in said for each in _REFERENCES) or (
            b'"document"' in said and _BY_URL.search(said) is not None
        )

    def _whole(self) -> bytes:
        if self._body is None:
            self._body = b"".join(map(bytes, self._incoming.fields.values()))
        return self._body


def tokens_saved(tools: Offered) -> int:
    """Of a prompt, by what became of its tools; below 0 where some were added."""
    return round(tools.bytes_saved / BYTES_PER_TOKEN)


def asked_tier(incoming: Incoming) -> str:
    """The tier of service that a request asks for; empty where it asks for none."""
    raw = incoming.fields.get("service_tier")
    try:
        return "" if raw is None else _text(raw)
    except ValueError:
        return ""


def _read(raw: msgspec.Raw | None) -> Any:
    if raw is None:
        return None
    try:
        return _any(raw)
    except (ValueError, RecursionError):
        return None
