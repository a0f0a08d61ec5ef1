"""The engine by its C ABI: shared vectors from C, Go and Java, all a program can do wrong, and the header.

The library is built by ``make c``. What a test needs beside cargo and a C compiler it says, and skips without.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.doors import (
    DATA,
    KINDS,
    ROOT,
    TARGET,
    Answers,
    compared,
    count,
    make,
    needs,
    replayed,
    run,
    written,
)
from tests.missing import missing

if TYPE_CHECKING:
    from collections.abc import Iterable

CRATE = ROOT / "crates" / "tiny-dancer-ffi"
LIBRARY = TARGET / "c" / "lib" / "libtiny_dancer.so.0"
HEADER = CRATE / "include" / "tiny_dancer.h"
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_POSIX_C_SOURCE=200809L")
WITHOUT_ENCODER = ROOT / "conformance" / "artifacts" / "measured.safetensors"


@cache
def library() -> Path:
    """The shared library, built."""
    needs("cargo", "cc", "make")
    if os.name != "posix" or os.uname().sysname != "Linux":
        missing("Linux, for a library with versioned symbols")
    make("c")
    return LIBRARY


def compiled(source: str, folder: Path) -> Path:
    """A program of the folder ``c``, linked with the library as pkg-config says."""
    needs("pkg-config")
    library()
    flags = run(
        "pkg-config", "--cflags", "--libs", "tiny_dancer", PKG_CONFIG_PATH=str(LIBRARY.parent / "pkgconfig")
    )
    program = folder / source
    run("cc", *STRICT, "-O1", "-g", str(CRATE / "c" / f"{source}.c"), "-o", str(program), *flags.split(), "-lm")
    return program


def netstring(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return b"%d:%s" % (len(data), data)


def as_netstrings(cases: Iterable[dict[str, Any]]) -> bytes:
    """Cases for programs in languages whose library reads no JSON: see ``c/replay.c``."""
    parts: list[str] = []
    cases = list(cases)
    parts.append(str(len(cases)))
    for case in cases:
        parts += [case["encoder"] or "", str(len(case["steps"]))]
        for operation, *arguments in case["steps"]:
            parts.append(operation)
            for given in arguments:
                if given is None:
                    parts += ["a", ""]
                else:
                    parts += ["f", given["file"]] if isinstance(given, dict) else ["t", given]
    return b"".join(map(netstring, parts))


def from_netstrings(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        end = data.index(b":", at)
        length = int(data[at:end])
        found.append(data[end + 1 : end + 1 + length].decode())
        at = end + 1 + length
    return found


def replayed_by(
    command: Iterable[str], folder: Path, kinds: Iterable[str] = KINDS, **environment: str
) -> dict[str, int]:
    """As :func:`doors.replayed`, of a program that reads netstrings."""
    path, expected = written(folder, kinds)
    cases = json.loads(path.read_text(encoding="utf-8"))
    asked, answered = folder / "cases.net", folder / "answers.net"
    asked.write_bytes(as_netstrings(cases))
    run(*command, str(asked), str(answered), **environment)
    texts = iter(from_netstrings(answered.read_bytes()))
    found: Answers = [[next(texts) for _ in range(int(next(texts)))] for _ in cases]
    return compared(cases, expected, found)


# ------------------------------------------------------------------ C


def test_every_vector_has_the_answer_of_the_engine_in_c(tmp_path: Path) -> None:
    program = compiled("replay", tmp_path)
    assert replayed_by([str(program)], tmp_path, LD_LIBRARY_PATH=str(LIBRARY.parent)) == count()


def test_nothing_is_lost_or_read_that_is_not_there(tmp_path: Path) -> None:
    """valgrind over what needs no encoder: every call, its answers and errors, and the end."""
    needs("valgrind")
    program = compiled("replay", tmp_path)
    checked = ("valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=all", "--error-exitcode=9")
    kinds = ("candidates", "agents")
    assert replayed_by([*checked, str(program)], tmp_path, kinds, LD_LIBRARY_PATH=str(LIBRARY.parent)) == count(
        kinds
    )


@pytest.fixture(scope="module")
def archive() -> Path:
    """The library as an archive with checks, and a panic on demand."""
    needs("cargo", "cc")
    feature = ("--package", "tiny-dancer-ffi", "--features", "forced-panic", "--lib")
    run("cargo", "build", "--quiet", "--locked", *feature)
    return TARGET / "debug" / "libtiny_dancer_ffi.a"


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[str, str]:
    """An artifact that needs no encoder, and the same with its last bit flipped."""
    data = bytearray(WITHOUT_ENCODER.read_bytes())
    data[-1] ^= 1
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    return str(WITHOUT_ENCODER), str(path)


def hostile(archive: Path, folder: Path, *flags: str) -> Path:
    program = folder / "hostile"
    needs_also = ("-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc")
    include = f"-I{HEADER.parent}"
    source = str(CRATE / "c" / "hostile.c")
    run("cc", *STRICT, "-g", *flags, include, source, str(archive), "-o", str(program), *needs_also)
    return program


def test_everything_a_program_can_do_wrong_is_an_error(
    archive: Path, damaged: tuple[str, str], tmp_path: Path
) -> None:
    said = run(str(hostile(archive, tmp_path)), *damaged)
    assert int(said.split()[0]) > 2000


def test_and_harms_no_memory(archive: Path, damaged: tuple[str, str], tmp_path: Path) -> None:
    """The same with every access and every block of memory watched."""
    source = tmp_path / "empty.c"
    source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    tried = subprocess.run(["cc", *flags, str(source), "-o", str(tmp_path / "empty")], check=False)
    if tried.returncode != 0:
        missing("a C compiler with its address sanitizer")
    program = hostile(archive, tmp_path, *flags)
    run(str(program), *damaged, ASAN_OPTIONS="detect_leaks=1:exitcode=9")


def test_the_quicktour_of_c(tmp_path: Path) -> None:
    said = run(str(compiled("quicktour", tmp_path)), str(DATA), LD_LIBRARY_PATH=str(LIBRARY.parent))
    assert_toured(said)


def assert_toured(said: str) -> None:
    """What every quicktour prints."""
    model, reason, refused, first, second, agent = said.splitlines()
    assert model in ("model: weak", "model: strong")
    assert reason.startswith("reason: ")
    assert refused == "refused: max_cost: -1; give a finite number ≥ 0"
    assert (first.split()[1], second.split()[1]) == ("train", "bus")
    assert agent == "agent: coder"


# ------------------------------------------------------------------ the library


def test_the_header_is_what_the_sources_say() -> None:
    needs("cargo")
    example = ("--package", "tiny-dancer-ffi", "--example", "header")
    printed = run("cargo", "run", "--quiet", "--locked", *example)
    assert printed == HEADER.read_text(encoding="utf-8"), "make c-header"


def test_the_library_shows_what_the_header_declares_with_a_version_and_nothing_else() -> None:
    needs("nm", "objdump")
    path = str(library())
    declared = set(re.findall(r"\b(td_\w+)\(", HEADER.read_text(encoding="utf-8")))
    shown = {line.split()[-1] for line in run("nm", "-D", "--defined-only", path).splitlines()}
    assert shown == {"TINY_DANCER_0"} | {f"{name}@@TINY_DANCER_0" for name in declared}
    assert "libtiny_dancer.so.0" in run("objdump", "-p", path).split("SONAME")[1].splitlines()[0]


def test_a_thread_may_end_after_the_library_was_closed(tmp_path: Path) -> None:
    program = tmp_path / "unload"
    run("cc", *STRICT, str(CRATE / "c" / "unload.c"), "-o", str(program), "-ldl", "-lpthread")
    assert run(str(program), str(library())).strip() == "100", "TD_CODE_ARGUMENT_INVALID"


def test_numbers_alone_rank_as_json_does() -> None:
    """The typed path and JSON, over the same 40 embeddings: rows, scores and what is said of them."""

    class Text(ctypes.Structure):
        _fields_ = (("data", ctypes.c_char_p), ("length", ctypes.c_size_t), ("capacity", ctypes.c_size_t))

    class Ranked(ctypes.Structure):
        _fields_ = (
            ("row", ctypes.c_uint32),
            ("score", ctypes.c_float),
            ("confidence", ctypes.c_float),
            ("uncertainty", ctypes.c_float),
            ("use_lightweight", ctypes.c_bool),
            ("in_prediction_set", ctypes.c_bool),
        )

    c = ctypes.CDLL(str(library()))
    dimensions, rows = 16, 40
    draw = random.Random(0)
    numbers = [draw.gauss(0, 1) for _ in range(rows * dimensions)]
    embeddings, query = (
        (ctypes.c_float * len(numbers))(*numbers),
        (ctypes.c_float * dimensions)(*numbers[:dimensions]),
    )
    ids = [f"memory {row}" for row in range(rows)]
    names = (ctypes.c_char_p * rows)(*(name.encode() for name in ids))
    typed, by_json = ctypes.c_void_p(), ctypes.c_void_p()
    for candidates in (typed, by_json):
        assert (
            c.td_candidates_new(None, ctypes.c_size_t(0), None, None, ctypes.c_size_t(0), ctypes.byref(candidates))
            == 0
        )
    sizes = (ctypes.c_size_t(rows), ctypes.c_size_t(dimensions))
    assert c.td_candidates_add_vectors(typed, names, embeddings, *sizes) == 0
    given = json.dumps([{"id": name} for name in ids]).encode()
    all_numbers = ctypes.c_size_t(len(numbers))
    assert c.td_candidates_add(by_json, given, ctypes.c_size_t(len(given)), embeddings, all_numbers) == 0
    answer, asked = Text(), b'{"k": 7}'
    width = ctypes.c_size_t(dimensions)
    assert (
        c.td_candidates_rank(by_json, asked, ctypes.c_size_t(len(asked)), query, width, ctypes.byref(answer)) == 0
    )
    expected = json.loads(answer.data or b"")["decisions"]
    c.td_text_free(ctypes.byref(answer))
    found = (Ranked * 7)()
    for once in (False, True):
        if once:
            assert (
                c.td_candidates_rank_these(typed, query, embeddings, *sizes, None, found, ctypes.c_size_t(7), None)
                == 0
            )
        else:
            assert c.td_candidates_rank_vector(typed, query, width, None, found, ctypes.c_size_t(7), None) == 0
        for one, other in zip(found, expected, strict=True):
            assert ids[one.row] == other["candidate_id"]
            for name in ("score", "confidence", "uncertainty"):
                assert ctypes.c_float(other[name]).value == getattr(one, name), name
            assert one.use_lightweight == other["use_lightweight"]
            assert one.in_prediction_set == other["in_prediction_set"]
    for candidates in (typed, by_json):
        c.td_candidates_free(ctypes.byref(candidates))
        assert candidates.value is None


# ------------------------------------------------------------------ Go and Java


def go_run(source: Path, *words: str, **environment: str) -> str:
    """The command, which fetches nothing."""
    needs("go", "pkg-config")
    library()
    done = subprocess.run(
        ["go", *words],
        cwd=source,
        env=os.environ
        | {
            "PKG_CONFIG_PATH": str(LIBRARY.parent / "pkgconfig"),
            "GOFLAGS": "-mod=mod",
            "GOPROXY": "off",
            "GOCACHE": str(TARGET / "go"),
            "CGO_ENABLED": "1",
            "LD_LIBRARY_PATH": str(LIBRARY.parent),
        }
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def go_build(source: Path, folder: Path, *packages: str) -> Path:
    """Programs in Go, in a folder."""
    go_run(source, "build", "-o", f"{folder}/", *packages)
    return folder


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package's own programs."""
    return go_build(CRATE / "go", tmp_path_factory.mktemp("go"), "./cmd/...")


