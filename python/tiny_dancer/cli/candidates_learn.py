"""`tiny-dancer candidates learn`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Seed
from tiny_dancer.cli.db_database import Database
from tiny_dancer.cli.models_registry import registry as opened
from tiny_dancer.cli.output import check_target, say, write_file
from tiny_dancer.errors import OptionError
from tiny_dancer.extras import require

HELP = """Learn from which memories helped: routing history and feedback of a database.

A memory that did not help may not have been seen: what helped counts by how likely its position is looked at,
estimated from memories that were shown at several. The new scorer is written, or promoted in the registry, only
where later answers show that it ranks better than the one in force; if not, the reason is printed and nothing
changes.

Example: tiny-dancer candidates learn agent.db --registry registry"""


def learn(
    database: Database,
    registry: Annotated[
        Path | None,
        typer.Option(help="Folder of a registry: its serving version is in force; a better one is promoted."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in the registry.")] = "candidates",
    out: Annotated[Path | None, typer.Option(help="Where to write a better scorer; without --registry.")] = None,
    artifact: Annotated[
        Path | None, typer.Option(help="Scorer in force, with --out; else the combination that needs no training.")
    ] = None,
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
) -> None:
    require("sklearn", "scipy", "apsw")
    from tempfile import TemporaryDirectory

    from tiny_dancer.storage import open_storage
    from tiny_dancer.training.candidates.judge import load_scorer
    from tiny_dancer.training.candidates.learn import learn_from_use

    if (registry is None) == (out is None):
        raise OptionError("registry", "and --out: both or neither given", "give one of them")
    if registry is not None and artifact is not None:
        raise OptionError("artifact", artifact, "leave it out: with --registry its serving version is in force")
    if out is not None:
        check_target(out)
    versions = None if registry is None else opened(registry)
    in_force = None if artifact is None else load_scorer(artifact)
    if versions is not None and name in versions.names():
        serving = [each for each in versions.versions(name) if each.state == "serving"]
        in_force = versions.read(name, serving[0].version).data if serving else None
    with open_storage(database, create=False) as storage:
        found = learn_from_use(storage, in_force, seed=seed, created=created)
    for reason, count in found.left_out.items():
        if count:
            say(f"left out: {count:,} answers: {reason}")
    if found.propensity is not None:
        chances = ", ".join(f"{chance:.2f}" for chance in found.propensity.examined[:8])
        pairs = f"{found.propensity.pairs:,} memories shown at several"
        say(f"chance of being seen, by position: {chances} (from {pairs})")
    say(found.reason)
    if found.artifact is None:
        return
    if out is not None:
        write_file(out, found.artifact)
        say(f"{out}: {len(found.artifact):,} bytes, learned from {found.learned_from:,} answers")
    if versions is not None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "learned.safetensors"
            path.write_bytes(found.artifact)
            added = versions.add(name, path, bump="minor", notes={"learned": found.reason})
        versions.promote(name, added.version)
        say(f"{name} {added.version} serves now")
