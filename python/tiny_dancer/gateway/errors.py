"""What a client is told when its request cannot be served: OpenAI's shape, or Anthropic's on ``/v1/messages``."""

from __future__ import annotations

import msgspec

# Anthropic's error types, by status; other 4xx are invalid_request_error, other 5xx api_error.
_ANTHROPIC = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class GatewayError(Exception):
    """An answer that is an error. Never crosses the gateway's border as an exception.

    Attributes:
        status: of HTTP.
        message: what is wrong, and what to do about it.
        type: OpenAI's word for the kind (``invalid_request_error`` …).
        param: the request's field at fault, or None.
        code: a stable word for programs, or None.
        headers: sent along (``retry-after``, ``allow`` …).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.type = type or _openai_type(status)
        self.param = param
        self.code = code
        self.headers = headers

    def openai(self) -> bytes:
        """``{"error": {message, type, param, code}}`` as JSON."""
        return msgspec.json.encode(
            {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}
        )

    def anthropic(self) -> bytes:
        """``{"type": "error", "error": {type, message}}`` as JSON."""
        usual = "invalid_request_error" if self.status < 500 else "api_error"
        kind = _ANTHROPIC.get(self.status, usual)
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": self.message}})


class AnswerCut(Exception):  # noqa: N818
    """An answer that has begun cannot be completed: its connection ends, so that the client sees that."""


def _openai_type(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
