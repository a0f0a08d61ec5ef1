"""Addresses as clients write them: OpenAI's, Azure's, and either with slashes too many."""

from __future__ import annotations

import re
from typing import Final

_SLASHES: Final = re.compile("//+")
_AZURE: Final = re.compile(
    r"/openai/deployments/(?P<model>.+?)"
    r"(?P<call>/chat/completions|/completions|/embeddings"
    r"|/audio/speech|/audio/transcriptions|/audio/translations|/images/generations|/images/edits)"
)


def plain(path: str) -> tuple[str, str | None]:
    """The address as the gateway knows it, and the model it names, or None.

    Azure's clients write ``/openai/deployments/<model>/chat/completions`` or ``/openai/v1/...``; its
    ``/openai/responses`` and ``/openai/models`` have no version in the path. A slash at the end is taken out, and
    one of two that a base URL with a slash at its end makes (``/v1//models``). Anything else stays as it is.
    """
    found = _SLASHES.sub("/", path)
    if found != "/":
        found = found.removesuffix("/")
    if not found.startswith("/openai/"):
        return found, None
    if named := _AZURE.fullmatch(found):
        return "/v1" + named["call"], named["model"]
    rest = found.removeprefix("/openai").removeprefix("/v1")
    return "/v1" + rest, None
