"""Anthropic's ``/v1/messages/count_tokens`` for models whose upstream does not count: the engine's estimate."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tiny_dancer import _core
from tiny_dancer.errors import RequestError
from tiny_dancer.gateway.errors import GatewayError

if TYPE_CHECKING:
    from tiny_dancer.gateway.choosing.incoming import Incoming

# The most an image takes at Anthropic's models, whatever its size
# (https://docs.anthropic.com/en/docs/build-with-claude/vision).
_IMAGE: Final = 1600
_IMAGES: Final = re.compile(rb'"type"\s*:\s*"image"')


def estimate(incoming: Incoming) -> int:
    """Tokens of the prompt: the text's as the engine reads it for prices, images at what they can take at most.

    Raises:
        GatewayError: 400, the messages cannot be read.
    """
    messages = bytes(incoming.fields["messages"])
    images = len(_IMAGES.findall(messages))
    if (system := incoming.system()) is not None and system != b"null":
        messages = b'[{"role":"system","content":%b},%b' % (system, messages.lstrip()[1:])
    try:
        tokens = int(_core.featurise([messages], [incoming.tools()]).tokens[0])
    except RequestError as error:
        field = error.field.removeprefix("requests[0].")
        if field != "text":
            raise GatewayError(
                400, f"Invalid {field}: {error.value}; {error.remedy}.", param=field, code="invalid_value"
            ) from error
        tokens = 0  # nothing but images
    return tokens + images * _IMAGE
