"""``/v1/decide``, and the same as OpenAI's ``/v1/decisions``: questions about a text, answered by the engine where
it can and by a model otherwise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from tiny_dancer.errors import ModelError, RequestError
from tiny_dancer.gateway import asking
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS, mended_fields, read_model
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.gateway.exchange import Exchange
from tiny_dancer.gateway.http import send_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.gateway.http import Receive, Scope, Send
    from tiny_dancer.gateway.services import Services
    from tiny_dancer.gateway.upstream.dialect import Endpoint, Usage
    from tiny_dancer.routing.ask import Ask

PATHS: Final = ("/v1/decide", "/v1/decisions")
ENGINE: Final = "engine"
"""The model that is none: what the engine cannot answer is refused."""

# What clients of OpenAI's may send beside what is asked; it changes no answer.
_PASSED_OVER: Final = ("safety_identifier", "prompt_cache_key", "prompt_cache_options", "metadata", "user")
_KNOWN: Final = ("model", "input", "messages", "questions", *_PASSED_OVER)
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class DecideExchange(Exchange):
    """One request of questions. Make one, await :meth:`run`, forget it."""

    __slots__ = ()

    def __init__(self, services: Services, receive: Receive, send: Send) -> None:
        # Its name is for the account alone, as that of what is passed on.
        super().__init__(services, cast("Endpoint", "decide"), receive, send)

    async def _serve(self, scope: Scope) -> None:
        headers = self._admit(scope)
        for header in OPTION_HEADERS:
            if header in headers:
                raise GatewayError(
                    400,
                    f"The header {header.decode()} means nothing where questions are asked; leave it out.",
                    param=header.decode(),
                    code="unsupported_parameter",
                )
        fields, _ = mended_fields(await self._body(headers))
        self.payers = self._services.access.owned.by_fields(self.payers, fields)
        name, source, about, questions = _read(fields)
        model = self._model_named(name)
        try:
            answers = await self.serving.decider.adecide(about, questions, model=model)
        except RequestError as error:
            field = source if error.field in ("text", "request") else error.field
            field = source + field.removeprefix("input") if field.startswith("input") else field
            raise GatewayError(
                400, f"Invalid {field}: {error.value}; {error.remedy}.", param=field, code="invalid_value"
            ) from error
        except ModelError as error:
            if isinstance(error.__cause__, GatewayError):
                raise error.__cause__ from None
            raise asking.bad_answer(error) from error
        answered = self.attempts.model
        self.free = self.plan is None
        found = {
            "object": "decisions",
            "id": self.id,
            "model": ENGINE if answered is None else answered.name,
            "answers": [each.as_json() for each in answers],
            "usage": _usage(self.usage),
        }
        self.status = 200
        self._started = True
        described = self._describe([], self.plan)
        self.first = time.perf_counter()
        await send_json(self._send, 200, described, _encode(found))

    def _model_named(self, name: str | None) -> Ask | None:
        """What answers what the engine does not; None where nothing may."""
        settings = self.serving.config.decide
        reason = ""
        if name == ENGINE:
            return None
        if name is None or name == "auto":
            if settings.model is None:
                return None
            name, reason = settings.model, "decide"
        else:
            self.serving.resolve(name)  # an unknown one is said now, whether it is needed or not
        return _Asked(self, name, settings.timeout, reason)


class _Asked:
    """A model of the configuration, whose call is a part of this request."""

    def __init__(self, exchange: DecideExchange, name: str, timeout: float, reason: str) -> None:
        self._exchange, self.name, self._timeout, self._reason = exchange, name, timeout, reason

    async def __call__(self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> dict[str, Any]:
        exchange = self._exchange
        try:
            found = await asking.ask(
                exchange._services,
                exchange,
                self.name,
                messages,
                schema,
                timeout=self._timeout,
                reason=self._reason,
                trace=exchange.trace,
            )
        except GatewayError as error:
            raise ModelError(self.name, error.message, "ask another") from error
        assert exchange.attempts.model is not None
        self.name = exchange.attempts.model.name
        return found


def _read(fields: dict[str, msgspec.Raw]) -> tuple[str | None, str, Any, Any]:
    """The model named, which field has the input, the input, and the questions."""
    unknown = next((name for name in fields if name not in _KNOWN), None)
    if unknown is not None:
        raise GatewayError(
            400,
            f"Unknown parameter: '{unknown[:100]}'; there are {', '.join(_KNOWN[:4])}.",
            param=unknown[:100],
            code="unknown_parameter",
        )
    name = read_model(fields["model"]) if "model" in fields and fields["model"] != b"null" else None
    named = [each for each in ("input", "messages") if each in fields]
    if len(named) == 2:
        raise GatewayError(400, "Give input or messages, not both.", param="messages", code="invalid_value")
    for each in (named[0] if named else "input", "questions"):
        if each not in fields:
            raise GatewayError(
                400, f"Missing required parameter: '{each}'.", param=each, code="missing_required_parameter"
            )
    try:
        return name, named[0], _any(fields[named[0]]), _any(fields["questions"])
    except RecursionError as error:
        raise GatewayError(400, "The body is nested too deeply.", code="invalid_json") from error


def _usage(usage: Usage | None) -> dict[str, Any]:
    """Tokens of the model's call, in OpenAI's words; none where it was not asked."""
    prompt, output = (0, 0) if usage is None else (usage.input_tokens, usage.output_tokens)
    cached, written = (0, 0) if usage is None else (usage.cached_tokens, usage.written_tokens)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0 if usage is None else usage.reasoning_tokens},
        "total_tokens": prompt + output,
    }
