"""A server that has the extension: a private copy of PostgreSQL's installation with what `make pg` built in it.

PostgreSQL finds its libraries and scripts relative to its program, so that a copied tree needs no rights to the
system's folders, and nothing of the system's changes.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.integration.doors import ROOT, make, needs
from tests.missing import missing
from tests.postgres import Server

BUILT = ROOT / "target" / "pg"
VERSION = "15"
"""The version of PostgreSQL that the extension is built for."""


def _pg_config() -> str:
    """The pg_config of that version; skips without, and without the headers of the server."""
    beside = Path(f"/usr/lib/postgresql/{VERSION}/bin/pg_config")
    found = str(beside) if beside.exists() else shutil.which("pg_config")
    if found is None or _ask(found, "--version").split()[1].split(".")[0] != VERSION:
        missing(
            f"PostgreSQL {VERSION} and its headers (Debian: postgresql-{VERSION} postgresql-server-dev-{VERSION})"
        )
    if not (Path(_ask(found, "--includedir-server")) / "postgres.h").exists():
        missing(f"the headers of PostgreSQL {VERSION} (Debian: postgresql-server-dev-{VERSION})")
    if not (Path(_ask(found, "--bindir")) / "initdb").exists():
        missing(f"PostgreSQL {VERSION}'s server (Debian: postgresql-{VERSION})")
    return found


def _ask(pg_config: str, what: str) -> str:
    done = subprocess.run([pg_config, what], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@cache
def built() -> Path:
    """The folder of what `make pg` has built; builds it, which is nothing to do where it is there."""
    needs("cargo", "make", "strip")
    if shutil.which("clang") is None and not list(Path("/usr/lib").glob("llvm-*/lib/libclang*.so*")):
        missing("libclang (Debian: libclang-dev clang)")
    _pg_config()
    make("pg")
    return BUILT


@cache
def installation() -> Path:
    """The folder of the programs of a copy of PostgreSQL with the extension; gone at exit."""
    files = built()
    pg_config = _pg_config()
    root = Path(tempfile.mkdtemp(prefix="tdpg-tree"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    root.chmod(0o755)  # the server is another user's
    programs, libraries, share = (
        Path(_ask(pg_config, f"--{name}")) for name in ("bindir", "pkglibdir", "sharedir")
    )

    def copy(folder: Path, but: str = "") -> Path:
        """The folder in the copy, of links into the system's, but for one name."""
        made = root / folder.relative_to("/")
        made.mkdir(parents=True, exist_ok=True)
        for each in folder.iterdir():
            if each.name != but and not (made / each.name).exists():
                (made / each.name).symlink_to(each)
        return made

    copied = copy(programs)
    for name in ("postgres", "initdb"):  # which look from where they themselves are, behind links
        (copied / name).unlink()
        shutil.copy2(programs / name, copied / name)
    shutil.copy2(files / "lib" / "tiny_dancer.so", copy(libraries, "tiny_dancer.so"))
    copy(share, "extension")
    shutil.copytree(files / "share" / "extension", copy(share / "extension"), dirs_exist_ok=True)
    return copied


@cache
def extended() -> Server:
    """The server of this process that has the extension; skips the test where it cannot be built or run."""
    server = Server(installation())
    atexit.register(server.remove)
    return server


def database(options: str = "") -> str:
    """A new database with the extension, and where it is."""
    url = extended().database(options=options)
    extended().sql("CREATE EXTENSION tiny_dancer", database=name(url))
    return url


def name(url: str) -> str:
    """The name of the database of a URL."""
    return url.removeprefix("postgresql:///").split("?")[0]