def test_every_vector_has_the_answer_of_the_engine_in_go(go: Path, tmp_path: Path) -> None:
    assert replayed([str(go / "replay")], tmp_path, LD_LIBRARY_PATH=str(LIBRARY.parent)) == count()


def test_the_quicktour_of_go(go: Path) -> None:
    assert_toured(run(str(go / "quicktour"), str(DATA), LD_LIBRARY_PATH=str(LIBRARY.parent)))


def test_what_a_program_in_go_does_wrong_is_an_error_and_closing_waits() -> None:
    go_run(CRATE / "go", "vet", "./...")
    go_run(CRATE / "go", "test", "-count=1", ".", TINY_DANCER_ARTIFACT=str(WITHOUT_ENCODER))


def test_go_answers_while_the_engine_fails(archive: Path, tmp_path: Path) -> None:
    """With a library that panics on demand: levels below the artifact, and a breaker that users see."""
    needs_also = "-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"
    described = f"Name: tiny_dancer\nDescription: with panics on demand\nVersion: 0\nCflags: -I{HEADER.parent}\n"
    (tmp_path / "tiny_dancer.pc").write_text(f"{described}Libs: {archive} {needs_also}\n", "utf-8")
    forced = ("-tags", "forced_panic")
    where = {"PKG_CONFIG_PATH": str(tmp_path), "TINY_DANCER_ARTIFACT": str(WITHOUT_ENCODER)}
    go_run(CRATE / "go", "vet", *forced, ".", **where)
    tested = go_run(CRATE / "go", "test", "-count=1", "-v", *forced, "-run", "Fail", ".", **where)
    assert tested.count("--- PASS") == 3, tested


