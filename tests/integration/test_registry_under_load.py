"""Hot reload while threads route: no error, and no decision that mixes two versions."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tiny_dancer import RegistryError, Router, _core
from tiny_dancer.registry import Registry
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = [
    "What is 2 + 2?",
    "If a train leaves at 9 and another at 10, which arrives first, and why?",
    "Write a poem about the sea.",
    "Hello",
]
PROMOTIONS = 200


def variant(folder: Path, number: int) -> Path:
    """The shipped artifact, whose policy calls the strong model always (odd) or never (even)."""
    data = _core.data_file("default.safetensors")
    header = _core.read_header(data)
    header["policy"] = {**header["policy"], "threshold": -2.0 if number % 2 else 2.0}
    header["self_check"] = []
    path = folder / f"{number}.safetensors"
    path.write_bytes(_core.with_header(data, header))
    return path


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns fifty times as often as usual: more mixed moments, and promoting is not starved."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("watching", [False, True])
def test_hundreds_of_promotions_under_load(tmp_path: Path, watching: bool) -> None:
    registry = Registry(tmp_path / "registry", load=Router)
    chooses = {}
    for number in range(4):
        version = registry.add("support", variant(tmp_path, number)).version
        chooses[version] = "strong" if number % 2 else "weak"
    versions = list(chooses)
    corrupt = registry.add("support", variant(tmp_path, 9)).version
    chooses[corrupt] = "strong"  # a watch may serve it before it is damaged
    registry.promote("support", versions[0])
    router = ResilientRouter.from_registry(registry.folder, "support")
    stop = threading.Event()
    errors: list[BaseException] = []
    mixed: list[str] = []
    seen: set[str] = set()
    counts = [0] * 4

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                for text in TEXTS:
                    decision = router.route(text)
                    counts[number] += 1
                    seen.add(decision.artifact_version)
                    if decision.level != 0 or decision.model != chooses[decision.artifact_version]:
                        mixed.append(f"{decision.artifact_version} chose {decision.model}, level {decision.level}")
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    if watching:
        router.watch(0.001)
    for number in range(PROMOTIONS):
        registry.promote("support", versions[number % 4])
        if not watching:
            assert router.reload() == versions[number % 4]
        if number == PROMOTIONS // 2:
            # A version that is damaged on disk after it was promoted: it stays out, the old one serves.
            before = registry.promote("support", corrupt).version
            path = registry.folder / "support" / f"v{before}.safetensors"
            path.write_bytes(path.read_bytes()[:-1] + b"?")
            if not watching:
                with pytest.raises(RegistryError, match="has changed since"):
                    router.reload()
                assert isinstance(router.status().reload_error, RegistryError)
                assert router.status().version == versions[number % 4]
    router.reload()
    stop.set()
    for thread in threads:
        thread.join()
    router.close()
    assert not errors
    assert not mixed
    assert sum(counts) >= 4 * len(TEXTS)
    assert len(seen) >= 2, "no reload was seen by the threads that route"
    assert router.status().version == registry.serving("support").version
    assert router.status().reload_error is None
