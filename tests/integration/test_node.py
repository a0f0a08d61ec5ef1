"""The packages for Node: packed, installed from their tarballs in empty projects, and tried as users do.

The native module and the WebAssembly module are built here. Without node, npm, cargo or the compiler's target the
tests skip, and say what is missing; what npm's registry gives (TypeScript, OpenAI's SDK) is fetched once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import msgspec
import pytest
from tests.commands import write
from tests.integration.doors import ROOT, TARGET, count, make, needs, replayed, run
from tests.integration.gateway.serving import Serving
from tests.integration.test_conformance_routes import artifact as routes_artifact
from tests.missing import missing
from tests.unit.training.candidates.conversations import conversations

from tiny_dancer.gateway.operate.demo import demo_config, stand_ins
from tiny_dancer.training.candidates.data import read_memories, read_questions
from tiny_dancer.training.candidates.fit import fit_candidates

CRATE = ROOT / "crates" / "tiny-dancer-node"
PACKAGES = TARGET / "npm"
GUIDE = ROOT / "docs" / "guides" / "node.md"
WASM_TARGET = "wasm32-unknown-unknown"
ENGINES = ("native", "wasm")


@pytest.fixture(scope="module")
def tarballs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages, built and packed: main package, encoders, and this platform's native module."""
    needs("node", "npm", "cargo", "rustc", "make")
    if not Path(run("rustc", "--print", "target-libdir", "--target", WASM_TARGET).strip()).is_dir():
        missing(f"the target: rustup target add {WASM_TARGET}")
    make("node")
    folder = tmp_path_factory.mktemp("packed")
    found = {}
    for package in PACKAGES.iterdir():
        packed = run("npm", "pack", "--silent", "--pack-destination", str(folder), str(package)).split()[-1]
        name = package.name if package.name in ("tiny-dancer", "tiny-dancer-encoder") else "native"
        found[name] = folder / packed
    assert sorted(found) == ["native", "tiny-dancer", "tiny-dancer-encoder"]
    return found


def installed(folder: Path, tarballs: dict[str, Path], *names: str, options: tuple[str, ...] = ()) -> Path:
    """An empty project in which the packages named are installed, without a network."""
    folder.mkdir()
    empty = {"name": "empty", "version": "1.0.0", "private": True}
    scripts = {"test": "node --expose-gc --test --test-reporter=tap"}
    (folder / "package.json").write_text(json.dumps({**empty, "scripts": scripts}), "utf-8")
    flags = ("--offline", "--no-audit", "--no-fund", "--silent", *options)
    in_folder(folder, "npm", "install", *flags, *(str(tarballs[name]) for name in names))
    return folder