def jdk() -> Path:
    """The folder of a JDK that has foreign functions."""
    found = [
        Path("/usr/lib/jvm").glob("*/bin/javac"),
        Path(os.environ.get("JAVA_HOME", "/nowhere")).glob("bin/javac"),
    ]
    for compiler in (path for paths in found for path in paths):
        version = re.search(r"\d+", run(str(compiler), "-version"))
        if version and int(version[0]) >= 22:
            return compiler.parent
    return missing("a JDK of 22 or newer, in JAVA_HOME or /usr/lib/jvm")


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What starts a class of the folder ``java``."""
    commands, folder = jdk(), tmp_path_factory.mktemp("java")
    sources = sorted(map(str, (CRATE / "java").glob("*.java")))
    run(str(commands / "javac"), "-Xlint:all", "-Werror", "-d", str(folder), *sources)
    native = ("--enable-native-access=ALL-UNNAMED", f"-Dtiny.dancer.library={library()}")
    return [str(commands / "java"), *native, "-cp", str(folder)]


def test_every_vector_has_the_answer_of_the_engine_in_java(java: list[str], tmp_path: Path) -> None:
    assert replayed_by([*java, "Replay"], tmp_path) == count()


def test_the_quicktour_of_java(java: list[str]) -> None:
    assert_toured(run(*java, "Quicktour", str(DATA)))


def test_what_a_program_in_java_does_wrong_is_an_error_and_closing_waits(java: list[str]) -> None:
    assert run(*java, "Misuse", str(WITHOUT_ENCODER)) == "sound\n"


def test_java_says_how_to_name_the_library(java: list[str]) -> None:
    nameless = [word for word in java if not word.startswith("-Dtiny.dancer.library")]
    done = subprocess.run([*nameless, "Misuse", str(WITHOUT_ENCODER)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "name the library: -Dtiny.dancer.library=" in done.stderr


# ------------------------------------------------------------------ the guide


@pytest.fixture
def beside_artifacts(tmp_path: Path) -> Path:
    """A folder to run the guide's programs in: they read the artifacts that ship by their names."""
    for name in ("default.safetensors", "encoder.safetensors"):
        (tmp_path / name).symlink_to(DATA / name)
    return tmp_path


