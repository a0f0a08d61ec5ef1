"""Asking a model for an answer that fits a JSON schema: what every caller of a named model shares.

A server is asked for structured outputs by the schema (``response_format: json_schema``); one that refuses that is
asked in JSON mode, then in words alone, and what it refused is remembered. Whatever it was asked by, the schema
stands in the instructions too, and the answer is read strictly: one JSON object that fits the schema, or an error.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from tiny_dancer.errors import ModelError, OptionError
from tiny_dancer.routing.schemas import check_schema, misfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Messages = Sequence[Mapping[str, Any]]

__all__ = [
    "FORMS",
    "Ask",
    "EndpointModel",
    "Form",
    "checked",
    "read_answer",
    "read_completion",
    "refuses_form",
    "request_fields",
]

Form = Literal["schema", "object", "text"]
FORMS: Final[tuple[Form, ...]] = ("schema", "object", "text")
"""How a server is asked for JSON, the surest first."""

_REMEDY: Final = "check the model's address, key and name"
_LARGEST: Final = 4 << 20
# Statuses by which servers refuse a request's field, and words by which they name this one.
_REFUSALS: Final = frozenset((400, 404, 415, 422, 501))
_NAMES_FORM: Final = re.compile(
    r"response.?format|json|schema|structured|grammar|guided|output_config", re.IGNORECASE
)
_FENCE: Final = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL | re.IGNORECASE)
_THINKING: Final = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


class Ask(Protocol):
    """Asks a model: an async callable. :class:`EndpointModel` is one; so is any function of this shape."""

    async def __call__(self, messages: Messages, schema: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, which fits the schema.

        Args:
            messages: in the form of OpenAI's chat completions.
            schema: of a JSON object.

        Raises:
            ModelError: it cannot be reached, refuses, takes too long, or does not answer so.
        """
        ...


class EndpointModel:
    """A model at a server that speaks OpenAI's ``/chat/completions``. Share it between threads and tasks.

    Example:
        >>> model = EndpointModel("https://api.openai.com/v1", "gpt-5-mini", api_key="...")
        >>> model.url
        'https://api.openai.com/v1/chat/completions'
    """

    def __init__(self, base_url: str, model: str, *, api_key: str | None = None, timeout: float = 30.0) -> None:
        """A model.

        Args:
            base_url: such as ``https://api.openai.com/v1``.
            model: the server's name for it.
            api_key: sent as a bearer token.
            timeout: seconds until the answer is there; of :meth:`ask`, for each wait.

        Raises:
            OptionError: an address that is neither http nor https, no name, no time.
        """
        if not base_url.startswith(("http://", "https://")):
            raise OptionError("base_url", base_url, "give an address that begins with http:// or https://")
        if not model:
            raise OptionError("model", "''", "give the server's name for the model")
        if not timeout > 0:
            raise OptionError("timeout", timeout, "give seconds above 0")
        self.url, self.model, self.timeout = f"{base_url.rstrip('/')}/chat/completions", model, timeout
        self.name = model
        self._key = api_key
        self._form = 0

    async def __call__(self, messages: Messages, schema: Mapping[str, Any]) -> dict[str, Any]:
        """See :class:`Ask`."""
        try:
            async with asyncio.timeout(self.timeout):
                return await asyncio.to_thread(self.ask, messages, schema)
        except TimeoutError:
            raise self._late() from None

    def ask(self, messages: Messages, schema: Mapping[str, Any]) -> dict[str, Any]:
        """As the call, for callers without an event loop.

        Raises:
            OptionError: the schema is none, or not one that can be checked.
            ModelError: see :class:`Ask`.
        """
        check_schema(schema, "schema")
        at = self._form
        while True:
            try:
                body = self._send(request_fields(self.model, messages, schema, FORMS[at]))
                self._form = at
                return read_answer(read_completion(body, self.name), schema, self.name)
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read(_LARGEST).decode(errors="replace")
                if at + 1 < len(FORMS) and refuses_form(error.code, said):
                    at += 1
                    continue
                raise ModelError(self.name, f"{self.url} answered {error.code}", _REMEDY) from None
            except TimeoutError:
                raise self._late() from None
            except OSError as error:
                if isinstance(getattr(error, "reason", None), TimeoutError):
                    raise self._late() from None
                raise ModelError(self.name, f"{self.url}: {error}", _REMEDY) from error

    def _send(self, fields: Mapping[str, Any]) -> bytes:
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self.url, json.dumps(fields).encode(), headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            found: bytes = answer.read(_LARGEST)
        return found

    def _late(self) -> ModelError:
        return ModelError(self.name, f"no answer in {self.timeout:g} s", "give it more time, or ask another model")


