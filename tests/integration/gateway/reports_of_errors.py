"""What users of other gateways, servers and clients reported of upstreams' errors: tables for tests.

Each case is named for what is odd, or for who sends it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from tests.integration.gateway.spoken import DONE, ROLE, js, said
from tests.raw_upstream import answered, stream

# --- errors: what is sent, and status, words of the message, and details a client of OpenAI's gets.
ERRORS: dict[str, Any] = {
    "ollama-bare-string": (
        js({"error": "model 'x' not supported here"}, 400),
        (400, "model 'x' not supported here"),
    ),
    "json-string": (js("out of luck", 400), (400, "out of luck")),
    "message-null": (js({"error": {"message": None, "code": "bad_thing", "type": "x"}}, 400), (400, "status 400")),
    "200-object-error": (
        js(
            {
                "object": "error",
                "message": "max_tokens is too large",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        ),
        (400, "max_tokens is too large"),
    ),
    "200-code-and-msg": (
        js({"code": 429, "msg": "too many requests in a minute", "success": False}),
        (429, "too many requests in a minute"),
    ),
    "200-minimax-base-resp": (
        js(
            {
                "id": "x",
                "choices": None,
                "base_resp": {"status_code": 1004, "status_msg": "the model is not for you"},
            }
        ),
        (502, "the model is not for you"),
    ),
    "200-detail": (js({"detail": "Model is loading"}), (502, "Model is loading")),
    "200-error-string": (
        js({"error": "Model is overloaded", "error_type": "overloaded"}),
        (503, "Model is overloaded"),
    ),
    "200-error-code-string": (js({"error": {"message": "slow down", "code": "429"}}), (429, "slow down")),
    "problem-details": (
        js({"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "tokens must be fewer"}, 400),
        (400, "tokens must be fewer"),
    ),
    "error-msg-baidu": (
        js({"error_code": 336003, "error_msg": "the role of message must be user"}, 400),
        (400, "the role of message must be user"),
    ),
    "message-capital": (
        js({"Message": "User is not authorized for this model", "__type": "x"}, 400),
        (400, "not authorized for this model"),
    ),
    "cloudflare-errors-list": (
        js({"success": False, "errors": [{"code": 7009, "message": "Upstream gone"}], "result": None}, 400),
        (400, "Upstream gone"),
    ),
    "413": (
        js({"error": {"message": "Request too large", "type": "request_too_large"}}, 413),
        (413, "Request too large"),
    ),
    "html-404": ([answered(b"<html><body>nginx</body></html>", 404, "text/html")], (404, "status 404")),
}
# Errors in place of a stream.
FIRST: dict[str, Any] = {
    "tgi-error-string": (
        stream(said({"error": "Model is overloaded", "error_type": "overloaded"})),
        (503, "Model is overloaded"),
    ),
    "event-error": (
        stream(b"event: error\n" + said({"message": "prompt is empty", "code": 400})),
        (400, "prompt is empty"),
    ),
    "llama-cpp-error-line": (
        stream(b'error: {"code":400,"message":"the request is odd","type":"invalid_request_error"}\n\n'),
        (400, "the request is odd"),
    ),
    "object-error": (
        stream(said({"object": "error", "message": "no such thing", "type": "BadRequestError", "code": 400})),
        (400, "no such thing"),
    ),
    "code-and-message": (stream(said({"code": 400, "message": "Illegal words"})), (400, "Illegal words")),
    "after-the-role": (
        stream(ROLE, said({"error": {"message": "image is broken", "code": 400}}), DONE),
        (400, "image is broken"),
    ),
    "after-filter-results": (
        stream(
            said({"choices": [], "prompt_filter_results": []}),
            said({"error": {"message": "image is broken", "code": 400}}),
            DONE,
        ),
        (400, "image is broken"),
    ),
    "whole-error-for-stream": (
        js({"error": {"message": "image is broken", "code": 400}}),
        (400, "image is broken"),
    ),
    "whole-object-error-for-stream": (
        js({"object": "error", "message": "image is broken", "code": 400}),
        (400, "image is broken"),
    ),
}
OPERATORS: dict[str, Any] = {
    "xai-400-key": js(
        {
            "code": "Client specified an invalid argument",
            "error": "Incorrect API key provided: xa***yz. You can obtain an API key from https://console.x.ai.",
        },
        400,
    ),
    "gemini-400-key": js(
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
        400,
    ),
    "anthropic-400-credit": js(
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API.",
            },
        },
        400,
    ),
    "openai-400-billing": js(
        {
            "error": {
                "message": "Billing hard limit has been reached",
                "type": "invalid_request_error",
                "param": None,
                "code": "billing_hard_limit_reached",
            }
        },
        400,
    ),
    "401-key-echoed": js(
        {"error": {"message": "Incorrect API key provided: sk-of-the-upstream", "code": "invalid_api_key"}}, 401
    ),
    "402": js({"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, 402),
}


# --- headers of a 429, and for how many seconds the deployment is left alone.
WAITS: dict[str, Any] = {
    "retry-0": (("retry-after: 0",), 0),
    "retry-negative": (("retry-after: -5",), 0),
    "retry-inf": (("retry-after: inf",), 0),
    "retry-nan": (("retry-after: nan",), 0),
    "retry-empty": (("retry-after:",), 0),
    "retry-huge": (("retry-after: 99999999999999999999",), 0),
    "retry-resets-only": (("x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 1s"), 0),
    "retry-fraction": (("retry-after: 41.5",), 41.5),
    "retry-with-unit": (("retry-after: 41s",), 41),
    "retry-milliseconds": (("retry-after-ms: 41000", "retry-after: 50"), 41),
    "retry-epoch": ((f"retry-after: {int(time.time()) + 4000}",), 4000),
    "retry-date": ((f"retry-after: {formatdate(time.time() + 4000, usegmt=True)}",), 4000),
    "retry-date-of-iso": ((f"retry-after: {datetime.fromtimestamp(time.time() + 4000, UTC).isoformat()}",), 4000),
}
RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
GEMINI_429 = js(
    [
        {
            "error": {
                "code": 429,
                "message": "Please retry.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [RETRY_INFO],
            }
        }
    ],
    429,
)
