"""Sets of tools with requests, and what the reference makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference.tool_selection import Tool, rank

if TYPE_CHECKING:
    from reference import Encoder

Vector = dict[str, Any]

SERVICES = json.loads(
    (Path(__file__).resolve().parent.parent / "benchmarks" / "data" / "everyday_tools.json").read_text("utf-8")
)
MAIL = {
    "gmail": [
        {"name": "sendMail", "description": "Send a letter"},
        {"name": "find_mail", "description": "Search"},
    ],
    "outlook": [{"name": "sendMail", "description": "Send a letter", "inputSchema": {"properties": {"to": {}}}}],
}
SMALL = [
    {"name": "getWeather", "description": "Forecast of rain and wind for a city"},
    {"name": "GitHubIssue2", "description": "Open an issue"},
    {"name": "parse_HTMLPage", "description": "Read a page's text", "parameters": {"properties": {"pageUrl": {}}}},
    {"name": "translate", "description": "Übersetzt Texte 翻译一段文字"},
    {"name": "same_a", "description": "one and the same"},
    {"name": "same_b", "description": "one and the same"},
]
HOURS = [
    {
        "name": "addShop",
        "description": "Add a shop",
        "parameters": {"properties": {"hours": {"description": "Saturday's hours, for example 9-13, or Mondays"}}},
    },
    {"name": "forecast", "description": "Chance of rain"},
    {"name": "monday_board", "description": "Read a board"},
]


def read(tools: Any) -> list[Tool]:
    """Plain tools of these cases; how every dialect is read is tested beside the engine's reader."""
    if isinstance(tools, dict):
        return [_tool(tool, server) for server, offered in tools.items() for tool in offered]
    return [_tool(tool, "") for tool in tools]


def _tool(tool: dict[str, Any], server: str) -> Tool:
    schema = tool.get("parameters") or tool.get("inputSchema") or tool.get("input_schema") or {}
    properties = dict(sorted(schema.get("properties", {}).items()))
    return Tool(
        f"{server}/{tool['name']}" if server else tool["name"],
        tool["name"],
        tool.get("description", ""),
        tuple(properties),
        tuple(each["description"] for each in properties.values() if each.get("description")),
        server,
    )


CASES: list[tuple[str, Any, str]] = [
    ("a word of a description", SMALL, "will there be rain in Porto"),
    ("capitals part a name, and neighbours are joined again", SMALL, "github"),
    ("letters and digits of a name part", SMALL, "issue 2"),
    ("an argument's name counts", SMALL, "which url"),
    ("several clauses", SMALL, "Read the page, then open an issue about it and check the wind in Bergen."),
    ("another script", SMALL, "请翻译这段文字"),
    ("equal scores are ordered by id", SMALL, "one and the same"),
    ("no word that tells tools apart", SMALL, "do it then"),
    ("nothing known", SMALL, "qqqzx"),
    ("marks alone", SMALL, "?!"),
    ("servers' names count", MAIL, "send a letter with outlook"),
    ("a tool alone", SMALL[:1], "wind"),
    (
        "slips of the fingers, one of them in a word that only a tool has",
        SMALL,
        "Opne an isue on githbu, then raed the pgae.",
    ),
    ("a time among an argument's values is no reason", HOURS, "will it rain on Saturday"),
    ("a time in a name is one", HOURS, "what was said on Monday"),
    *((f"a plain request: {each['request']}", "services", each["request"]) for each in SERVICES["requests"]),
]


def tool_vectors(encoder: Encoder) -> list[Vector]:
    """Ranked tools of every case, with the encoder and without."""
    found = []
    for explain, tools, text in CASES:
        for held in (None, encoder):
            ranked = rank(read(SERVICES["tools"] if tools == "services" else tools), text, held)
            found.append(
                {
                    "explain": explain,
                    "tools": tools,
                    "encoder": held is not None,
                    "text": text,
                    "expect": [[name, round(score, 6), round(relevance, 6)] for name, score, relevance in ranked],
                }
            )
    return found
