"""What the gateway relies on inside uvicorn, by name: what a newer uvicorn lacks, this says, and where it is used.

pyproject.toml bounds uvicorn by the version that this passed with.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

import tiny_dancer.gateway

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = Path(tiny_dancer.gateway.__file__).parent

# Attributes of a connection that gateway/edge/protocol.py reads or replaces.
PROTOCOL_ATTRIBUTES = {
    "access_logger",
    "app",
    "connections",
    "cycle",
    "expect_100_continue",
    "flow",
    "headers",
    "logger",
    "loop",
    "parser",
    "pipeline",
    "scope",
    "server_state",
    "transport",
    "url",
}
# Attributes of a request and its answer that gateway/edge/response.py and protocol.py read or set.
CYCLE_ATTRIBUTES = {
    "chunked_encoding",
    "disconnected",
    "expected_content_length",
    "flow",
    "keep_alive",
    "message_event",
    "more_body",
    "on_response",
    "response_complete",
    "response_started",
    "scope",
    "transport",
    "waiting_for_100_continue",
}
# Methods that are overridden, called, or called by the rest of uvicorn on what is overridden: their parameters.
METHODS: list[tuple[str, Callable[..., Any], list[str]]] = [
    ("edge/protocol.py", HttpToolsProtocol.__init__, ["self", "config", "server_state", "app_state", "_loop"]),
    ("edge/protocol.py", HttpToolsProtocol.connection_made, ["self", "transport"]),
    ("edge/protocol.py", HttpToolsProtocol.connection_lost, ["self", "exc"]),
    ("edge/protocol.py", HttpToolsProtocol.data_received, ["self", "data"]),
    ("edge/protocol.py", HttpToolsProtocol.shutdown, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol.on_message_begin, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol.on_url, ["self", "url"]),
    ("edge/protocol.py", HttpToolsProtocol.on_header, ["self", "name", "value"]),
    ("edge/protocol.py", HttpToolsProtocol.on_headers_complete, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol.on_body, ["self", "body"]),
    ("edge/protocol.py", HttpToolsProtocol.on_message_complete, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol.on_response_complete, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol.pause_writing, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol.resume_writing, ["self"]),
    ("edge/protocol.py", HttpToolsProtocol._start_asgi_task, ["self", "cycle", "app"]),
    (
        "edge/protocol.py",
        RequestResponseCycle.__init__,
        [
            "self",
            "scope",
            "transport",
            "flow",
            "logger",
            "access_logger",
            "access_log",
            "default_headers",
            "message_event",
            "expect_100_continue",
            "keep_alive",
            "on_response",
        ],
    ),
    ("edge/response.py", RequestResponseCycle.run_asgi, ["self", "app"]),
    ("edge/response.py", RequestResponseCycle.send, ["self", "message"]),
    ("edge/response.py", RequestResponseCycle.receive, ["self"]),
    ("edge/response.py", FlowControl.drain, ["self"]),
    ("edge/protocol.py", FlowControl.pause_reading, ["self"]),
    ("edge/protocol.py", FlowControl.resume_reading, ["self"]),
    ("edge/protocol.py", ServerState.__init__, ["self"]),
    ("edge/connections.py", uvicorn.Config.load, ["self"]),
    ("operate/demo.py", uvicorn.Server.__init__, ["self", "config"]),
    ("operate/demo.py", uvicorn.Server.serve, ["self", "sockets"]),
]
COROUTINES = {RequestResponseCycle.run_asgi, RequestResponseCycle.send, RequestResponseCycle.receive}
# What edge.py and demo.py configure.
SETTINGS = {
    "access_log",
    "app",
    "date_header",
    "http",
    "interface",
    "lifespan",
    "log_config",
    "loop",
    "proxy_headers",
    "server_header",
    "timeout_graceful_shutdown",
    "ws",
}
# CPython 3.11 keeps an instance's attributes in its fast form up to this many (edge/protocol.py, __slots__).
MOST_ATTRIBUTES = 30


class Transport(asyncio.Transport):
    """One that goes nowhere."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers nothing."""


def relied_on(where: str, what: str) -> str:
    return (
        f"uvicorn {uvicorn.__version__}: {what}, which python/tiny_dancer/gateway/{where} relies on; "
        "mend it there, or bound uvicorn below this version in pyproject.toml"
    )


