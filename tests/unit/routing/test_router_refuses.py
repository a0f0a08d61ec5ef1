"""Requests and artifacts that cannot be used: typed errors that name field, value and remedy."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.synthetic import fitted_pair

from tiny_dancer import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    ArtifactVersionError,
    RequestError,
    Router,
    _core,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(fitted_pair().artifact)


BAD_REQUESTS = [
    "",
    " \n\t\u00a0",
    "\0",
    "a\ud800b",
    None,
    5,
    b"bytes",
    {"role": "user", "content": "x"},
    [],
    (),
    [5],
    ["text"],
    [None],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": None}],
    [{"role": "user", "content": 5}],
    [{"role": "user", "content": {"a": 1}}],
    [{"role": "user", "content": b"x"}],
    [{"role": "user", "content": [5]}],
    [{"role": "user", "content": [{"type": "text", "text": None}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
    [{"role": "user", "content": "a\ud800b"}],
    [{"role": "user", "content": [{"type": "text", "text": "\udfff"}]}],
    [{"role": "robot", "content": "x"}],
    [{"role": None, "content": "x"}],
    [{"role": ["user"], "content": "x"}],
    [{"content": "x"}],
]


@pytest.mark.parametrize("request_", BAD_REQUESTS, ids=ascii)
def test_a_request_that_cannot_be_routed_is_a_typed_error(router: Router, request_: Any) -> None:
    with pytest.raises(RequestError) as caught:
        router.route(request_)
    assert caught.value.field
    assert caught.value.remedy
    with pytest.raises(RequestError) as caught:
        router.route_batch(["fine", "fine", request_, "fine"])
    assert "[2]" in caught.value.field, "the row is named"


@pytest.mark.parametrize(
    "requests", ["one text", b"bytes", None, 5, np.array("one text"), np.array(5.0)], ids=repr
)
def test_a_batch_must_be_a_list(router: Router, requests: Any) -> None:
    with pytest.raises(RequestError):
        router.route_batch(requests)


@pytest.mark.parametrize(
    "tools",
    [object(), {1, object()}, "a\ud800", [{"name": "\ud800"}]],
    ids=["object", "set", "surrogate", "surrogate within"],
)
def test_tools_must_be_json(router: Router, tools: object) -> None:
    with pytest.raises(RequestError, match="tools"):
        router.route("x", tools=tools)
    with pytest.raises(RequestError) as caught:
        router.route_batch(["x", "y"], tools=[None, tools])
    assert "[1]" in caught.value.field


@pytest.mark.parametrize("tools", ["{", "[" * 200_000, "", "null", [], {}, 5, [{"name": float("nan")}]], ids=ascii)
def test_odd_tools_never_break_a_decision(router: Router, tools: object) -> None:
    assert router.route("hello there", tools=tools).model in router.models


def test_tools_come_one_a_request(router: Router) -> None:
    with pytest.raises(RequestError, match="1 for 2 requests"):
        router.route_batch(["a", "b"], tools=["[]"])


@pytest.mark.parametrize(
    "path",
    ["/nonexistent/a.safetensors", "", "a\0b", None, 5, "/"],
    ids=["missing", "empty", "NUL", "None", "5", "/"],
)
def test_a_path_without_artifact_is_a_typed_error(path: Any) -> None:
    with pytest.raises(ArtifactError) as caught:
        Router.load(path)
    assert caught.value.remedy


def test_an_artifact_is_loaded_from_its_path(tmp_path: Path) -> None:
    path = tmp_path / "router.safetensors"
    path.write_bytes(fitted_pair().artifact)
    for given in (path, str(path)):
        assert Router.load(given).models == ("weak", "strong")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 5000, -1])
def test_a_truncated_artifact_is_refused(kept: int) -> None:
    with pytest.raises(ArtifactError):
        Router(fitted_pair().artifact[:kept])


@pytest.mark.parametrize("data", [b"x" * 100, b"\xff" * 64, b"PAR1" * 40, bytes(64)], ids=repr)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        Router(data)


def test_a_changed_weight_is_refused() -> None:
    data = bytearray(fitted_pair().artifact)
    data[-7] ^= 1
    with pytest.raises(ArtifactChecksumError):
        Router(bytes(data))


def test_another_format_version_is_refused() -> None:
    header = {**_core.read_header(fitted_pair().artifact), "format": "2.0.0"}
    with pytest.raises(ArtifactVersionError):
        Router(_core.with_header(fitted_pair().artifact, header))


def test_an_artifact_that_decides_otherwise_than_recorded_is_refused() -> None:
    header = _core.read_header(fitted_pair().artifact)
    check = header["self_check"][0]
    for changed in ({**check, "choice": 1 - check["choice"]}, {**check, "quality": [0.0, 0.0]}):
        with pytest.raises(ArtifactSelfCheckError):
            Router(_core.with_header(fitted_pair().artifact, {**header, "self_check": [changed]}))


@pytest.mark.parametrize("guarantee", [5, {}, {"epsilon": 0.1}, "yes"], ids=repr)
def test_a_broken_certificate_is_refused(guarantee: object) -> None:
    header = {**_core.read_header(fitted_pair().artifact), "guarantee": guarantee}
    with pytest.raises(ArtifactError):
        Router(_core.with_header(fitted_pair().artifact, header))


def test_importing_and_routing_need_no_training_extra() -> None:
    code = (
        "import sys, tiny_dancer\n"
        "tiny_dancer.Router.load().route('hello')\n"
        "heavy = {'sklearn', 'scipy', 'pyarrow', 'matplotlib', 'pandas', 'typer', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "tiny_dancer.fit\n"
        "assert 'sklearn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_training_extra_the_remedy_is_said() -> None:
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "import tiny_dancer\n"
        "try:\n"
        "    tiny_dancer.RouterEstimator\n"
        "except tiny_dancer.MissingExtraError as error:\n"
        "    assert 'tiny-dancer[train]' in error.remedy\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