def block(language: str) -> str:
    """The guide's program in a language."""
    guide = (ROOT / "docs" / "guides" / "embed.md").read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def said_in(folder: Path, *command: str) -> list[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"LD_LIBRARY_PATH": str(LIBRARY.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def assert_refused(lines: list[str]) -> None:
    """What the guide's programs in Go and Java print."""
    answer, refused = lines
    decision = json.loads(answer)
    assert (decision["model"], decision["removed"]) == ("weak", {"strong": "exclude"})
    assert refused.startswith("OptionInvalid pin: 'nobody'; ")


def test_the_guides_program_in_c(beside_artifacts: Path) -> None:
    needs("pkg-config")
    library()
    source = beside_artifacts / "gateway.c"
    source.write_text(block("c"), encoding="utf-8")
    configuration = str(LIBRARY.parent / "pkgconfig")
    flags = run("pkg-config", "--cflags", "--libs", "tiny_dancer", PKG_CONFIG_PATH=configuration)
    run("cc", *STRICT, str(source), "-o", str(beside_artifacts / "gateway"), *flags.split())
    answer, refused, status = said_in(beside_artifacts, "./gateway")
    assert json.loads(answer)["model"] == "weak"
    assert refused == "ArtifactChecksum"
    found = json.loads(status)
    assert found["breaker"]["state"] == "closed"
    assert found["answered"] == {"learned": 1, "heuristic": 0, "default": 0}
    assert found["reload_error"]["code"] == "ArtifactChecksum"


def test_the_guides_program_in_go(beside_artifacts: Path) -> None:
    needs("go")
    package = "github.com/tiny-dancer/tiny-dancer/crates/tiny-dancer-ffi/go"
    (beside_artifacts / "main.go").write_text(block("go"), encoding="utf-8")
    module = f"module gateway\n\ngo 1.24\n\nrequire {package} v0.0.0\n\nreplace {package} => {CRATE / 'go'}\n"
    (beside_artifacts / "go.mod").write_text(module, encoding="utf-8")
    go_build(beside_artifacts, beside_artifacts, ".")
    assert_refused(said_in(beside_artifacts, "./gateway"))


def test_the_guides_program_in_java(beside_artifacts: Path) -> None:
    commands = jdk()
    source = beside_artifacts / "Gateway.java"
    source.write_text(block("java"), encoding="utf-8")
    package = str(CRATE / "java" / "TinyDancer.java")
    run(str(commands / "javac"), "-Xlint:all", "-Werror", "-d", str(beside_artifacts), str(source), package)
    native = ("--enable-native-access=ALL-UNNAMED", f"-Dtiny.dancer.library={library()}")
    assert_refused(said_in(beside_artifacts, str(commands / "java"), *native, "-cp", ".", "Gateway"))
