"""`tiny-dancer models list`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.models_registry import Folder, registry, show
from tiny_dancer.cli.output import plain, print_json, say

HELP = """List the versions in a registry, which one serves, and which one a rollback would go to.

Example: tiny-dancer models list registry --json"""


def list_versions(
    folder: Folder,
    name: Annotated[str | None, typer.Argument(help="Only the versions of this name.")] = None,
    json: Json = False,
) -> None:
    models = registry(folder)
    names = models.names() if name is None else (name,)
    versions = {each: models.versions(each) for each in names}
    good = {each: models.last_known_good(each) for each in names}
    if json:
        content = {
            each: {
                "versions": plain(list(versions[each])),
                "last_known_good": None if (found := good[each]) is None else found.version,
                "history": plain(list(models.history(each))),
            }
            for each in names
        }
        print_json(content)
    elif names:
        show(versions, good)
    else:
        say(f"{folder}: no versions yet; see tiny-dancer models add")
