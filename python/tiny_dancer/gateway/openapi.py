"""The gateway's own description, OpenAPI 3.1: what it reads itself. What it only passes on is left open.

Field by field it follows the structs: their docstrings are its descriptions.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from tiny_dancer._core import __version__
from tiny_dancer.gateway.access import payers
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS, Options
from tiny_dancer.gateway.queue import CLAIM, PAGE, SAID, SCHEMA
from tiny_dancer.gateway.registered import SEARCH
from tiny_dancer.types import Decision, Guarantee, RequestRecord

_NUMBER: Final = {"type": "number"}
_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_OR_NULL: Final = {"type": ["number", "null"]}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
# By annotation. What cannot be known is null: JSON has no NaN.
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "str": _TEXT,
    "str | None": _TEXT_OR_NULL,
    "int": {"type": "integer"},
    "int | None": {"type": ["integer", "null"]},
    "bool": {"type": "boolean"},
    "float": _OR_NULL,
    "float | None": _OR_NULL,
    "tuple[str, ...]": _TEXTS,
    "Mapping[str, float]": {"type": "object", "additionalProperties": _OR_NULL},
    "Mapping[str, str]": {"type": "object", "additionalProperties": {"type": "string"}},
    "Mapping[str, float] | None": {"type": ["object", "null"], "additionalProperties": _OR_NULL},
    "Mapping[str, float | None] | None": {"type": ["object", "null"], "additionalProperties": _OR_NULL},
    "Guarantee | None": {"anyOf": [{"$ref": "#/components/schemas/Guarantee"}, {"type": "null"}]},
}
_RANGES: Final[dict[str, dict[str, Any]]] = {
    "max_cost": {"type": "number", "minimum": 0},
    "min_quality": {"type": "number", "minimum": 0, "maximum": 1},
    "max_latency": {"type": "number", "minimum": 0},
    "threshold": {"type": "number", "minimum": -1, "maximum": 1},
    "pin": {"type": "string", "minLength": 1},
    "session": {"type": "string", "minLength": 1},
    "exclude": {"type": "array", "maxItems": 100, "items": {"type": "string", "minLength": 1}},
    "role": {"enum": ["chat", "autocomplete", "edit", "apply", "embed", "rerank", "summarize"]},
    "policy": {"enum": ["quality", "balanced", "cheapest", "cost", "latency", "quality_per_dollar"]},
    "fallback_on": {"type": "array", "maxItems": 100, "items": {"enum": ["content_filter"]}},
    "tool_selection": {"anyOf": [{"const": "off"}, {"type": "integer", "minimum": 1, "maximum": 65_536}]},
    "capabilities": {"type": "array", "maxItems": 100, "items": {"type": "string", "minLength": 1}},
    "agent_tags": {"type": "array", "maxItems": 100, "items": {"type": "string", "minLength": 1}},
    "region": {"type": "string", "minLength": 1},
}
_LISTS: Final = ("exclude", "fallback_on", "capabilities", "agent_tags")
_ROLES: Final = ["system", "developer", "user", "assistant", "tool", "function"]
_STATUSES: Final[dict[str, str]] = {
    "400": "The request cannot be served as it stands: broken JSON, a field missing or of another type, "
    "constraints that no model meets. `param` names the field.",
    "401": "No API key, or one that is unknown, revoked or expired.",
    "403": "The key may not use this model, is no operator's, or may not be charged to whom the request names.",
    "404": "There is no such model, or nothing has this id.",
    "408": "The request arrived too slowly.",
    "409": "Another has claimed it, or it has ended.",
    "413": "The body is too large.",
    "415": "The body is compressed in a way that is not known here.",
    "429": "A limit of the key or a budget is reached; `retry-after` says when to come back.",
    "431": "The headers are too large.",
    "502": "The model's server cannot be reached, refuses the gateway's key, or sent what cannot be read.",
    "503": "No deployment takes requests now, the database does not answer, or too much is under way.",
    "504": "The model's server did not answer in time.",
    "4XX": "Of the model's server, with its status and code (`context_length_exceeded` …).",
    "5XX": "Of the model's server, after retries and fallbacks.",
}
_EVERYWHERE: Final = ("400", "401", "408", "413", "429", "431", "503")
_RESPONSE_HEADERS: Final[dict[str, str]] = {
    "x-request-id": "The upstream's id of the request, or the gateway's own.",
    "x-td-model": "Name of the model that served.",
    "x-td-agent": "Name of the agent of the registry that served.",
    "x-td-decision": "Id to ask /v1/decisions/{id} about, and to give feedback on.",
    "x-td-reason": "Why this model.",
    "x-td-routed-by": "Who chose it: learned, client, override, session, default …; of a chain every step asked.",
    "x-td-queue-id": "Id of the request among those that wait for people: /v1/queue/{id}.",
    "x-td-cost": "USD, where the model has a price; not on streams, whose cost is known at their end.",
    "x-td-adapted": "What of the request was said otherwise, because the upstream would refuse it; by commas.",
    "x-td-fallbacks": "Models that failed before it.",
    "x-td-level": "Fallback level of the decision, where it is not 0.",
    "x-td-tool-selection": "What was done about its tools: filter, add, search; or why nothing was.",
    "x-td-tools-before": "Tools that the client sent.",
    "x-td-tools-sent": "Tools that the model got.",
    "x-td-tool-tokens-saved": "Tokens of the prompt that this saved, guessed; below 0 where tools were added.",
    "x-td-tool-searches": "Searches for tools that the model made and the gateway answered; so far, on streams.",
    "x-td-guarantee": "Whether the router's certificate covers this answer: yes, or no and why.",
    "x-td-soft-budget": "spent: the key has spent its soft budget; behind it the ids of others that are spent.",
    "x-td-budget": "Id of the budget that is spent, or has too little left, such as team/research/1mo.",
    "x-td-upstream": "Name of the upstream, where none of its models is named.",
    "x-td-estimated": "true where the gateway has counted, and not the model's server.",
    "retry-after": "Seconds to wait.",
}


@cache
def openapi_document() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(_document())


def _document() -> dict[str, Any]:
    content = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]}
    message = {
        "type": "object",
        "properties": {"role": {"enum": _ROLES}, "content": content},
        "required": ["role"],
    }
    messages = {"type": "array", "minItems": 1, "items": message}
    block = {"type": "object", "properties": {"type": _TEXT}, "required": ["type"]}
    said = {
        "type": "object",
        "properties": {
            "role": {"enum": ["user", "assistant"]},
            "content": {"anyOf": [_TEXT, {"type": "array", "items": block}]},
        },
        "required": ["role", "content"],
    }
    items = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}
    prompt = {"anyOf": [_TEXT, {"type": "array", "minItems": 1}]}
    stream = {"stream": {"type": ["boolean", "null"]}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tiny Dancer gateway",
            "version": __version__,
            "description": "OpenAI's API, and Anthropic's messages, with each call at the model that is worth it.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}],
        "paths": {
            "/v1/chat/completions": _call("Chat", {"messages": messages, **stream}),
            "/v1/completions": _call("Text completion (legacy)", {"prompt": prompt, **stream}),
            "/v1/responses": _call("Response", {"input": items, **stream}),
            "/v1/embeddings": _call("Embeddings, of the model named", {"input": prompt}),
            "/v1/messages": _call(
                "Anthropic's messages",
                {
                    "messages": {**messages, "items": said},
                    "max_tokens": {"type": "integer", "minimum": 1},
                    **stream,
                },
                error="AnyError",
            ),
            **_passed_on(messages),
            "/v1/route": {"post": _route({"messages": messages, "input": items, "prompt": prompt})},
            "/v1/decide": {"post": _decide()},
            "/v1/decisions": {"post": _decide()},
            "/v1/feedback": {"post": _feedback()},
            "/v1/models": {
                "get": _operation("What clients may name", _json("Models"), ("400", "401", "429", "431", "503"))
            },
            "/v1/models/{model}": _by_id("model", "One of them", "Model"),
            **_agents(),
            "/v1/decisions/{id}": _by_id(
                "id", "What was decided, what it cost, and the feedback on it", "Decided"
            ),
            **_queue(),
            "/openapi.json": {"get": _operation("This document", {"schema": {"type": "object"}}, ("431",))},
        },
        "components": {
            "schemas": _schemas(),
            "headers": {name: {"description": text, "schema": _TEXT} for name, text in _RESPONSE_HEADERS.items()},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of `tiny-dancer keys create`, where the gateway asks for one.",
                }
            },
        },
    }


def _call(summary: str, contents: dict[str, Any], *, error: str = "Error") -> dict[str, Any]:
    """An endpoint whose requests go to a model; all of ``contents`` but ``stream`` is required."""
    forms: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if "stream" in contents:
        forms["text/event-stream"] = {}
    answer = {
        "description": "The model's answer, as it gave it; a stream where the request asks for one.",
        "content": forms,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in _RESPONSE_HEADERS},
    }
    statuses = sorted({*_EVERYWHERE, "403", "404", "415", "502", "504", "4XX", "5XX"})
    operation = _operation(summary, {}, statuses, error=error)
    operation["responses"]["200"] = answer
    operation["requestBody"] = _body(_request(contents, [each for each in contents if each != "stream"]))
    operation["parameters"] = _option_headers()
    return {"post": operation}


_BINARY: Final = {"type": "string", "format": "binary"}
_NAMED: Final = {"type": "string", "minLength": 1, "maxLength": 200}
_OTHERS: Final = "Every other field goes on to the model's server untouched."


def _passed_on(messages: dict[str, Any]) -> dict[str, Any]:
    """What goes on as it is, to the model or the upstream that is named."""
    rerank = {"query": _TEXT, "documents": {"type": "array"}}
    sound = {"file": _BINARY}
    picture = {"image": _BINARY}
    said = {"messages": messages}
    ranked = _for_model("Documents by relevance", rerank, required=("model", "query", "documents"))
    return {
        "/v1/moderations": _for_model("Whether a text is harmful", {"input": {}}, required=("input",)),
        "/v1/rerank": ranked,
        "/v2/rerank": ranked,
        "/rerank": ranked,
        "/v1/audio/speech": _for_model(
            "Text to sound",
            {"input": _TEXT, "voice": {}},
            required=("model", "input", "voice"),
            answers=("audio/*",),
        ),
        "/v1/audio/transcriptions": _for_model(
            "Sound to text", sound, required=("model", "file"), form=True, answers=("text/*",)
        ),
        "/v1/audio/translations": _for_model(
            "Sound to English text", sound, required=("model", "file"), form=True, answers=("text/*",)
        ),
        "/v1/images/generations": _for_model(
            "Text to images", {"prompt": _TEXT}, required=("prompt",), answers=("text/event-stream",)
        ),
        "/v1/images/edits": _for_model(
            "Images from images", picture, required=("image",), form=True, answers=("text/event-stream",)
        ),
        "/v1/images/variations": _for_model("Images like one", picture, required=("image",), form=True),
        "/v1/files": {
            "get": _at_upstream("Files of an upstream"),
            "post": _at_upstream("A file for an upstream", form=True),
        },
        "/v1/files/{id}": {
            "get": _at_upstream("A file, without its content", by_id=True),
            "delete": _at_upstream("Deletes a file", by_id=True),
        },
        "/v1/files/{id}/content": {"get": _at_upstream("The content of a file", by_id=True, answers=("*/*",))},
        "/v1/batches": {"get": _at_upstream("Batches of an upstream"), "post": _at_upstream("A batch")},
        "/v1/batches/{id}": {"get": _at_upstream("A batch", by_id=True)},
        "/v1/batches/{id}/cancel": {"post": _at_upstream("Cancels a batch", by_id=True)},
        "/v1/responses/{id}": {
            "get": _at_maker("A response of this key's", answers=("text/event-stream",)),
            "delete": _at_maker("Deletes a response"),
        },
        "/v1/responses/{id}/cancel": {"post": _at_maker("Cancels a response")},
        "/v1/responses/{id}/input_items": {"get": _at_maker("What a response answers")},
        "/v1/messages/count_tokens": _for_model(
            "Tokens of a prompt, as Anthropic counts them; the gateway does where the server does not, and then "
            "`x-td-estimated` says so",
            said,
            required=("model", "messages"),
            error="AnyError",
        ),
    }


def _for_model(
    summary: str,
    contents: dict[str, Any],
    *,
    required: tuple[str, ...],
    form: bool = False,
    answers: tuple[str, ...] = (),
    error: str = "Error",
) -> dict[str, Any]:
    operation = _passed(summary, answers, error=error)
    described = "A model's name or alias, or auto where the role has a model of its own."
    schema = {
        "type": "object",
        "properties": {"model": {**_NAMED, "description": described}, **contents},
        "required": list(required),
        "description": _OTHERS,
    }
    kind = "multipart/form-data" if form else "application/json"
    operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return {"post": operation}


def _at_upstream(
    summary: str, *, by_id: bool = False, form: bool = False, answers: tuple[str, ...] = ()
) -> dict[str, Any]:
    operation = _passed(summary, answers)
    described = "The upstream that is meant, where several can be."
    operation["parameters"] = [
        *([_ID] if by_id else []),
        {"name": "x-td-upstream", "in": "header", "required": False, "schema": _TEXT, "description": described},
        {"name": "upstream", "in": "query", "required": False, "schema": _TEXT, "description": described},
    ]
    if form:
        schema = {
            "type": "object",
            "properties": {"file": _BINARY, "purpose": _TEXT},
            "required": ["file", "purpose"],
        }
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    return operation


def _at_maker(summary: str, *, answers: tuple[str, ...] = ()) -> dict[str, Any]:
    return {**_passed(summary, answers), "parameters": [_ID]}


_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _passed(summary: str, answers: tuple[str, ...], *, error: str = "Error") -> dict[str, Any]:
    statuses = sorted({*_EVERYWHERE, "403", "404", "415", "502", "504", "4XX", "5XX"})
    operation = _operation(summary, {}, statuses, error=error)
    operation["responses"]["200"] = {
        "description": "The upstream's answer, as it gave it.",
        "content": {"application/json": {}, **{each: {} for each in answers}},
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in (
                "x-request-id",
                "x-td-model",
                "x-td-decision",
                "x-td-reason",
                "x-td-routed-by",
                "x-td-cost",
                "x-td-soft-budget",
                "x-td-upstream",
                "x-td-estimated",
            )
        },
    }
    return operation


def _request(contents: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "model": {
                **_NAMED,
                "description": "A model's name or alias, auto, chain-<name>, router-<name>, "
                "router-<name>-<threshold>, router-quality, router-balanced or router-cheapest.",
                "examples": ["auto"],
            },
            "models": {
                "type": "array",
                "maxItems": 100,
                "items": _NAMED,
                "description": "Models to try next, in this order. Without `model`, the first is the model.",
            },
            "td": {"anyOf": [{"$ref": "#/components/schemas/Options"}, {"type": "null"}]},
            "provider": {
                "type": ["object", "null"],
                "description": "OpenRouter's object, with names of upstreams here: order, only, ignore, "
                "allow_fallbacks, require_parameters, max_price, sort, data_collection.",
            },
            **contents,
        },
        "required": required,
        "anyOf": [
            {"required": ["model"]},
            {"required": ["models"], "properties": {"models": {"minItems": 1}}},
        ],
        "description": _OTHERS,
    }


def _route(contents: dict[str, Any]) -> dict[str, Any]:
    operation = _operation("The decision alone, without a call", _json("Route"), [*_EVERYWHERE, "403", "404"])
    body = _request({**contents, "tools": {"type": "array"}}, [])
    body["anyOf"] = [{"required": [each]} for each in contents]
    body["description"] = (
        "A request to a model; without `model` it is auto. One of messages, input and prompt counts."
    )
    operation["requestBody"] = _body(body)
    operation["parameters"] = _option_headers()
    return operation


def _feedback() -> dict[str, Any]:
    operation = _operation("How good an answer was", _json("Feedback"), [*_EVERYWHERE, "404"])
    properties = {
        "id": {"type": "string", "minLength": 1, "maxLength": 200, "description": "Of an answer or a decision."},
        "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "label": {"enum": ["good", "bad", None], "description": "good is the score 1, bad 0."},
        "text": {"type": ["string", "null"], "maxLength": 100_000},
    }
    operation["requestBody"] = _body(
        {
            "type": "object",
            "properties": properties,
            "required": ["id"],
            "additionalProperties": False,
            "anyOf": [
                {"required": ["score"], "properties": {"score": {"type": "number"}}},
                {"required": ["label"], "properties": {"label": {"type": "string"}}},
            ],
        }
    )
    return operation


def _queue() -> dict[str, Any]:
    """What waits for people."""
    statuses = sorted({"400", "401", "403", "404", "429", "431", "503"})
    acting = sorted({*_EVERYWHERE, "403", "404", "409"})
    listed = _operation(
        "What waits for people, the oldest first: a key's own, or all for operators", _json("Queue"), statuses
    )
    listed["parameters"] = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": described}
        for name, schema, described in (
            (
                "state",
                _TEXT,
                "Of waiting, claimed, answered, expired, cancelled, by commas; or all. Else the first two.",
            ),
            ("limit", {"type": "integer", "minimum": 1, "maximum": PAGE}, "Of a page."),
            ("after", {"type": "string", "minLength": 1}, "Id of the last one of the page before."),
        )
    ]
    found: dict[str, Any] = {"/v1/queue": {"get": listed}}
    one = _operation("One of them: a client's own, or any for operators", _json("Queued"), statuses)
    found["/v1/queue/{id}"] = {"get": {**one, "parameters": [_ID]}}
    for action, summary, body in (
        ("claim", "An operator is answering it: nobody else can meanwhile", CLAIM),
        ("answer", "An operator answers it, for good", SAID),
        ("cancel", "Takes it out of the queue unanswered: its client, or an operator", None),
    ):
        operation = _operation(summary, _json("Queued"), acting)
        operation["parameters"] = [_ID]
        if body is not None:
            operation["requestBody"] = {**_body(body), "required": body is SAID}
        found[f"/v1/queue/{{id}}/{action}"] = {"post": operation}
    return found


def _agents() -> dict[str, Any]:
    """Agents of the registry."""
    listed = _operation(
        "Agents of the registry that the client may ask: those that have all of these",
        _json("Agents"),
        ("400", "401", "429", "431", "503"),
    )
    listed["parameters"] = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": described}
        for name, schema, described in (
            ("capability", _TEXTS, "What they can do; repeatable."),
            ("tag", _TEXTS, "Repeatable."),
            ("type", _TEXTS, "llm, tool, api, human or ensemble; of several any."),
            ("region", _TEXT, "Where they serve."),
        )
    ]
    searched = _operation(
        "The agents that a request is about, best first: by descriptions, capabilities and examples",
        _json("Agents"),
        _EVERYWHERE,
    )
    searched["requestBody"] = _body(SEARCH)
    one = _by_id("agent", "One of them, with or without `agent-` before its name", "Agent")
    return {
        "/v1/agents": {"get": listed},
        "/v1/agents/search": {"post": searched},
        "/v1/agents/{agent}": one,
    }


def _decide() -> dict[str, Any]:
    """Questions about a text, in the shape of OpenAI's Decisions API."""
    answered = {
        "description": "An answer a question, in their order.",
        "content": {"application/json": _json("Decisions")},
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in ("x-request-id", "x-td-model", "x-td-cost", "x-td-routed-by", "x-td-soft-budget")
        },
    }
    statuses = sorted({*_EVERYWHERE, "403", "404", "415", "502", "504", "4XX", "5XX"})
    operation = _operation("Questions about a text, answered by the engine or by a model", {}, statuses)
    operation["responses"]["200"] = answered
    word = {"type": "string", "minLength": 1, "pattern": r"\S"}

    def of(key: str, value: dict[str, Any]) -> dict[str, Any]:
        """A value alone, or with what it means."""
        described = {"properties": {key: value, "description": _TEXT}, "required": [key]}
        return {"anyOf": [value, {"type": "object", **described, "additionalProperties": False}]}

    common = {
        "name": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": 200,
            "description": "A head of this name answers the question.",
        },
        "instructions": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}]},
        "head": {**_TEXT_OR_NULL, "description": "What answers it, whatever its name."},
        "min_confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    }
    criteria = {
        "type": ["object", "null"],
        "properties": {"true": word, "false": word},
        "required": ["true", "false"],
        "additionalProperties": False,
        "description": "What makes a predicate true and what false, to be compared with the input.",
    }
    many = {"type": "array", "minItems": 2, "uniqueItems": True, "description": "May be left out for a head."}
    choices = {**many, "maxItems": 255, "items": of("value", {"anyOf": [word, {"type": "boolean"}]})}
    levels = {**many, "maxItems": 10, "items": of("label", word)}
    question = {
        "anyOf": [
            {
                "type": "object",
                "properties": {"type": {"const": kind}, **common, word: values},
                "required": ["type"],
                "additionalProperties": False,
            }
            for kind, word, values in (
                ("predicate", "criteria", criteria),
                ("choice", "choices", choices),
                ("score", "levels", levels),
            )
        ]
    }
    part = {
        "anyOf": [
            {"type": "object", "properties": {"type": {"const": kind}, field: _TEXT}, "required": ["type", field]}
            for kind, field in (("input_text", "text"), ("text", "text"), ("input_image", "image_url"))
        ]
    }
    message = {
        "type": "object",
        "properties": {
            "type": {"const": "message"},
            "role": {"enum": _ROLES},
            "content": {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": part}]},
        },
        "required": ["role", "content"],
    }
    messages = {"type": "array", "minItems": 1, "items": message}
    operation["requestBody"] = _body(
        {
            "type": "object",
            "properties": {
                "model": {
                    "type": ["string", "null"],
                    "maxLength": 200,
                    "description": "Answers what the engine does not: a model or router; auto: as configured; "
                    "engine: nobody.",
                },
                "input": {"anyOf": [word, messages]},
                "messages": messages,
                "safety_identifier": _TEXT_OR_NULL,
                "questions": {"type": "array", "minItems": 1, "maxItems": 400, "items": question},
            },
            "required": ["questions"],
            "additionalProperties": False,
            "oneOf": [{"required": ["input"]}, {"required": ["messages"]}],
        }
    )
    return operation


def _by_id(name: str, summary: str, schema: str) -> dict[str, Any]:
    operation = _operation(summary, _json(schema), ("400", "401", "404", "429", "431", "503"))
    operation["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    return {"get": operation}


def _operation(
    summary: str, content: dict[str, Any], statuses: tuple[str, ...] | list[str], *, error: str = "Error"
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": {"application/json": content}}}
    for status in statuses:
        responses[status] = {
            "description": _STATUSES[status],
            "content": {"application/json": _json(error)},
            "headers": {"retry-after": {"$ref": "#/components/headers/retry-after"}},
        }
    return {"summary": summary, "responses": responses}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _json(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


_PAYERS: Final[dict[bytes, str]] = {
    payers.USER: "Who is behind the request, where its key names nobody; budgets of users are charged.",
    payers.PROJECT: "What it is for, where its key does not say; budgets of projects are charged.",
    payers.TAGS: "More tags that budgets are charged by, beside those of its key. Separated by commas.",
}


def _option_headers() -> list[dict[str, Any]]:
    """The headers that say what `td` says; where both do, `td` counts. And those that say who pays."""
    described = _descriptions(Options)
    found = []
    for header, option in OPTION_HEADERS.items():
        schema = _TEXT if option in _LISTS else _RANGES[option]
        more = " Separated by commas." if option in _LISTS else ""
        parameter = {"name": header.decode(), "in": "header", "required": False, "schema": schema}
        found.append({**parameter, "description": described[option] + more})
    for header, described_as in _PAYERS.items():
        parameter = {"name": header.decode(), "in": "header", "required": False, "schema": _TEXT}
        found.append({**parameter, "description": described_as})
    return found


def _schemas() -> dict[str, Any]:
    described = _descriptions(Options)
    options = {
        name: {"anyOf": [schema, {"type": "null"}], "description": described[name]}
        if name not in ("exclude", "capabilities", "agent_tags")
        else schema
        for name, schema in _RANGES.items()
    }
    error = {
        "type": "object",
        "properties": {
            "message": _TEXT,
            "type": _TEXT,
            "param": _TEXT_OR_NULL,
            "code": {"type": ["string", "integer", "null"]},
        },
        "required": ["message", "type", "param", "code"],
    }
    plain_error = {
        "type": "object",
        "properties": {"type": _TEXT, "message": _TEXT},
        "required": ["type", "message"],
    }
    model = {
        "id": _TEXT,
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": _TEXT,
    }
    listed = {
        "object": {"const": "list"},
        "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
    }
    decision, record = _of(Decision), _of(RequestRecord)
    common = {
        "object": {"const": "decision"},
        "router": {**_TEXT_OR_NULL, "description": "Name of the router that decided; null where none did."},
        "role": _TEXT,
    }
    told = {"score": _NUMBER, "text": _TEXT_OR_NULL, "time": _NUMBER}
    return {
        "Options": {"type": "object", "properties": options, "additionalProperties": False},
        "Error": _object({"error": error}),
        "AnyError": {
            "anyOf": [
                {"$ref": "#/components/schemas/Error"},
                _object({"type": {"const": "error"}, "error": plain_error}),
            ]
        },
        "Model": {
            **_object(model),
            "description": "For a model also: context_window, endpoints, roles, tags and its prices in USD; for a "
            "router: router (its name) and notes (constant: it never chooses; no certificate: why).",
        },
        "Models": _object(listed),
        "Agent": {
            **_object(
                {
                    "id": {**_TEXT, "description": "What requests name: agent-<name>."},
                    "object": {"const": "agent"},
                    "created": {"type": "integer"},
                    "owned_by": _TEXT,
                    "name": _TEXT,
                    "type": _TEXT,
                    "description": _TEXT,
                    "capabilities": _TEXTS,
                    "observed": {"type": "object", "description": "What came of its calls, faded with age."},
                }
            ),
            "description": "Also what is declared of its prices, quality, latency and limits; of a search, score "
            "and relevance.",
        },
        "Agents": _object(
            {
                "object": {"const": "list"},
                "data": {"type": "array", "items": {"$ref": "#/components/schemas/Agent"}},
            }
        ),
        "Guarantee": _object(_of(Guarantee)),
        "Route": {
            "type": "object",
            "properties": {
                **decision,
                **common,
                "models": {**_TEXTS, "description": "To be tried in this order; none where no model is asked."},
                "model": {**_TEXT_OR_NULL, "description": "The choice; null where an answer is given as it is."},
                "answer": {**_TEXT, "description": "That is given as it is, where a chain leads to one."},
                "hops": {
                    "type": "array",
                    "items": _object({"chain": _TEXT, "step": _TEXT, "chose": {"type": "boolean"}, "why": _TEXT}),
                    "description": "Of a chain: every step asked, in order.",
                },
            },
            "required": ["id", "model", "models", "object", "reason", "role", "routed_by", "router"],
            "description": "Scores, costs, confidence and so on only where a router decided.",
        },
        "Decided": _object(
            {
                **record,
                "object": {"const": "decision"},
                "request_id": _TEXT,
                "feedback": {"type": "array", "items": _object(told)},
            }
        ),
        "Queued": {
            **_object(SCHEMA),
            "description": "Operators see more: what was said, who claimed it.",
        },
        "Queue": _object(
            {
                "object": {"const": "list"},
                "data": {"type": "array", "items": {"$ref": "#/components/schemas/Queued"}},
                "has_more": {"type": "boolean"},
            }
        ),
        "Decisions": _object(
            {
                "object": {"const": "decisions"},
                "id": _TEXT,
                "model": {**_TEXT, "description": "That answered; engine where none was asked."},
                "answers": {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}},
                "usage": {"type": "object"},
            }
        ),
        "Answer": {
            "type": "object",
            "properties": {
                "type": {"enum": ["predicate", "choice", "score", "refusal"]},
                "name": _TEXT_OR_NULL,
                "probability": {**_OR_NULL, "description": "Of true, of a predicate."},
                "value": {
                    "type": ["boolean", "null"],
                    "description": "Of a predicate; null where it is left open.",
                },
                "choice": {"type": ["string", "boolean", "null"], "description": "Null where it is left open."},
                "score": {**_OR_NULL, "description": "Expected position among the levels, from 0; a head's own."},
                "range": {"type": ["array", "null"], "items": _NUMBER},
                "level": {**_TEXT_OR_NULL, "description": "The most probable one."},
                "probabilities": {"type": "array", "items": {"type": "object"}},
                "confidence": {**_OR_NULL, "description": "Probability that the answer is right."},
                "calibrated": {"type": "boolean", "description": "Whether that was fitted on rows held out."},
                "decided_by": {"enum": ["head", "zero_shot", "model"]},
                "by": {**_TEXT, "description": "The head, the encoder or the model."},
                "version": _TEXT,
                "reason": {**_TEXT, "description": "Why it is left open or refused."},
                "latency_us": _NUMBER,
            },
            "required": ["type", "name", "latency_us"],
        },
        "Feedback": _object({"object": {"const": "feedback"}, "id": _TEXT, "score": _NUMBER}),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _of(kind: type) -> dict[str, Any]:
    """The fields of a struct, in JSON."""
    described = _descriptions(kind)
    return {
        name: {**_TYPES[annotation], "description": described[name]}
        for name, annotation in kind.__annotations__.items()
    }


def _descriptions(kind: type) -> dict[str, str]:
    """What the docstring says of each field."""
    _, _, listed = (kind.__doc__ or "").partition("Attributes:\n")
    found = dict.fromkeys(kind.__annotations__, "")
    for name, text in re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", listed, re.MULTILINE):
        plain = text.replace("``", "`").replace(":class:", "")
        found[name] = re.sub(r"\bNone\b", "null", " ".join(plain.split()))
    return found
