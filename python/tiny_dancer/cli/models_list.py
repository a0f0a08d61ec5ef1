"""`tiny-dancer models list`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.models_registry import Folder, registry, show
from tiny_dancer.cli.output import plain, print_json, say, warn
from tiny_dancer.errors import TinyDancerError

HELP = """List the versions in a registry, which one serves, and which one a rollback would go to.

What is damaged is named, and the rest listed; the exit code is 1 then.

Example: tiny-dancer models list registry --json"""


def list_versions(
    folder: Folder,
    name: Annotated[str | None, typer.Argument(help="Only the versions of this name.")] = None,
    json: Json = False,
) -> None:
    models = registry(folder)
    names = models.names() if name is None else (name,)
    versions, good, content = {}, {}, {}
    damage: list[str] = []
    for each in names:
        try:
            versions[each], good[each] = models.versions(each), models.last_known_good(each)
            content[each] = {
                "versions": plain(list(versions[each])),
                "last_known_good": None if (found := good[each]) is None else found.version,
                "history": plain(list(models.history(each))),
            }
            damage += (f"{each}: {problem}" for problem in models.damage(each))
        except TinyDancerError as error:
            if name is not None:
                raise
            damage.append(f"{each}: {error}")
    if json:
        print_json(content)
    elif versions:
        show(versions, good)
    elif not damage:
        say(f"{folder}: no versions yet; see tiny-dancer models add")
    for problem in damage:
        warn(f"damaged: {problem}")
    if damage:
        raise typer.Exit(1)
