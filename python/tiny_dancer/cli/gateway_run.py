"""`tiny-dancer gateway`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.output import say
from tiny_dancer.errors import ConfigError
from tiny_dancer.extras import require

HELP = """The OpenAI-compatible gateway: start it, check its configuration.

Without a command it starts, and runs until SIGTERM or Ctrl-C; what has arrived is finished first. SIGHUP, or a
change of the file, reloads the configuration; SIGUSR2 replaces the workers one after the other.

With --demo it needs no configuration, key or network: two stand-ins on this machine answer. It says what to try.

Example: tiny-dancer gateway --config gateway.yaml"""


def run(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path("gateway.yaml"),
    demo: Annotated[
        bool, typer.Option("--demo", help="Two stand-ins in place of models; no configuration.")
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Share the clients' port with a gateway that is ended when this one is ready."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from tiny_dancer.gateway.configuration.check import load_gateway
    from tiny_dancer.gateway.operate.run import serve

    if demo:
        _demo()
        return
    if not config.exists():
        raise ConfigError("config", f"there is no {config}", "write one: tiny-dancer gateway init")
    serve(load_gateway(config), folder=config.parent, path=config, take_over=take_over)


def _demo() -> None:
    from tiny_dancer.gateway.operate.run import LIBRARIES, serve

    require(*LIBRARIES)
    from tiny_dancer.gateway.operate.demo import (
        demo_config,
        free_port,
        instructions,
        operator_key,
        stand_ins,
    )

    with stand_ins() as (small, large):
        ports = (f"127.0.0.1:{free_port(port)}" for port in (8000, 8001))
        found = demo_config(small, large, listen=next(ports), health=next(ports))
        say(instructions(found, operator_key(found, Path.cwd())))
        sys.stdout.flush()
        serve(found, folder=Path.cwd())
