"""What a registry accepts, every reader can read: whatever it is given, and wherever it is stopped."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.classifiers import text_classifier

from tiny_dancer import (
    ArtifactError,
    CandidateRouter,
    CandidateRouterConfig,
    RegistryError,
    Router,
    TinyDancerError,
    _core,
)
from tiny_dancer.registry import Registry, Reloading, ServingVersion
from tiny_dancer.registry import registry as module
from tiny_dancer.routing.loading import load_any
from tiny_dancer.routing.resilient import ResilientRouter

DEFAULT = _core.data_path("default.safetensors")


def used(registry: Registry, name: str) -> None:
    """Every reader, and every change, of a name that has a version which serves."""
    versions = registry.versions(name)
    assert [each.order for each in versions] == sorted(each.order for each in versions)
    serving = registry.serving(name)
    assert registry.read(name).version == serving
    assert all(registry.read(name, each.version).version == each for each in versions)
    assert name in registry.names()
    assert registry.damage(name) == ()
    registry.history(name)
    before = registry.last_known_good(name)
    Reloading(ServingVersion(registry, name), lambda data: None).check()
    assert registry.promote(name, serving.version) == serving
    if before is not None:
        assert registry.rollback(name).version == before.version
        registry.promote(name, serving.version)
    registry.collect_garbage(name, keep=9)
    json.loads((registry.folder / name / "index.json").read_bytes())


def nothing(data: bytes) -> object:
    return None


def kept(registry: Registry) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in registry.folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.text(st.characters(exclude_categories=()), max_size=5)  # surrogates too
    | st.binary(max_size=8)
    | st.floats(width=32).map(np.float32)
    | st.floats().map(np.float64)
    | st.integers(0, 255).map(np.uint8)
    | st.text(max_size=4).map(np.str_)
    | st.lists(st.integers(-9, 9), max_size=3).map(np.array)
    | st.booleans().map(np.bool_)
    | st.just(object())
    | st.complex_numbers()
    | st.datetimes()
)
keys = (
    st.text(max_size=8) | st.integers() | st.none() | st.text(max_size=4).map(np.str_) | st.tuples(st.integers())
)
notes = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
numbers = st.integers(0, 3) | st.sampled_from([999_999_998, 999_999_999, 1_000_000_000])
versions = (
    st.none()
    | st.tuples(numbers, numbers, numbers).map(lambda each: ".".join(map(str, each)))
    | st.text(max_size=8)
    | st.sampled_from([1, 1.0, b"1.0.0", np.str_("4.4.4"), (1, 2, 3), "v5.5.5", "1.2.3\n"])
)
names = st.sampled_from(["a", "Support", "a.b-c_9", "index.json", "v1.0.0.safetensors", "x" * 100]) | st.text(
    st.characters(exclude_categories=()), max_size=6
)


@settings(max_examples=120)
@given(
    added=st.lists(
        st.tuples(names, versions, notes, st.sampled_from(["major", "minor", "patch", "", 3, None])),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_accepted_can_be_read_and_whatever_is_refused_changes_nothing(
    added: list[tuple[str, Any, Any, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(folder, load=nothing)
        for name, version, remarks, bump in added:
            before = kept(registry)
            try:
                entry = registry.add(name, DEFAULT, version=version, bump=bump, notes=remarks)
            except TinyDancerError:
                assert kept(registry) == before
                continue
            assert entry in registry.versions(name)
            registry.promote(name, entry.version)
            used(registry, name)
        for name in registry.names():
            used(registry, name)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("first try", "first try"),
        (["a", 1], ["a", 1]),
        (7, 7),
        (None, {}),
        ({"loss": np.float32(0.5), "seeds": np.arange(3), "name": np.str_("x")},
         {"loss": 0.5, "seeds": [0, 1, 2], "name": "x"}),
        ({1: True}, {"1": True}),
        ({"big": 2**70}, {"big": 2**70}),
    ],
)  # fmt: skip
def test_notes_are_anything_that_json_holds(tmp_path: Path, given: Any, stored: Any) -> None:
    registry = Registry(tmp_path, load=Router)
    assert registry.add("a", DEFAULT, notes=given).notes == stored
    registry.promote("a", "0.1.0")
    assert registry.serving("a").notes == stored
    assert ResilientRouter.from_registry(tmp_path, "a").status().version == "0.1.0"
    used(registry, "a")


def looped() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    "given",
    [{"loss": math.nan}, [math.inf], "\ud800", {"\udfff": 1}, {(1, 2): 3}, object(), looped(), deep(40),
     deep(5000), "x" * 70_000, {"values": np.zeros(40_000)}],
    ids=range(11),
)  # fmt: skip
def test_notes_that_json_does_not_hold_are_refused_by_name(tmp_path: Path, given: Any) -> None:
    registry = Registry(tmp_path / "registry", load=Router)
    with pytest.raises(RegistryError) as caught:
        registry.add("a", DEFAULT, notes=given)
    assert caught.value.field == "notes"
    assert not registry.folder.exists()


def test_after_the_highest_number_the_next_has_to_be_given(tmp_path: Path) -> None:
    registry = Registry(tmp_path, load=Router)
    top = "999999999.999999999.999999999"
    assert registry.add("a", DEFAULT, version=top).version == top
    for bump in ("major", "minor", "patch"):
        with pytest.raises(RegistryError, match="would be the next; give one yourself"):
            registry.add("a", DEFAULT, bump=bump)
    registry.promote("a", registry.add("a", DEFAULT, version="1.0.0").version)
    assert [each.version for each in registry.versions("a")] == ["1.0.0", top]
    used(registry, "a")


def test_a_source_whose_name_is_not_unicode_is_named_in_ascii(tmp_path: Path) -> None:
    source = os.fsencode(tmp_path) + b"/\xff.safetensors"
    Path(os.fsdecode(source)).write_bytes(DEFAULT.read_bytes())
    registry = Registry(tmp_path / "registry", load=Router)
    assert registry.add("a", os.fsdecode(source)).source.endswith("\\udcff.safetensors")
    registry.promote("a", "0.1.0")
    used(registry, "a")


@pytest.mark.parametrize("folder", [None, 3, "a\0b", b"bytes", "\ud800"])
def test_a_folder_that_cannot_be_is_refused(folder: Any) -> None:
    with pytest.raises(RegistryError, match="path of a folder"):
        Registry(folder, load=Router)


@pytest.mark.parametrize("source", [None, 3, "a\0b", "\ud800"])
def test_a_source_that_cannot_be_is_refused(tmp_path: Path, source: Any) -> None:
    with pytest.raises(RegistryError, match="path of an artifact"):
        Registry(tmp_path, load=Router).add("a", source)


# Other kinds.


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(text_classifier())
    return path


def test_a_name_keeps_the_kind_that_serves(tmp_path: Path, classifier: Path) -> None:
    registry = Registry(tmp_path / "registry", load=load_any)
    first = registry.add("a", DEFAULT).version
    second = registry.add("a", classifier).version  # nothing serves yet
    registry.promote("a", first)
    says = rf"a classifier, and a serves {first}, a request-router; add it under another name"
    with pytest.raises(RegistryError, match=f"{second} is {says}"):
        registry.promote("a", second)
    with pytest.raises(RegistryError, match=f"the artifact is {says}"):
        registry.add("a", classifier)
    assert registry.serving("a").version == first
    assert [each.version for each in registry.versions("a")] == [first, second]


def test_rollback_passes_over_another_kind(tmp_path: Path, classifier: Path) -> None:
    registry = Registry(tmp_path, load=load_any)
    router, second, other = (registry.add("a", source).version for source in (DEFAULT, DEFAULT, classifier))
    registry.promote("a", router)
    registry.promote("a", second)
    index = json.loads((tmp_path / "a" / "index.json").read_text())
    index["previous"].append(other)  # as versions before this one allowed
    (tmp_path / "a" / "index.json").write_text(json.dumps(index))
    assert registry.rollback("a").version == router
    index["previous"] = [other]
    (tmp_path / "a" / "index.json").write_text(json.dumps(index))
    with pytest.raises(RegistryError, match=rf"{other} is a classifier, and a serves {second}"):
        registry.rollback("a")


@pytest.mark.parametrize("load", [Router, load_any])
def test_an_artifact_of_another_kind_never_replaces_what_serves(
    tmp_path: Path, classifier: Path, load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(tmp_path / "registry", load=load_any)
    first, second = registry.add("a", DEFAULT).version, registry.add("a", classifier).version
    registry.promote("a", first)
    reloading = Reloading(ServingVersion(registry, "a"), load)
    index = registry.folder / "a" / "index.json"
    content = json.loads(index.read_text())
    content["versions"][0]["state"], content["versions"][1]["state"] = "added", "serving"
    index.write_text(json.dumps(content))
    says = rf"registry is now a classifier \(version {second}\), and a request-router \(version {first}\) serves"
    with pytest.raises(ArtifactError, match=says):
        reloading.reload()
    for _ in range(3):
        reloading.check()
    assert reloading.current.version == first
    assert [record.levelname for record in caplog.records] == ["ERROR"], "said once"
    assert f"Version {first} goes on serving" in caplog.text


def test_a_file_of_another_kind_never_replaces_what_serves(tmp_path: Path, classifier: Path) -> None:
    path = tmp_path / "router.safetensors"
    path.write_bytes(DEFAULT.read_bytes())
    router = ResilientRouter.load(path)
    classifier.replace(path)
    with pytest.raises(ArtifactError, match=r"router\.safetensors is now a classifier"):
        router.reload()
    assert "is now a classifier" in str(router.status().reload_error)
    assert router.route("What is 2 + 2?").level == 0
    with pytest.raises(ArtifactError, match="expected candidates"):
        CandidateRouter(CandidateRouterConfig(model_path=path))


# Files put there by hand.


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").touch()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def bound(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is at most some 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(path.name)
    finally:
        os.chdir(here)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


BY_HAND = [fifo, folder, loop, bound, dangling, device]


@pytest.mark.parametrize("put", BY_HAND)
def test_what_lies_in_place_of_a_version_is_refused_at_once_and_the_others_serve(tmp_path: Path, put: Any) -> None:
    registry = Registry(tmp_path, load=Router)
    versions = [registry.add("a", DEFAULT).version for _ in range(4)]
    for version in versions[:3]:
        registry.promote("a", version)
    for version in (versions[1], versions[3]):
        (tmp_path / "a" / f"v{version}.safetensors").unlink()
        put(tmp_path / "a" / f"v{version}.safetensors")
    for action in (registry.read, registry.promote):
        with pytest.raises(RegistryError, match=rf"v{versions[3]}\.safetensors"):
            action("a", versions[3])
    assert registry.last_known_good("a").version == versions[0]
    assert registry.rollback("a").version == versions[0]
    assert registry.read("a").version.version == versions[0]
    registry.add("a", DEFAULT)


@pytest.mark.parametrize("put", BY_HAND)
@pytest.mark.parametrize("place", ["index.json.part", "v0.1.1.safetensors.part", "v7.7.7.safetensors"])
def test_what_lies_beside_the_files_harms_nothing(tmp_path: Path, put: Any, place: str) -> None:
    registry = Registry(tmp_path, load=Router)
    registry.promote("a", registry.add("a", DEFAULT).version)
    put(tmp_path / "a" / place)
    try:
        added = registry.add("a", DEFAULT)
    except RegistryError as error:
        assert put is folder, error
        assert place in error.value
        assert (tmp_path / "a" / place / "mine").exists()
    else:
        registry.promote("a", added.version)
    if put is not folder:
        used(registry, "a")
    registry.collect_garbage("a", keep=0)
    assert registry.read("a")
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "a" / place).exists() == (put is folder)


@pytest.mark.parametrize("put", BY_HAND)
@pytest.mark.parametrize("place", [".lock", "index.json"])
def test_what_lies_in_place_of_index_or_lock_is_said_at_once(tmp_path: Path, put: Any, place: str) -> None:
    registry = Registry(tmp_path, load=Router)
    registry.add("a", DEFAULT)
    registry.add("b", DEFAULT)
    registry.promote("b", "0.1.0")
    (tmp_path / "a" / place).unlink()
    put(tmp_path / "a" / place)
    for action in (registry.versions, registry.serving, lambda name: registry.promote(name, "0.1.0")):
        try:
            action("a")
        except RegistryError:
            continue
    used(registry, "b")
    assert "b" in registry.names()


@pytest.mark.parametrize("put", BY_HAND)
@pytest.mark.parametrize("place", ["c", "with space", ".hidden", "-", "ä"])
def test_what_lies_among_the_names_is_none(tmp_path: Path, put: Any, place: str) -> None:
    registry = Registry(tmp_path, load=Router)
    registry.promote("a", registry.add("a", DEFAULT).version)
    put(tmp_path / place)
    assert registry.names() == ("a",)
    used(registry, "a")


def test_a_name_by_hand_that_could_not_be_added_is_none(tmp_path: Path) -> None:
    registry = Registry(tmp_path, load=Router)
    registry.promote("a", registry.add("a", DEFAULT).version)
    (tmp_path / "a").rename(tmp_path / "a b")
    assert registry.names() == ()


def entries(registry: Registry) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((registry.folder / "a" / "index.json").read_text())
    return content


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda index: index["versions"][0].update(version="1.0"), "version 1: "),
        (lambda index: index["versions"][0].update(version="1000000000.0.0"), "version 1: "),
        (lambda index: index["versions"][0].update(state="lost"), "version 1: a state that is none of"),
        (lambda index: index["versions"][0].pop("sha256"), "version 1: .*sha256"),
        (lambda index: index["versions"][0].update(size="large"), "version 1: .*int"),
        (lambda index: index["versions"].append(index["versions"][0]), "version 4: 0.1.0 is there twice"),
        (lambda index: index["versions"][0].update(state="serving"), "version 3: 0.1.2 serves beside another one"),
        (lambda index: index["versions"].append(None), "version 4: "),
        (lambda index: index["previous"].append("9.9.9"), "previous version 2: 9.9.9 is none of the versions"),
        (lambda index: index["previous"].append(9), "previous version 2: "),
        (lambda index: index["history"].append({"at": 1}), "change 3: "),
    ],
)
def test_a_damaged_entry_is_named_and_the_others_serve(tmp_path: Path, spoil: Any, says: str) -> None:
    registry = Registry(tmp_path, load=Router)
    for _ in range(3):
        registry.add("a", DEFAULT)
    registry.promote("a", "0.1.1")
    registry.promote("a", "0.1.2")
    content = entries(registry)
    spoil(content)
    data = json.dumps(content).encode()
    (tmp_path / "a" / "index.json").write_bytes(data)
    assert any(re.search(says, each) for each in registry.damage("a")), registry.damage("a")
    serving = registry.serving("a")
    assert registry.read("a").version == serving
    assert ResilientRouter.from_registry(tmp_path, "a").status().version == serving.version
    assert {"0.1.1"} <= {each.version for each in registry.versions("a")}
    registry.history("a")
    registry.last_known_good("a")
    for change in (
        lambda: registry.add("a", DEFAULT),
        lambda: registry.promote("a", "0.1.1"),
        lambda: registry.rollback("a"),
        lambda: registry.retire("a", "0.1.1"),
        lambda: registry.collect_garbage("a", keep=0),
    ):
        with pytest.raises(RegistryError, match=says):
            change()
    assert (tmp_path / "a" / "index.json").read_bytes() == data, "what cannot be read is not written over"


def test_where_the_damaged_entry_serves_that_is_said(tmp_path: Path) -> None:
    registry = Registry(tmp_path, load=Router)
    registry.promote("a", registry.add("a", DEFAULT).version)
    registry.add("a", DEFAULT)
    content = entries(registry)
    content["versions"][0]["size"] = None
    (tmp_path / "a" / "index.json").write_text(json.dumps(content))
    with pytest.raises(RegistryError, match="version 1: "):
        registry.serving("a")
    assert [each.version for each in registry.versions("a")] == ["0.1.1"]


# Stopped at every step.


class Stopped(BaseException):
    """The process ends here."""


class Steps:
    """Calls that change the folder, of which one is the last: the process ends before it or after it."""

    def __init__(self, last: int, *, after: bool) -> None:
        self._left, self._after = last, after

    def counted(self, function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self._left -= 1
            if self._left == -1 and not self._after:
                raise Stopped
            result = function(*arguments, **keywords)
            if self._left == -1:
                raise Stopped
            return result

        return call


@pytest.mark.parametrize("after", [False, True])
def test_stopped_between_any_two_steps_everything_can_be_read(tmp_path: Path, after: bool) -> None:
    for last in range(100):
        place = tmp_path / str(last)
        registry = Registry(place, load=Router)
        registry.promote("a", registry.add("a", DEFAULT).version)
        steps, stopped = Steps(last, after=after), False
        with (
            mock.patch.object(os, "fsync", steps.counted(os.fsync)),
            mock.patch.object(Path, "replace", steps.counted(Path.replace)),
            mock.patch.object(Path, "unlink", steps.counted(Path.unlink)),
        ):
            try:
                registry.promote("a", registry.add("a", DEFAULT, notes={"try": 2}).version)
                registry.add("a", DEFAULT)
                registry.rollback("a")
                registry.collect_garbage("a", keep=0)
            except Stopped:
                stopped = True
        again = Registry(place, load=Router)
        for version in again.versions("a"):
            assert again.read("a", version.version).version == version
        assert Router(again.read("a").data).header["version"] == again.serving("a").version
        again.promote("a", again.add("a", DEFAULT).version)
        used(again, "a")
        if not stopped:
            assert last > 20, "what changes the folder was not seen"
            return
    raise AssertionError("it never ends")


def test_an_index_that_would_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: Any) -> None:
    """The last check, should a door ever let something through."""
    registry = Registry(tmp_path, load=Router)
    registry.promote("a", registry.add("a", DEFAULT).version)
    before = kept(registry)
    for bad in (math.nan, deep(2000), object(), "\ud800"):
        monkeypatch.setattr(module, "plain_notes", lambda _, bad=bad: bad)
        with pytest.raises(RegistryError, match="could not be read again"):
            registry.add("a", DEFAULT, notes=1)
        assert {path for path in kept(registry) if path.endswith(".json")} <= set(before)
        used(registry, "a")
