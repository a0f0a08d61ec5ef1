"""Addresses as clients write them."""

from __future__ import annotations

import pytest

from tiny_dancer.gateway.addresses import plain


@pytest.mark.parametrize(
    ("path", "known", "model"),
    [
        ("/v1/chat/completions/", "/v1/chat/completions", None),
        ("/v1//chat/completions", "/v1/chat/completions", None),
        ("//v1/models//", "/v1/models", None),
        ("/v1/models/vendor/a", "/v1/models/vendor/a", None),
        ("/openai/deployments/gpt-4o/chat/completions", "/v1/chat/completions", "gpt-4o"),
        ("/openai/deployments/vendor/a/completions", "/v1/completions", "vendor/a"),
        ("/openai/deployments/auto/embeddings/", "/v1/embeddings", "auto"),
        ("/openai/deployments/tts-1/audio/speech", "/v1/audio/speech", "tts-1"),
        ("/openai/deployments/whisper-1/audio/transcriptions", "/v1/audio/transcriptions", "whisper-1"),
        ("/openai/deployments/dall-e-3/images/generations", "/v1/images/generations", "dall-e-3"),
        ("/openai/v1/chat/completions", "/v1/chat/completions", None),
        ("/openai/v1/responses", "/v1/responses", None),
        ("/openai/responses", "/v1/responses", None),
        ("/openai/models", "/v1/models", None),
        ("/openai/v1", "/v1", None),
        ("/", "/", None),
        ("", "", None),
        ("/openai", "/openai", None),
        ("/openapi.json", "/openapi.json", None),
    ],
)
def test_an_address_is_known_however_it_is_written(path: str, known: str, model: str | None) -> None:
    assert plain(path) == (known, model)