def connection() -> HttpToolsProtocol:
    """uvicorn's connection, as it is when a request's first byte arrives."""
    config = uvicorn.Config(application, http=HttpToolsProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    made = HttpToolsProtocol(config, ServerState(), {}, asyncio.new_event_loop())
    made.loop.close()
    made.connection_made(Transport())
    made.on_message_begin()
    return made


def cycle(of: HttpToolsProtocol) -> RequestResponseCycle:
    return RequestResponseCycle(
        scope=of.scope,
        transport=of.transport,
        flow=of.flow,
        logger=of.logger,
        access_logger=of.access_logger,
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=of.on_response_complete,
    )


def of_the_base(module: str, name: str) -> set[str]:
    """Names that a class of the gateway takes from ``self`` without having made them itself."""
    tree = ast.parse((GATEWAY / module).read_text(encoding="utf-8"))
    found = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    own: set[str] = set()
    for node in found.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own.add(node.target.id)
        elif isinstance(node, ast.Assign):  # __slots__
            own |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}  # type: ignore[misc]
    used = {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return used - own


@pytest.mark.parametrize(
    ("where", "method", "parameters"), METHODS, ids=[each[1].__qualname__ for each in METHODS]
)
def test_methods_take_what_is_given_to_them(where: str, method: Callable[..., Any], parameters: list[str]) -> None:
    found = list(inspect.signature(method).parameters)
    assert found == parameters, relied_on(where, f"{method.__qualname__} takes {found}, not {parameters}")
    assert inspect.iscoroutinefunction(method) == (method in COROUTINES or method.__name__ in ("drain", "serve"))


def test_a_connection_has_the_attributes_used() -> None:
    made = connection()
    missing = {name for name in PROTOCOL_ATTRIBUTES if not hasattr(made, name)}
    assert not missing, relied_on("edge/protocol.py", f"HttpToolsProtocol has no {sorted(missing)}")
    assert made in made.connections and made.connections is made.server_state.connections
    assert made.cycle is None and made.url == b"" and made.headers == [] and not made.pipeline


def test_a_connection_leaves_room_in_the_fast_form_of_attributes() -> None:
    count = len(vars(connection()))
    assert count <= MOST_ATTRIBUTES, relied_on("edge/protocol.py", f"HttpToolsProtocol has {count} attributes")


def test_a_cycle_has_the_attributes_used() -> None:
    made = cycle(connection())
    missing = {name for name in CYCLE_ATTRIBUTES if not hasattr(made, name)}
    assert not missing, relied_on("edge/response.py", f"RequestResponseCycle has no {sorted(missing)}")
    assert not (made.response_started or made.response_complete or made.disconnected)
    assert made.chunked_encoding is None and made.expected_content_length == 0


def test_shared_state_has_the_attributes_used() -> None:
    state = ServerState()
    assert (state.total_requests, state.connections, state.tasks) == (0, set(), set()), relied_on(
        "edge/connections.py", "ServerState starts otherwise"
    )


def test_flow_control_says_when_a_client_reads_too_slowly() -> None:
    flow = FlowControl(Transport())
    assert flow.write_paused is False
    flow.pause_writing()
    assert flow.write_paused is True, relied_on("edge/response.py", "FlowControl.write_paused does not follow")


def test_status_lines_are_whole_lines() -> None:
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n", relied_on("edge/response.py", "STATUS_LINE differs")
    assert all(STATUS_LINE[status].endswith(b"\r\n") for status in range(200, 600))


def test_a_configuration_takes_the_settings_used() -> None:
    missing = SETTINGS - set(inspect.signature(uvicorn.Config).parameters)
    assert not missing, relied_on("edge/connections.py", f"Config has no {sorted(missing)}")
    assert uvicorn.Server(uvicorn.Config(application)).should_exit is False, relied_on(
        "operate/demo.py", "should_exit"
    )


def test_the_lists_above_are_complete() -> None:
    methods = {method.__name__ for _, method, _ in METHODS}
    assert of_the_base("edge/protocol.py", "EdgeProtocol") <= PROTOCOL_ATTRIBUTES | methods
    assert of_the_base("edge/response.py", "AnswerCycle") <= CYCLE_ATTRIBUTES | methods
