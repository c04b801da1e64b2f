"""``dlpx-remote demo``: the main job on hosts that are made for it and removed again."""

from __future__ import annotations

from typing import Annotated

import typer

from dlpx_remote.cli.output import say
from dlpx_remote.cli.session import settings


def demo(
    context: typer.Context,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave hosts and state; says how to remove them.")
    ] = False,
    hosts: Annotated[
        int | None,
        typer.Option("--hosts", min=1, max=20, help="How many: three containers, else one on loopback."),
    ] = None,
    install_missing: Annotated[
        bool,
        typer.Option(
            "--install-missing",
            help="As root on Debian or Ubuntu: install openssh-server where it is needed.",
        ),
    ] = False,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Use this machine, even where a Docker engine answers.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="A database's whole life on this machine: link, sync, clone, and back."),
    ] = False,
) -> None:
    """Show discovery on throw-away hosts, or with --full a database and its clones.

    The hosts are containers where Docker answers, else an SSH server on loopback; they are removed again.
    Each command is printed before it runs, so that it can be typed again for hosts of one's own.

    \b
    Example:
      dlpx-remote demo
      dlpx-remote demo --hosts 1 --keep
      dlpx-remote demo --full
    """
    import sys

    from dlpx_remote.cli import main
    from dlpx_remote.demo.tour import Choices, Terminated, play

    before = ["--verbose"] if settings(context).verbose else []

    def say_now(text: str) -> None:
        say(text)
        sys.stdout.flush()

    try:
        code = play(
            Choices(keep, hosts, install_missing, loopback, full),
            lambda line: main([*before, *line]),
            say_now,
        )
    except Terminated as terminated:
        code = terminated.exit_code
    raise typer.Exit(code)