def in_folder(folder: Path, *command: str, **environment: str) -> str:
    """What a command in a folder printed; it has to succeed."""
    clean = {name: value for name, value in os.environ.items() if name != "TINY_DANCER_BACKEND"}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600, env=clean | environment
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def projects(tarballs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One project with the native module, and one that was installed without optional dependencies."""
    folder = tmp_path_factory.mktemp("projects")
    both = ("tiny-dancer", "tiny-dancer-encoder")
    found = {
        "native": installed(folder / "native", tarballs, *both, "native"),
        "wasm": installed(folder / "wasm", tarballs, *both, options=("--no-optional",)),
    }
    for project in found.values():
        shutil.copytree(CRATE / "npm" / "test", project / "test")
    return found


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A trained scorer of candidates, and routes: where tests in Node find them."""
    folder = tmp_path_factory.mktemp("artifacts")
    memories, questions = conversations(("a", "b", "c"))
    read = read_memories(write(memories, folder / "memories.parquet"))
    asked = read_questions(write(questions, folder / "questions.parquet"), read)
    scorer, routes = folder / "scorer.safetensors", folder / "routes.safetensors"
    scorer.write_bytes(fit_candidates(read, asked).artifact)
    vectors = json.loads((ROOT / "conformance" / "vectors" / "routes.json").read_text(encoding="utf-8"))
    routes.write_bytes(routes_artifact(vectors["artifacts"]["toy"]))
    return {"TINY_DANCER_SCORER": str(scorer), "TINY_DANCER_ROUTES": str(routes)}


@pytest.fixture(scope="module")
def development() -> Path:
    """Where TypeScript and OpenAI's SDK are, installed once from npm's registry."""
    needs("node", "npm")
    folder = TARGET / "npm-development"
    lock = CRATE / "development" / "package-lock.json"
    kept = folder / "installed.json"
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(CRATE / "development", folder)
        command = ("npm", "ci", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode != 0:
            missing(f"npm's registry: {done.stderr[-300:]}")
        shutil.copyfile(lock, kept)
    return folder


@pytest.mark.parametrize("engine", ENGINES)
def test_every_vector_has_the_answer_of_the_engine(engine: str, tarballs: dict[str, Path], tmp_path: Path) -> None:
    assert tarballs
    assert replayed(["node", str(CRATE / "replay.mjs"), str(PACKAGES), engine], tmp_path) == count()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_installed_package_is_what_it_says(
    engine: str, projects: dict[str, Path], artifacts: dict[str, str]
) -> None:
    told = in_folder(projects[engine], "npm", "test", "--silent", TINY_DANCER_EXPECTED=engine, **artifacts)
    assert re.search(r"^# fail 0$", told, re.MULTILINE), told[-3000:]
    assert (passed := re.search(r"^# pass (\d+)$", told, re.MULTILINE)) and int(passed[1]) >= 25, told[-3000:]


def reason(project: Path, **environment: str) -> tuple[str, str]:
    """Which engine answers in a project, and why."""
    script = "const {backend, backendReason, Router} = require('tiny-dancer'); new Router().decide('hi');"
    told = in_folder(
        project, "node", "-e", f"{script} console.log(JSON.stringify([backend, backendReason]))", **environment
    )
    found = json.loads(told)
    return found[0], found[1]


def test_there_is_always_an_engine(projects: dict[str, Path], tmp_path: Path) -> None:
    name = next((projects["native"] / "node_modules").glob("tiny-dancer-*-*")).name
    assert reason(projects["native"]) == ("native", name)
    assert reason(projects["native"], TINY_DANCER_BACKEND="wasm") == ("wasm", "TINY_DANCER_BACKEND says so")
    assert reason(projects["wasm"]) == ("wasm", f"{name} is not installed")
    engine, why = reason(projects["native"], NODE_OPTIONS="--no-addons")
    assert engine == "wasm" and "addons is disabled" in why

    broken = shutil.copytree(projects["native"], tmp_path / "broken", symlinks=True)
    module = broken / "node_modules" / name
    native, described = module / "tiny-dancer.node", json.loads((module / "package.json").read_text("utf-8"))

    def says(**changes: object) -> str:
        (module / "package.json").write_text(json.dumps(described | changes), "utf-8")
        engine, why = reason(broken)
        assert engine == "wasm"
        return why

    # A version that was left from before, as lock files of several packages make it.
    assert "is of version 0.0.1" in says(version="0.0.1")
    whole = native.read_bytes()
    # Cut off: mapped, it would end the process.
    native.write_bytes(whole[: len(whole) // 2])
    assert "install it again" in says()
    # A block that was lost when the machine stopped: mapped, it would end the process as well.
    for start in (0, len(whole) // 2, len(whole) - 4096):
        native.write_bytes(whole[:start] + bytes(4096) + whole[start + 4096 :])
        assert "is damaged: install it again" in says()
    # Of another system, processor or C library: the loader refuses it.
    strange = b"\x7fELF" + bytes(len(whole) - 4)
    native.write_bytes(strange)
    assert "ELF" in says(crc32=zlib.crc32(strange))
    native.unlink()
    assert "is not installed" in says()
    shutil.rmtree(module)
    assert reason(broken) == ("wasm", f"{name} is not installed")
    # An artifact that names an encoder, without the package that has it.
    encoders = broken / "node_modules" / "tiny-dancer-encoder"
    artifact = shutil.move(encoders / "default.safetensors", broken / "default.safetensors")
    shutil.rmtree(encoders)
    script = (
        "try { new Router({ modelPath: process.argv[1] }) } catch ({ code, remedy }) { console.log(code, remedy) }"
    )
    told = in_folder(broken, "node", "-e", f"const {{ Router }} = require('tiny-dancer'); {script}", str(artifact))
    assert told.startswith("EncoderMissing npm install tiny-dancer-encoder")
    # Neither: an error that says both, and what to do.
    (broken / "node_modules" / "tiny-dancer" / "tiny-dancer.wasm").unlink()
    done = subprocess.run(
        ["node", "-e", "require('tiny-dancer')"],
        cwd=broken,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (
        "ModuleMissing" in done.stderr
        and "is not installed" in done.stderr
        and "install the package again" in done.stderr
    )


def test_the_package_outside_node(projects: dict[str, Path]) -> None:
    """By the conditions that bundlers and workers ask for, on the files a browser would have."""
    project = projects["wasm"]
    script = """
import { readFileSync } from 'node:fs'
import { Router, TinyDancerError, backend, init } from 'tiny-dancer'
const read = (name) => readFileSync(new URL(import.meta.resolve(name)))
let early
try { new Router() } catch (error) { early = [error.code, error instanceof TinyDancerError] }
await init(await WebAssembly.compile(read('tiny-dancer/tiny-dancer.wasm')))
const router = new Router({ artifact: read('tiny-dancer/edge.safetensors') })
let file
try { new Router({ modelPath: 'x' }) }
catch (error) { file = [error.code, error.remedy.includes('there are no files here')] }
console.log(JSON.stringify([backend, early, file, router.decide('hi').model]))
"""
    (project / "outside.mjs").write_text(script, "utf-8")
    expected = ["wasm", ["NotInitialised", True], ["OptionInvalid", True]]
    for condition in ("workerd", "browser"):
        told = json.loads(in_folder(project, "node", f"--conditions={condition}", "outside.mjs"))
        assert told[:3] == expected, condition
        assert told[3] in ("weak", "strong")
    required = "const t = require('tiny-dancer'); t.init().catch((error) => console.log(t.backend, error.code))"
    assert in_folder(project, "node", "--conditions=browser", "-e", required).split() == ["wasm", "ModuleMissing"]


def test_every_platform_that_has_a_module_is_looked_for(projects: dict[str, Path]) -> None:
    package = projects["native"] / "node_modules" / "tiny-dancer"
    named = re.findall(
        r"require\.resolve\('(tiny-dancer-\w+-[\w-]+)'\)", (package / "index.cjs").read_text("utf-8")
    )
    optional = json.loads((package / "package.json").read_text("utf-8"))["optionalDependencies"]
    assert sorted(named) == sorted(optional)


def test_a_development_server_that_moves_scripts_finds_the_module(projects: dict[str, Path]) -> None:
    """As Vite does before its version 8: what lies beside a script stays where it was."""
    project = projects["wasm"]
    moved = project / "node_modules" / ".vite" / "deps"
    shutil.copytree(project / "node_modules" / "tiny-dancer" / "lib", moved / "lib")
    shutil.copy(project / "node_modules" / "tiny-dancer" / "portable.js", moved / "tiny-dancer.mjs")
    (moved / "package.json").write_text('{"type": "module"}', "utf-8")
    script = """
import { readFileSync } from 'node:fs'
globalThis.fetch = async (url) => new Response(readFileSync(url))
const { init, CandidateRouter } = await import('./node_modules/.vite/deps/tiny-dancer.mjs')
await init()
console.log(new CandidateRouter().rank({ text: 'tea' }).decisions.length)
"""
    (project / "moved.mjs").write_text(script, "utf-8")
    assert in_folder(project, "node", "moved.mjs") == "0\n"


def test_the_types_are_those_of_the_source(development: Path) -> None:
    run("node", str(CRATE / "types.mjs"), str(development), "--check")


def blocks(language: str, path: Path = GUIDE) -> list[tuple[str, str | None]]:
    """Programs of a page, each with the output that is shown below it."""
    pattern = rf"^```{language}\n(.*?)^```\n(?:```text\n(.*?)^```\n)?"
    return re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_typescript_is_strict_about_the_guide(projects: dict[str, Path], development: Path) -> None:
    project = projects["native"]
    programs = [program for program, _ in blocks("ts")]
    assert programs
    strict = {
        "strict": True, "noEmit": True, "skipLibCheck": False, "target": "es2022", "lib": ["es2022", "dom"],
        "types": [], "exactOptionalPropertyTypes": True,
    }  # fmt: skip
    programs.append("import { Router } from 'tiny-dancer'\n// @ts-expect-error\nnew Router({ modelpath: 'x' })\n")
    compiler = str(development / "node_modules" / "typescript" / "bin" / "tsc")
    for module, resolution, endings in (("nodenext", "nodenext", ("mts", "cts")), ("esnext", "bundler", ("ts",))):
        names = []
        for ending in endings:
            for number, program in enumerate(programs):
                names.append(f"typed{number}.{ending}")
                (project / names[-1]).write_text(program, "utf-8")
        options = {**strict, "module": module, "moduleResolution": resolution}
        settings = {"compilerOptions": options, "files": names}
        (project / "tsconfig.json").write_text(json.dumps(settings), "utf-8")
        in_folder(project, "node", compiler, "--project", "tsconfig.json")


def test_the_guide_runs_as_it_says(projects: dict[str, Path], development: Path, tmp_path: Path) -> None:
    project = projects["native"]
    if not (project / "node_modules" / "openai").exists():
        (project / "node_modules" / "openai").symlink_to(development / "node_modules" / "openai")
    programs = blocks("js")
    assert len(programs) >= 7
    shown = 0
    with stand_ins(pause=0.0) as (small, large):
        settings = {**msgspec.to_builtins(demo_config(small, large)), "log": {"requests": "off"}}
        with Serving(settings, tmp_path) as gateway:
            where = {"GATEWAY_URL": gateway.url, "GATEWAY_KEY": "any", "NO_PROXY": "*"}
            for number, (program, output) in enumerate(programs):
                (project / f"guide{number}.mjs").write_text(program, "utf-8")
                told = in_folder(project, "node", f"guide{number}.mjs", **where)
                if "OpenAI" in program:
                    assert re.fullmatch(r"(demo-(small|large) \w+ true\n){2}", told), told
                elif output:
                    shown += 1
                    assert told == output, program
    assert shown >= 6
    for program, _ in blocks("js", CRATE / "README.md"):
        (project / "readme.mjs").write_text(program, "utf-8")
        assert in_folder(project, "node", "readme.mjs").split()[-2:] == ["train", "researcher"]
