"""Tools of the responses endpoint as functions, which are all that chat completions know; and the calls back.

A custom tool, whose input is any text, becomes a function with one text, ``input``; its grammar is told in its
description. OpenAI's ``local_shell``, a command run by the client, becomes a function with the command's fields.
``web_search`` runs at OpenAI's: beside other tools it is an offer a model can do without, and it is left out,
which the answer's ``tools`` show. All other tools that run at a server are refused, and so is a search that is
asked for alone or by ``tool_choice``.

A namespace holds tools of its own: each becomes a function by both names, joined by ``__``, and its calls come
back with namespace and name.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from tiny_dancer.gateway.upstream.translate import responses_request as wire
from tiny_dancer.gateway.upstream.translate.fields import encode, present, read, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL_SHELL: Final = "local_shell"
_LONGEST_NAME: Final = 64  # of a function, at OpenAI and Anthropic
_SEARCHES: Final = ("web_search", "web_search_preview")
_HOSTED: Final = "it runs at OpenAI's, and this model's server has only functions and custom tools; leave it out"

_any: Final = msgspec.json.Decoder()
_SHELL: Final[dict[str, Any]] = {
    "name": LOCAL_SHELL,
    "description": "Runs a command on the user's machine and gives its output.",
    "parameters": {
        "type": "object",
        "properties": {
            "command": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The program, its arguments.",
            },
            "working_directory": {"type": "string", "description": "Where to run it."},
            "timeout_ms": {"type": "integer", "description": "Milliseconds it may take."},
        },
        "required": ["command"],
        "additionalProperties": False,
    },
}


class Tools:
    """What a request offers.

    Attributes:
        definitions: as chat completions have them.
        offered: the same as the client wrote it, without what is left out.
        choice: ``tool_choice`` of a chat completion; None where there are no tools.
        adapted: what the model does not get as the client wrote it.
    """

    def __init__(self, tools: Raw | None, choice: Raw | None) -> None:
        """
        Raises:
            GatewayError: 400; the field at fault in ``param``.
        """
        self.definitions: list[dict[str, Any]] = []
        self.offered: list[Raw] = []
        self.choice: str | dict[str, Any] | None = None
        self.adapted: list[str] = []
        self._types: dict[str, str] = {}  # by name; functions are not in it
        self._spaces: dict[str, tuple[str, str]] = {}  # namespace and name, by what the model calls it
        given = [] if tools is None else read(tools, wire.tools, "tools")
        searches: list[str] = []
        for index, raw in enumerate(given):
            place = f"tools[{index}]"
            tool = read(raw, wire.tool, place)
            if tool.type in _SEARCHES:
                searches.append(place)
                continue
            self.offered.append(raw)
            if tool.type == "namespace":
                self._namespace(tool, place)
                continue
            self.definitions.append({"type": "function", "function": self._function(tool, place)})
        if self._spaces:
            self._tell_apart()
        if searches and not self.definitions:
            raise refusal(searches[0], f"web_search is no function: {_HOSTED}")
        if searches:
            self.adapted.append("tools.web_search")
        if choice is not None:
            self._choose(read(choice, wire.tool_choice, "tool_choice"))

    def type_of(self, name: str) -> str:
        """``function``, ``custom`` or ``local_shell``."""
        return self._types.get(name, "function")

    def named(self, name: str) -> dict[str, str]:
        """What the client calls a tool, by what the model does: ``name``, and ``namespace`` where it has one."""
        space = self._spaces.get(name)
        return {"name": name} if space is None else {"namespace": space[0], "name": space[1]}

    def _namespace(self, space: wire.Tool, place: str) -> None:
        for index, raw in enumerate(space.tools):
            inner = f"{place}.tools[{index}]"
            tool = read(raw, wire.tool, inner)
            if tool.type not in ("function", "custom"):
                raise refusal(f"{inner}.type", f"{tool.type[:100]} is no function: {_HOSTED}")
            if not tool.name:
                raise refusal(f"{inner}.name", "a function has a name")
            name = flat_name(space.name, tool.name)
            self._spaces[name] = space.name, tool.name
            function = self._function(replace(tool, name=name), inner)
            self.definitions.append({"type": "function", "function": function})

    def _tell_apart(self) -> None:
        """Refuses names that joining has made the same, for nothing could tell whose call it is."""
        seen: set[str] = set()
        for each in self.definitions:
            name = each["function"]["name"]
            if name in seen and name in self._spaces:
                raise refusal("tools", f"two of them are '{name[:100]}' to a model; rename one")
            seen.add(name)

    def _function(self, tool: wire.Tool, place: str) -> dict[str, Any]:
        if tool.type == LOCAL_SHELL:
            self._types[LOCAL_SHELL] = LOCAL_SHELL
            return _SHELL
        if tool.type not in ("function", "custom"):
            raise refusal(f"{place}.type", f"{tool.type[:100]} is no function: {_HOSTED}")
        if not tool.name:
            raise refusal(f"{place}.name", "a function has a name")
        if tool.type == "custom":
            self._types[tool.name] = "custom"
            return self._custom(tool, place)
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if present(tool.parameters):
            function["parameters"] = tool.parameters
        if tool.strict:
            function["strict"] = True
        return function

    def _custom(self, tool: wire.Tool, place: str) -> dict[str, Any]:
        said = [tool.description] if tool.description else []
        if present(tool.format):
            form = read(tool.format, wire.grammar, f"{place}.format")
            if form.type == "grammar":
                said.append(f"The input has to match this grammar ({form.syntax}):\n{form.definition}")
                self.adapted.append("tools.format")
        function: dict[str, Any] = {"name": tool.name}
        if said:
            function["description"] = "\n\n".join(said)
        function["parameters"] = {
            "type": "object",
            "properties": {"input": {"type": "string", "description": "All of the input, as it is."}},
            "required": ["input"],
            "additionalProperties": False,
        }
        return function

    def _choose(self, choice: str | wire.Choice) -> None:
        if isinstance(choice, wire.Choice) and choice.type == "allowed_tools":
            allowed = {_name(each, f"tool_choice.tools[{index}]") for index, each in enumerate(choice.tools)}
            kept = [each for each in self.definitions if each["function"]["name"] in allowed]
            if not kept:
                raise refusal("tool_choice.tools", "none of them is among tools")
            self.definitions = kept
            self.choice = choice.mode
            return
        if isinstance(choice, wire.Choice):
            name = _name(choice, "tool_choice")
            if not any(each["function"]["name"] == name for each in self.definitions):
                raise refusal("tool_choice", f"'{name[:100]}' is not among tools")
            self.choice = {"type": "function", "function": {"name": name}}
        elif self.definitions:
            self.choice = choice
        elif choice == "required":
            raise refusal("tool_choice", "there are no tools to choose from; send tools too")


def _name(choice: wire.Choice, place: str) -> str:
    if choice.type == LOCAL_SHELL:
        return LOCAL_SHELL
    if choice.type not in ("function", "custom"):
        raise refusal(place, f"{choice.type[:100]} is no function: {_HOSTED}")
    name = choice.name or ""
    return name if choice.namespace is None else flat_name(choice.namespace, name)


def flat_name(namespace: str, name: str) -> str:
    """What a model calls a tool of a namespace."""
    joined = f"{namespace}__{name}"
    if len(joined) <= _LONGEST_NAME:
        return joined
    digest = sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{joined[: _LONGEST_NAME - 9]}_{digest[:8]}"


def custom_arguments(input: str) -> str:
    """The input of a custom tool as the arguments of a function."""
    return encode({"input": input}).decode()


def custom_input(arguments: str) -> str:
    """The input of a custom tool; arguments that are something else are the input themselves."""
    said = _object(arguments).get("input")
    return said if isinstance(said, str) else arguments


def shell_action(arguments: str) -> dict[str, Any] | None:
    """The action of a ``local_shell_call``; None where the arguments hold no command."""
    said = _object(arguments)
    command = said.get("command")
    if isinstance(command, str):
        command = ["bash", "-lc", command]
    if not isinstance(command, list) or not command or not all(isinstance(each, str) for each in command):
        return None
    action: dict[str, Any] = {"type": "exec", "command": command, "env": {}}
    if isinstance(said.get("working_directory"), str):
        action["working_directory"] = said["working_directory"]
    if type(said.get("timeout_ms")) is int:
        action["timeout_ms"] = said["timeout_ms"]
    return action


def is_object(arguments: str) -> bool:
    """Whether these are all of a call's arguments: a JSON object that is closed."""
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(_any.decode(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _object(arguments: str) -> Mapping[str, Any]:
    try:
        said = _any.decode(arguments)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def new_id(prefix: str) -> str:
    """``msg_…``, ``fc_…``; unguessable."""
    return f"{prefix}{uuid4().hex}"
