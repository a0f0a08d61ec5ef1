"""Forms read by another parser than the gateway's: the one that Starlette, and so vLLM and FastAPI, use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MultipartParseError", "parts_of"]


def parts_of(content_type: str | None, body: bytes) -> list[tuple[str, bytes, str | None]]:
    """Name, value and file name of each part, in order.

    Raises:
        MultipartParseError, KeyError: it is no form.
    """
    found: list[tuple[str, bytes, str | None]] = []
    state: dict[str, Any] = {}

    def begin() -> None:
        state.update(value=b"", headers={}, field=b"", text=b"")

    def header_end() -> None:
        state["headers"][state["field"].lower()] = state["text"]
        state.update(field=b"", text=b"")

    def end() -> None:
        _, options = parse_options_header(state["headers"][b"content-disposition"])
        file = options.get(b"filename")
        name = options[b"name"].decode("latin-1")
        found.append((name, state["value"], None if file is None else file.decode("latin-1")))

    def add(key: str) -> Callable[[bytes, int, int], None]:
        return lambda data, start, stop: state.update({key: state[key] + data[start:stop]})

    _, options = parse_options_header(content_type)
    parser = MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": begin,
            "on_part_data": add("value"),
            "on_part_end": end,
            "on_header_field": add("field"),
            "on_header_value": add("text"),
            "on_header_end": header_end,
        },
    )
    parser.write(body)
    parser.finalize()
    return found
