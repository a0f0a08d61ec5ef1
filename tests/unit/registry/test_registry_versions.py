"""Versions in a folder: add, promote, roll back, retire, collect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tiny_dancer import ArtifactChecksumError, ArtifactError, ArtifactSelfCheckError, RegistryError, Router, _core
from tiny_dancer.registry import Registry
from tiny_dancer.registry.index import Change, parse_version, recorded

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = _core.data_path("default.safetensors")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", load=Router)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 0xFF
    path.write_bytes(data)


def states(registry: Registry) -> dict[str, str]:
    return {each.version: each.state for each in registry.versions("a")}


def test_an_added_version_is_the_artifact_under_its_own_version(registry: Registry) -> None:
    first = registry.add("a", DEFAULT, notes={"why": "first", "run": [1, 2]})
    assert first.version == "0.1.0", "the first keeps the artifact's own"
    assert (first.state, first.kind, first.source) == ("added", "request-router", str(DEFAULT))
    assert first.metrics == Router.load().header["metrics"]
    assert first.notes == {"why": "first", "run": [1, 2]}
    second = registry.add("a", DEFAULT, bump="minor")
    assert registry.versions("a") == (first, second)
    assert Registry(registry.folder, load=Router).versions("a") == (first, second)
    stored = registry.read("a", "v0.2.0")
    assert stored.version == second
    router, plain = Router(stored.data), Router.load()
    decision, expected = router.route("What is 2 + 2?"), plain.route("What is 2 + 2?")
    assert decision.artifact_version == "0.2.0"
    assert (decision.model, decision.scores) == (expected.model, expected.scores)
    assert {**router.header, "version": "0.1.0"} == plain.header


def test_versions_are_bumped_from_the_highest(registry: Registry) -> None:
    assert registry.add("a", DEFAULT, version="v1.9.9").version == "1.9.9"
    assert registry.add("a", DEFAULT, version="0.5.0").version == "0.5.0"
    assert registry.add("a", DEFAULT).version == "1.9.10"
    assert registry.add("a", DEFAULT, bump="minor").version == "1.10.0"
    assert registry.add("a", DEFAULT, bump="major").version == "2.0.0"
    assert [each.version for each in registry.versions("a")] == ["0.5.0", "1.9.9", "1.9.10", "1.10.0", "2.0.0"]
    with pytest.raises(RegistryError, match="exists"):
        registry.add("a", DEFAULT, version="2.0.0")


@pytest.mark.parametrize(
    "text", ["1.2", "1.2.3.4", "1.2.x", "01.2.3", "1.2.3-rc1", "", " 1.2.3", "١.٢.٣", "1.2.3\n"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(RegistryError, match=r"MAJOR\.MINOR\.PATCH"):
        parse_version(text)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\\b", "ä", "-a", "a" * 101, "a\n"])
def test_names_cannot_leave_the_folder(registry: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match="name"):
        registry.add(name, DEFAULT)


def test_promotion_and_rollback_keep_what_served_before(registry: Registry) -> None:
    one, two, three = (registry.add("a", DEFAULT).version for _ in range(3))
    with pytest.raises(RegistryError, match="promote one"):
        registry.serving("a")
    with pytest.raises(RegistryError, match="served before"):
        registry.rollback("a")
    for version in (one, two, three, two):
        assert registry.promote("a", version).state == "serving"
        assert registry.serving("a").version == version
        assert list(states(registry).values()).count("serving") == 1
    registry.promote("a", two)  # serves already: no change
    good = registry.last_known_good("a")
    assert good is not None
    assert good.version == three
    assert registry.rollback("a").version == three
    assert registry.rollback("a").version == one
    with pytest.raises(RegistryError):
        registry.rollback("a")
    assert registry.serving("a").version == one
    assert [(each.action, each.version) for each in registry.history("a")] == [
        *(("promote", version) for version in (one, two, three, two)),
        ("rollback", three),
        ("rollback", one),
    ]


def test_a_damaged_file_is_not_promoted_and_rollback_passes_over_it(registry: Registry) -> None:
    versions = [registry.add("a", DEFAULT).version for _ in range(4)]
    for version in versions[:3]:
        registry.promote("a", version)
    folder = registry.folder / "a"
    damage(folder / f"v{versions[3]}.safetensors")
    (folder / f"v{versions[1]}.safetensors").unlink()
    for action in (lambda: registry.promote("a", versions[3]), lambda: registry.read("a", versions[3])):
        with pytest.raises(RegistryError, match="has changed since"):
            action()
    with pytest.raises(RegistryError, match="No such file"):
        registry.promote("a", versions[1])
    assert registry.serving("a").version == versions[2]
    good = registry.last_known_good("a")
    assert good is not None
    assert good.version == versions[0]
    assert registry.rollback("a").version == versions[0]


def test_what_does_not_load_is_neither_added_nor_promoted(registry: Registry, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(DEFAULT.read_bytes())
    damage(broken)
    header = _core.read_header(DEFAULT.read_bytes())
    header["self_check"][0]["choice"] ^= 1
    lying = tmp_path / "lying.safetensors"
    lying.write_bytes(_core.with_header(DEFAULT.read_bytes(), header))
    with pytest.raises(ArtifactChecksumError):
        registry.add("a", broken)
    with pytest.raises(ArtifactSelfCheckError):
        registry.add("a", lying)
    with pytest.raises(RegistryError, match="path of an artifact"):
        registry.add("a", tmp_path / "absent")
    assert registry.names() == ()
    first, second = registry.add("a", DEFAULT).version, registry.add("a", DEFAULT).version
    registry.promote("a", first)

    def refuse(data: bytes) -> object:
        raise KeyError("weights")

    picky = Registry(registry.folder, load=refuse)
    with pytest.raises(ArtifactError, match="KeyError"):
        picky.promote("a", second)
    with pytest.raises(RegistryError):
        picky.rollback("a")
    assert registry.serving("a").version == first


def test_retired_versions_come_back_neither_by_promotion_nor_by_rollback(registry: Registry) -> None:
    one, two, three = (registry.add("a", DEFAULT).version for _ in range(3))
    for version in (one, two, three):
        registry.promote("a", version)
    with pytest.raises(RegistryError, match="serves"):
        registry.retire("a", three)
    assert registry.retire("a", two).state == "retired"
    with pytest.raises(RegistryError, match="is retired"):
        registry.promote("a", two)
    assert registry.rollback("a").version == one


def test_collecting_keeps_the_serving_the_last_known_good_and_the_newest(registry: Registry) -> None:
    versions = [registry.add("a", DEFAULT).version for _ in range(8)]
    registry.promote("a", versions[0])
    registry.promote("a", versions[1])
    registry.retire("a", versions[7])
    folder = registry.folder / "a"
    (folder / "v9.9.9.safetensors").write_bytes(b"of a process that was killed")
    (folder / "index.json.part").write_bytes(b"{")
    (folder / "mine.txt").write_text("not ours")
    removed = registry.collect_garbage("a", keep=2)
    assert [each.version for each in removed] == [*versions[2:5], versions[7]]
    assert [each.version for each in registry.versions("a")] == [*versions[:2], *versions[5:7]]
    assert {each.name for each in folder.iterdir()} == {
        ".lock",
        "index.json",
        "mine.txt",
        *(f"v{each.version}.safetensors" for each in registry.versions("a")),
    }
    assert registry.collect_garbage("a", keep=0) != ()
    assert registry.rollback("a").version == versions[0]
    with pytest.raises(RegistryError):
        registry.collect_garbage("a", keep=-1)


def test_a_mistyped_name_or_version_says_what_there_is(registry: Registry) -> None:
    registry.add("a", DEFAULT)
    for action in (registry.versions, registry.rollback, registry.serving, registry.history):
        with pytest.raises(RegistryError, match="the names are: a"):
            action("b")
    assert not (registry.folder / "b").exists()
    with pytest.raises(RegistryError, match=r"the versions are: 0\.1\.0"):
        registry.promote("a", "7.7.7")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"versions": [{"version": "1.0.0"}]}',
        "\udc80",
        '{"format": 1, "versions": 3}',
    ],
)
def test_a_damaged_index_is_a_typed_error_and_stays_as_it_is(registry: Registry, content: str) -> None:
    registry.add("a", DEFAULT)
    index = registry.folder / "a" / "index.json"
    index.write_bytes(content.encode("utf-8", "surrogateescape"))
    for action in (
        lambda: registry.versions("a"),
        lambda: registry.add("a", DEFAULT),
        lambda: registry.rollback("a"),
    ):
        with pytest.raises(RegistryError, match="index"):
            action()
    assert index.read_bytes() == content.encode("utf-8", "surrogateescape")


def test_the_index_is_readable_and_its_history_bounded(registry: Registry) -> None:
    history: tuple[Change, ...] = ()
    for number in range(1010):
        history = recorded(history, Change("now", "promote", f"0.0.{number}"))
    assert [each.version for each in history] == [f"0.0.{number}" for number in range(10, 1010)]
    one, two = registry.add("a", DEFAULT).version, registry.add("a", DEFAULT).version
    registry.promote("a", one)
    registry.promote("a", two)
    index = json.loads((registry.folder / "a" / "index.json").read_text())
    assert index["previous"] == [one]
    assert index["versions"][1]["state"] == "serving"


class Versions(RuleBasedStateMachine):
    """Any order of actions: exactly the versions that may serve do, and rollback goes where it says."""

    @initialize()
    def start(self) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.registry = Registry(self.folder.name, load=lambda data: None)
        self.registry.add("a", DEFAULT)
        self.previous: list[str] = []
        self.present: str | None = None
        self.added = {"0.1.0"}
        self.retired: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def pick(self, number: int) -> str:
        versions = sorted(self.added | self.retired, key=parse_version)
        return versions[number % len(versions)]

    @rule()
    def add(self) -> None:
        self.added.add(self.registry.add("a", DEFAULT).version)

    @rule(number=st.integers(0, 99))
    def promote(self, number: int) -> None:
        version = self.pick(number)
        if version in self.retired:
            with pytest.raises(RegistryError):
                self.registry.promote("a", version)
        else:
            self.registry.promote("a", version)
            if version != self.present:
                self.previous = [each for each in self.previous if each != version]
                if self.present is not None:
                    self.previous.append(self.present)
                self.present = version

    @precondition(lambda self: self.previous)
    @rule()
    def roll_back(self) -> None:
        good = self.registry.last_known_good("a")
        assert good is not None
        self.present = self.previous.pop()
        assert self.registry.rollback("a").version == good.version == self.present

    @rule(number=st.integers(0, 99))
    def retire(self, number: int) -> None:
        version = self.pick(number)
        if version == self.present:
            with pytest.raises(RegistryError):
                self.registry.retire("a", version)
        else:
            self.registry.retire("a", version)
            self.previous = [each for each in self.previous if each != version]
            self.added.discard(version)
            self.retired.add(version)

    @rule(keep=st.integers(0, 3))
    def collect(self, keep: int) -> None:
        safe = {self.present, *self.previous[-1:]} - {None}
        others = sorted(self.added - safe, key=parse_version)
        gone = {each.version for each in self.registry.collect_garbage("a", keep=keep)}
        assert gone == self.retired | set(others[: max(0, len(others) - keep)])
        self.added -= gone
        self.retired.clear()
        self.previous = [each for each in self.previous if each in self.added]
        if not self.added:
            self.added.add(self.registry.add("a", DEFAULT).version)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "registry"):
            return
        found = {each.version: each.state for each in self.registry.versions("a")}
        expected = dict.fromkeys(self.added, "added") | dict.fromkeys(self.retired, "retired")
        if self.present is not None:
            expected[self.present] = "serving"
            assert self.registry.read("a").version.version == self.present
        assert found == expected


TestVersions = Versions.TestCase
TestVersions.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
