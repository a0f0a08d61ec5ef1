"""What is no file is refused at once, wherever a file is read."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.commands import fails

from tiny_dancer import CandidateRouter, CandidateRouterConfig, Classifier, Router, TinyDancerError, files
from tiny_dancer.config import load, without_environment
from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.prices import fill
from tiny_dancer.gateway.configuration.settings import GatewayConfig
from tiny_dancer.registry import ArtifactFile
from tiny_dancer.routing.resilient import ResilientRouter
from tiny_dancer.storage import SqliteStorage
from tiny_dancer.training.candidates.judge import load_scorer
from tiny_dancer.training.data.raw import read_raw
from tiny_dancer.training.fastgrnn.data import read_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ["pipe", "socket", "device", "loop", "folder", "dangling"]


@pytest.fixture(params=KINDS)
def special(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable]:
    """Makes what is no file under a name."""
    monkeypatch.chdir(tmp_path)  # the name of a socket is at most some 100 bytes

    def make(name: str) -> Path:
        path = tmp_path / name
        match request.param:
            case "pipe":
                os.mkfifo(path)
            case "socket":
                with socket.socket(socket.AF_UNIX) as line:
                    line.bind(name)
            case "device":
                path.symlink_to("/dev/zero")
            case "loop":
                path.symlink_to(name)
            case "folder":
                path.mkdir()
            case _:
                path.symlink_to("nowhere")
        return path

    yield make


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "router": ("a.safetensors", Router.load),
    "resilient router": ("a.safetensors", ResilientRouter.load),
    "classifier": ("a.safetensors", Classifier.from_file),
    "candidate router": ("a.safetensors", lambda path: CandidateRouter(CandidateRouterConfig(model_path=path))),
    "scorer": ("a.safetensors", load_scorer),
    "stamp": ("a.safetensors", lambda path: ArtifactFile(path).stamp()),
    "configuration": ("a.yaml", lambda path: load(path, GatewayConfig)),
    "prices": ("a.json", lambda path: fill(GatewayConfig(upstreams={}, models={}), path)),
    "examples": ("a.npz", read_examples),
    "parquet": ("a.parquet", lambda path: read_raw(path, lambda _: True)),
    "csv": ("a.csv", lambda path: read_raw(path, lambda _: True)),
    "jsonl": ("a.jsonl.gz", lambda path: read_raw(path, lambda _: True)),
    "database": ("a.db", SqliteStorage),
}


@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_what_is_no_file_is_a_typed_error_at_once(
    special: Callable[[str], Path], name: str, read: Callable[[Path], Any], request: pytest.FixtureRequest
) -> None:
    path = special(name)
    if name == "a.db" and path.is_symlink() and path.readlink() == Path("nowhere"):
        pytest.skip("a database is made where there is none")
    with pytest.raises(TinyDancerError, match=name):
        read(path)


@pytest.mark.parametrize(
    "words",
    [
        ("route", "Hi", "--artifact", "a.safetensors"),
        ("inspect", "a.safetensors"),
        ("train", "a.parquet", "--out", "out"),
        ("data", "check", "a.csv"),
        ("classifier", "train", "a.npz", "--out", "out"),
        ("candidates", "route", "--artifact", "a.safetensors", "--database", "x.db", "--query", "x"),
        ("gateway", "--config", "a.yaml"),
        ("gateway", "check", "--config", "a.yaml"),
        ("models", "add", "registry", "a", "a.safetensors"),
        ("db", "stats", "a.db"),
    ],
)
def test_a_command_says_so_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    name = next(word for word in words if word.startswith("a."))
    os.mkfifo(tmp_path / name)
    SqliteStorage(tmp_path / "x.db").close()
    assert name in fails(2, *words, cwd=tmp_path)


def test_what_became_a_pipe_while_it_was_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    os.mkfifo(path)
    monkeypatch.setattr(files, "check", lambda _: None)
    with pytest.raises(OSError, match="a named pipe, not a file"):
        files.read(path)


def test_files_are_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3)
    assert files.read(path, most=3) == files.read(path) == b"xxx"
    with pytest.raises(OSError, match="larger than 0 MiB"):
        files.read(path, most=2)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    for read in (Router.load, Classifier.from_file, load_scorer):
        with pytest.raises(TinyDancerError, match="larger than 64 MiB"):
            read(path)
    with pytest.raises(TinyDancerError, match="larger than 1 MiB"):
        load(path, GatewayConfig)
    error = ConfigError("x", "y", "z")
    assert without_environment(error, path) is error


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "x" * 5000])
def test_names_no_file_can_have_are_oserrors(path: str) -> None:
    for action in (files.check, files.read, files.opened):
        with pytest.raises(OSError):
            action(path)
    with pytest.raises(TinyDancerError):
        Router.load(path)
    with pytest.raises(TinyDancerError):
        CandidateRouter(CandidateRouterConfig(model_path=path))


def test_writers_at_once_each_leave_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    contents = [bytes([at]) * 300_000 for at in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: files.write(target, content), contents * 4))
    assert target.read_bytes() in contents
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_what_a_link_names_is_written_and_what_is_no_file_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    (tmp_path / "link").symlink_to("kept")
    files.write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "kept").read_bytes() == b"new"
    files.write("/dev/null", b"gone")
    assert Path("/dev/null").is_char_device()
    long = tmp_path / ("é" * 127)
    files.write(long, b"x")
    assert long.read_bytes() == b"x"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        files.write(target, b"whole")
    assert target.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["out"]
