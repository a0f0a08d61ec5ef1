"""Tools that a router adds to requests, from a file, in the words of each protocol.

The file is JSON: a list of tools as OpenAI's chat completions and Responses, Anthropic's messages or MCP write
them, the answer of MCP's ``tools/list``, or a mapping from servers' names to such lists.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer import files
from tiny_dancer.errors import CandidateError, ConfigError
from tiny_dancer.gateway.tools.listed import called, decoded, needed
from tiny_dancer.gateway.tools.offered import Offered
from tiny_dancer.routing.tool_search import is_namespace
from tiny_dancer.routing.tools import ToolSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tiny_dancer import _core
    from tiny_dancer.gateway.tools.listed import Wanted

# What OpenAI's and Anthropic's servers take as a name.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_ARGUMENTS: Final = {"type": "object", "properties": {}}
_SCHEMAS: Final = ("parameters", "input_schema", "inputSchema")
_encode: Final = msgspec.json.Encoder().encode


class Own:
    """A client's own list, for what is added to it.

    Attributes:
        count: of tools, the functions of a namespace counted one by one.
        names: that models call them by.
        inside: the list without its brackets.
        size: bytes of the list.
    """

    def __init__(self, tools: bytes) -> None:
        """Reads a list.

        Raises:
            ValueError: it is no list.
        """
        values = decoded(tools)
        inner = [each for value in values for each in (value["tools"] if is_namespace(value) else [value])]
        self.count = len(inner)
        self.names = frozenset(filter(None, map(called, inner)))
        self.inside = tools.strip()[1:-1].strip()
        self.size = len(tools)


NO_TOOLS: Final = Own(b"[]")


class Catalogue:
    """The tools of one file.

    Attributes:
        sha256: of the file.
        ids: by what a model calls the tools.
    """

    def __init__(self, data: bytes, artifact: bytes | None, field: str) -> None:
        """Reads the tools.

        Args:
            data: of the file.
            artifact: what was learned from use, or None.
            field: of the configuration, for errors.

        Raises:
            ConfigError: they are none, or such as no model can call.
            ArtifactError: no artifact of kind ``tools``.
        """
        self.sha256 = sha256(data).digest()
        try:
            self._selector = ToolSelector(msgspec.json.decode(data), artifact=artifact)
        except (CandidateError, ValueError, RecursionError) as error:
            raise ConfigError(field, "no tools", f"give tools as JSON ({error})") from error
        if not len(self._selector):
            raise ConfigError(field, "empty", "give one tool or more")
        self.ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._places = {tool_id: place for place, tool_id in enumerate(self._selector.ids)}
        self._json: dict[str, dict[str, bytes]] = {protocol: {} for protocol in _WRITTEN}
        for tool_id in self._selector.ids:
            name, description, schema = self._read(tool_id, field)
            self.ids[name], self._names[tool_id] = tool_id, name
            for protocol, write in _WRITTEN.items():
                self._json[protocol][tool_id] = _encode(write(name, description, schema))

    @classmethod
    def read(cls, path: Path, artifact: bytes | None, field: str, last: Catalogue | None) -> Catalogue:
        """The tools of a file; ``last``, made with this artifact, where the file is still the same.

        Raises:
            ConfigError: it cannot be read, and as the class.
        """
        try:
            data = files.read(path)
        except OSError as error:
            raise ConfigError(
                field, str(path), f"give a JSON file of tools ({error.strerror or error})"
            ) from error
        return last if last is not None and last.sha256 == sha256(data).digest() else cls(data, artifact, field)

    def __len__(self) -> int:
        """Number of tools."""
        return len(self._selector)

    def _read(self, tool_id: str, field: str) -> tuple[str, str, object]:
        """Name, description and schema of a tool.

        Raises:
            ConfigError: no model can call it.
        """
        tool = self._selector.tool(tool_id).tool
        inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
        name = str(inner.get("name"))
        if ("path" in tool and "method" in tool) or tool.get("type") not in (None, "function", "custom"):
            remedy = "give functions: names, descriptions and schemas of their arguments"
            raise ConfigError(field, f"{tool_id} is no function", remedy)
        if not _NAME.fullmatch(name):
            remedy = "models' servers take names of at most 64 letters, digits, _ and -"
            raise ConfigError(field, f"a tool called {name[:100]!r}", remedy)
        if name in self.ids:
            raise ConfigError(field, f"two tools called {name}", "a model calls a tool by its name: rename one")
        schema = next((inner[key] for key in _SCHEMAS if isinstance(inner.get(key), dict)), _NO_ARGUMENTS)
        return name, str(inner.get("description") or ""), schema

    def add(
        self, own: Own, protocol: str, said: _core.Said, tool_choice: object, wanted: Wanted
    ) -> tuple[bytes | None, Offered]:
        """A request's list with the tools it needs after its own; None where nothing is added.

        They come in the file's order: the same tools are the same beginning of a prompt, which an upstream may
        have cached. Tools that were called already are added again. Of a tool whose name the client's list has,
        the client's stays.

        Args:
            own: the client's list.
            protocol: whose words: the endpoint's name.
            said: what to select by.
            tool_choice: of the request.
            wanted: how many.

        Raises:
            RequestError: the request says nothing to select by.
        """
        found = needed(self._selector, said, tool_choice, wanted, wanted.preserve_count)
        written = self._json[protocol]
        chosen = sorted(found, key=self._places.__getitem__)
        added = [written[each] for each in chosen if self._names[each] not in own.names]
        if not added:
            return None, Offered("add", own.count, own.count, 0)
        json = b"[" + b",".join([own.inside, *added] if own.inside else added) + b"]"
        return json, Offered("add", own.count, own.count + len(added), own.size - len(json))


_WRITTEN: Final[Mapping[str, Callable[[str, str, object], dict[str, Any]]]] = {
    "chat.completions": lambda name, description, schema: {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": schema},
    },
    "responses": lambda name, description, schema: {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": schema,
    },
    "messages": lambda name, description, schema: {
        "name": name,
        "description": description,
        "input_schema": schema,
    },
}
