"""Hot reload: what serves changes at once or not at all, and says why not."""

from __future__ import annotations

import gc
import os
import weakref
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tiny_dancer import ArtifactChecksumError, ArtifactError, OptionError, RegistryError, Router, _core
from tiny_dancer.registry import ArtifactFile, Registry, Reloading, ServingVersion

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEFAULT = _core.data_file("default.safetensors")


def versioned(version: str) -> bytes:
    return _core.with_header(DEFAULT, {**_core.read_header(DEFAULT), "version": version})


def replace(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


def damaged(data: bytes) -> bytes:
    return data[:-10] + bytes([data[-10] ^ 0xFF]) + data[-9:]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "router.safetensors"
    place.write_bytes(versioned("1.0.0"))
    return place


def test_a_reload_serves_what_the_file_has_now(path: Path) -> None:
    reloading = Reloading(ArtifactFile(path), Router)
    first = reloading.current
    assert first.version == "1.0.0"
    assert reloading.reload() is first, "unchanged bytes are not loaded again"
    replace(path, versioned("1.0.1"))
    assert reloading.current is first
    assert reloading.reload().version == "1.0.1"
    assert reloading.current.value.route("hello").artifact_version == "1.0.1"
    assert first.value.route("hello").artifact_version == "1.0.0", "who took it keeps it"


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: path.write_bytes(damaged(versioned("1.0.1"))), ArtifactChecksumError),
        (lambda path: path.write_bytes(versioned("1.0.1")[:5000]), ArtifactError),
        (lambda path: path.write_bytes(b""), ArtifactError),
        (lambda path: path.unlink(), ArtifactError),
        (lambda path: (path.unlink(), path.mkdir()), ArtifactError),
    ],
)
def test_a_bad_file_leaves_the_old_one_serving_and_says_why(
    path: Path, spoil: Callable[[Path], object], error: type[Exception]
) -> None:
    reloading = Reloading(ArtifactFile(path), Router)
    spoil(path)
    with pytest.raises(error):
        reloading.reload()
    assert isinstance(reloading.last_error, error)
    assert reloading.current.version == "1.0.0"
    reloading.check()
    assert isinstance(reloading.last_error, error)
    if path.is_dir():
        path.rmdir()
    replace(path, versioned("1.0.2"))
    reloading.check()
    assert reloading.last_error is None
    assert reloading.current.version == "1.0.2"


def test_a_loader_that_fails_in_its_own_way_is_a_typed_error(path: Path) -> None:
    refusing = [False]

    def load(data: bytes) -> Router:
        if refusing[0]:
            raise KeyError("models")
        return Router(data)

    reloading = Reloading(ArtifactFile(path), load)
    refusing[0] = True
    replace(path, versioned("1.0.1"))
    with pytest.raises(ArtifactError, match="KeyError"):
        reloading.reload()
    refusing[0] = False
    reloading.check()
    assert reloading.current.version == "1.0.1", "a failure is tried again, though the file has not changed"


def test_the_first_load_has_to_succeed(path: Path) -> None:
    path.write_bytes(b"no artifact")
    with pytest.raises(ArtifactError):
        Reloading(ArtifactFile(path), Router)
    with pytest.raises(ArtifactError):
        Reloading(ArtifactFile(path.with_name("absent")), Router)


def test_an_old_file_is_read_again_only_when_it_changes(path: Path) -> None:
    loaded: list[int] = []
    os.utime(path, (1e9, 1e9))
    source = ArtifactFile(path)
    read = source.read
    source.read = lambda: loaded.append(1) or read()  # type: ignore[func-returns-value,method-assign]
    reloading = Reloading(source, Router)
    for _ in range(5):
        reloading.check()
    assert len(loaded) == 1
    replace(path, versioned("1.0.1"))
    os.utime(path, (1e9, 1e9))  # the same time and size: the identity of the file tells
    reloading.check()
    assert reloading.current.version == "1.0.1"


def test_a_file_changed_just_now_has_no_stamp(path: Path) -> None:
    """Two writes within one tick of the file system's clock leave the same times: it has to be read again."""
    assert ArtifactFile(path).stamp() is None
    os.utime(path, (1e9, 1e9))
    assert ArtifactFile(path).stamp() == ArtifactFile(path).stamp() is not None


def test_a_registry_is_followed_through_promotion_and_rollback(tmp_path: Path) -> None:
    registry = Registry(tmp_path, load=Router)
    source = ServingVersion(registry, "a")
    with pytest.raises(RegistryError):
        Reloading(source, Router)
    one = registry.add("a", _core.data_path("default.safetensors")).version
    two = registry.add("a", _core.data_path("default.safetensors")).version
    registry.promote("a", one)
    reloading = Reloading(source, Router)
    registry.promote("a", two)
    reloading.check()
    assert reloading.current.version == two
    assert reloading.current.value.route("hello").artifact_version == two
    registry.rollback("a")
    reloading.check()
    assert reloading.current.version == one
    index = tmp_path / "a" / "index.json"
    whole = index.read_text()
    index.write_text("{")
    reloading.check()
    assert isinstance(reloading.last_error, RegistryError)
    assert reloading.current.version == one
    index.write_text(whole)
    reloading.check()
    assert reloading.last_error is None, "nothing to load, and nothing wrong any more"


def test_the_watch_follows_by_itself_and_ends_with_its_owner(path: Path) -> None:
    arrived = Event()

    def load(data: bytes) -> Router:
        router = Router(data)
        if router.header["version"] == "1.0.1":
            arrived.set()
        return router

    reloading = Reloading(ArtifactFile(path), load)
    reloading.watch(0.01)
    replace(path, versioned("1.0.1"))
    assert arrived.wait(30)
    gone = weakref.ref(reloading)
    reloading.close()
    reloading.watch(0.01)  # again, and then forgotten without closing
    del reloading
    for _ in range(200):
        gc.collect()
        if gone() is None:
            break
        Event().wait(0.05)
    assert gone() is None, "the thread keeps what nobody uses"


def test_an_interval_is_above_zero(path: Path) -> None:
    with pytest.raises(OptionError):
        Reloading(ArtifactFile(path), Router).watch(0)
