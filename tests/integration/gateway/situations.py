"""What the scripted upstream of ``../shared/cases`` says, script by script: tables for tests and for the soak."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SHARED = Path(os.environ.get("TINY_DANCER_SHARED", Path(__file__).resolve().parents[4] / "shared"))
SCRIPTS = SHARED / "cases" / "gateway" / "upstream.py"

W = "".join(f"w{number} " for number in range(200))
SAID = (1000, 50)
GUESSED = None
ECHO: Any = ("Hello", [], SAID)
HI: Any = ("hi", [], SAID)

# What a chat-style upstream says, by script: the text, the tools called, the tokens it counts (None: it does not).
# The second, where a whole answer says something else.
ANSWERS: dict[str, Any] = {
    "crlf": ("AB", [], SAID),
    "multiline": ("multi", [], SAID),
    "comments": ("AB", [], SAID),
    "comments-slow": ("A", [], SAID),
    "bytewise": ("héllo 😀 мир 你好", [], SAID),
    "no-done": ("AB", [], SAID),
    "no-done-no-usage": ("AB", [], GUESSED),
    "no-space": ("A", [], SAID),
    "bom": ("A", [], SAID),
    "one-write": (W, [], GUESSED),
    "many-writes-nousage": (W, [], GUESSED),
    "json-for-stream": HI,
    "text-plain-stream": ("A", [], GUESSED),
    "no-ct-stream": ("A", [], GUESSED),
    "finish-empty": [("Let me look", [("ls", "{}")], SAID), HI],
    "running-usage": ("one two", [], (1000, 2)),
    "empty-tool-calls": ("Hi there", [], SAID),
    "interleaved": ("", [("f0", '{"a":1}'), ("f1", '{"b":2}')], SAID),
    "reasoning": ("Answer", [], SAID),
    "kimi-ids": ("", [("Bash", '{"c":"ls"}')], SAID),
    "phantom-tool": ("text", [], SAID),
    "content-parts": ("part", [], SAID),
    "reasoning-details": ("x", [], SAID),
    "id-int": HI,
    "usage-float": ("hi", [], (12, 3)),
    "usage-list-details": ("hi", [], (12, 3)),
    "usage-empty": ("hi", [], GUESSED),
    "gzip-always": HI,
    "only-chat": [ECHO, HI],
    "echo-err": [ECHO, HI],
    "no-stream-options": [ECHO, HI],
    "close-kept": [ECHO, HI],
    "kill-second": [ECHO, HI],
    "slow-first": [ECHO, HI],
    "tool-then-text": ("\n", [("f", '{"a":1}')], SAID),
    "finish-then-tools": ("x", [("f", "{}")], SAID),
    "only-usage-chunk-choices": ("A", [], SAID),
    "empty-choices-first": ("A", [], SAID),
    "empty-answer": ("", [], SAID),
    "trunc-finish-reason": ("abc", [], SAID),
    "o-audio-usage": HI,
    "completion-excl-reasoning": ("hi", [], (1000, 510)),
    "mod403": [ECHO, HI],
    "nousage-bad": HI,
    "nodone-b": [("AB", [], SAID), HI],
    "text-tool": ("Let me look", [("f", '{"a":1}')], SAID),
}
# What a server of Anthropic's says.
ANTHROPIC: dict[str, Any] = {
    "a-cache-write": [("x", [], (1_000_100, 10)), ("hi", [], (1_000_100, 10))],
    "a-think": ("ans", [], (10, 5)),
    "a-think-tool": ("", [("f", '{"a":1}')], (10, 5)),
    "a-web": ("found", [], (10, 5)),
    "a-crlf": ("A", [], (10, 5)),
    "a-no-input": ("", [("f", "{}")], (10, 5)),
    "a-delta-cache": ("x", [], (3614, 878)),
    "pause-turn": ("hi", [], (10, 5)),
    "mcwe": ("hi", [], (10, 5)),
}
# Status, what stands in the message, what stands in the error beside it.
ERRORS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "err-gemini": (400, "Unknown name", {"status": "INVALID_ARGUMENT"}),
    "err-fastapi": (422, "field required", {}),
    "err-azure": (400, "filtered", {"innererror": {"code": "ResponsibleAIPolicyViolation"}}),
    "err-text": (400, "model not loaded: foo", {}),
    "err-403-mod": (403, "Your input was flagged", {}),
    "first-error-400": (400, "maximum context length of 4096", {}),
    "first-error-429": (429, "Rate limit exceeded", {}),
    "retry-after-date": (429, "slow", {}),
    "retry-after-300": (429, "slow", {}),
}