def request_fields(model: str, messages: Messages, schema: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """The fields of a chat completion that asks for an object of this schema."""
    told = (
        "Answer with one JSON object and nothing else. It must fit this JSON schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )
    fields: dict[str, Any] = {"model": model, "messages": [{"role": "system", "content": told}, *messages]}
    if form == "schema":
        described = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
        fields["response_format"] = {"type": "json_schema", "json_schema": described}
    elif form == "object":
        fields["response_format"] = {"type": "json_object"}
    return fields


def refuses_form(status: int, said: str) -> bool:
    """Whether an answer of this status refuses the form that JSON was asked in, and not something else."""
    return status in _REFUSALS and _NAMES_FORM.search(said) is not None


def read_completion(body: bytes, name: str) -> str:
    """The text of a chat completion.

    Raises:
        ModelError: it refuses, was cut, or is no chat completion.
    """
    try:
        choice = json.loads(body)["choices"][0]
        message = choice["message"]
        refusal, text, ended = message.get("refusal"), message.get("content"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError(name, "no chat completion", "give the address of a server that has them") from None
    if refusal:
        raise ModelError(name, f"refused: {refusal}", "ask another model, or otherwise")
    if isinstance(text, list):
        parts = [each.get("text") for each in text if isinstance(each, dict)]
        text = "".join(each for each in parts if isinstance(each, str))
    if ended == "length":
        raise ModelError(name, "cut at its longest", "let the model say more, or ask for less")
    if not isinstance(text, str) or not text.strip():
        raise ModelError(name, "empty", "ask another model")
    return text


async def checked(model: Ask, messages: Messages, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a model answers, whoever wrote it: an answer that does not fit the schema is an error.

    Raises:
        ModelError: as the model says, or it does not answer so.
        OptionError: no model.
    """
    name = str(getattr(model, "name", "") or type(model).__name__)
    remedy = "give an EndpointModel, or an async function of its shape"
    if not callable(model):
        raise OptionError("model", repr(model), remedy)
    asked: Any = model(messages, schema)
    if not inspect.isawaitable(asked):
        raise OptionError("model", f"{name} gives no awaitable", remedy)
    found: Any = await asked
    fault = misfit(found, schema)
    if fault is None and isinstance(found, dict):
        return found
    raise ModelError(name, fault or type(found).__name__, "ask a model that keeps to JSON schemas")


def read_answer(text: str, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The one JSON object that a text is, but for a fence around it and thinking before it.

    Raises:
        ModelError: it is none, or does not fit the schema.
    """
    said = _THINKING.sub("", text, count=1) if text.lstrip().startswith("<think>") else text
    said = said.strip()
    if (fenced := _FENCE.fullmatch(said)) is not None:
        said = fenced[1]
    remedy = "ask a model that keeps to JSON schemas"
    try:
        found = json.loads(said, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ModelError(name, f"no JSON: {said[:100]}", remedy) from None
    if not isinstance(found, dict):
        raise ModelError(name, f"no JSON object: {said[:100]}", remedy)
    if (fault := misfit(found, schema)) is not None:
        raise ModelError(name, fault, remedy)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes a schema: every object says all it has, and all of it is required."""
    if isinstance(schema, dict):
        if "properties" in schema or schema.get("type") == "object":
            names = list(schema.get("properties", {}))
            if schema.get("additionalProperties") is not False or sorted(schema.get("required", [])) != sorted(
                names
            ):
                return False
        return all(_is_strict(each) for each in schema.values())
    if isinstance(schema, list):
        return all(_is_strict(each) for each in schema)
    return True
