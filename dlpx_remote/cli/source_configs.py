"""``dlpx-remote source-config``: what is known from earlier discoveries, and source configs added by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.discovery import discovered_rows
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, say, table
from dlpx_remote.cli.reading import text_of
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine import PluginDiscovery

commands = typer.Typer(
    help="Source configs: what discoveries have found, and what they cannot find.", no_args_is_help=True
)

_EXAMPLE = (
    """Write a JSON object, for example '{"name": "orders", "port": 5432}', or @FILE, or - for stdin."""
)


@commands.command("list")
def list_all(
    context: typer.Context,
    environments: Annotated[
        list[str] | None, typer.Argument(metavar="ENV", help="Environments; all unless given.")
    ] = None,
    plugin: Annotated[
        str | None, typer.Option("--plugin", "-p", metavar="P", help="Only this plugin's.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List repositories and source configs that are known, without asking the hosts.

    \b
    Example:
      dlpx-remote source-config list
      dlpx-remote source-config list db1 --plugin PostgreSQL --output json
    """
    with open_engine(context) as engine:
        names = environments or [environment.name for environment in engine.environments()]
        found: list[PluginDiscovery] = [part for name in names for part in engine.discovered(name, plugin)]
    if output is Output.JSON:
        as_json(found)
        return
    rows = list(discovered_rows(found))
    if rows:
        table(("environment", "plugin", "repository", "source config", "state"), rows)
    else:
        say("Nothing is known yet. Find out: dlpx-remote discover")


@commands.command("add")
def add(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="ENV", help="Name or reference.")],
    *,
    plugin: Annotated[str, typer.Option("--plugin", "-p", metavar="P", help="Name or id of the plugin.")],
    repository: Annotated[
        str, typer.Option("--repository", metavar="R", help="Name or reference of a discovered repository.")
    ],
    parameters: Annotated[
        str,
        typer.Option(
            "--parameters", metavar="JSON", help="The source config; @FILE or - reads it from there."
        ),
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Add a source config by hand, where the plugin allows it.

    \b
    Example:
      dlpx-remote source-config add db1 --plugin Files --repository "Directory trees" \\
          --parameters '{"path": "/srv/orders", "name": "orders", "foundBy": "pattern"}'
    """
    values = _read_parameters(parameters)
    with open_engine(context) as engine:
        added = engine.add_source_config(environment, plugin, repository, values)
    if output is Output.JSON:
        as_json(added)
    else:
        say(f"Added source config {added.name} ({added.reference}).")


def _read_parameters(text: str) -> dict[str, Any]:
    """The JSON object in ``text``, in the file it names, or on stdin.

    Raises:
        InvalidRequest: no such file, no JSON, or no object.
    """
    if text == "-":
        text = sys.stdin.read()
    elif text.startswith("@"):
        text = text_of(Path(text[1:]), f"--parameters: {text[1:]}", _EXAMPLE)
    try:
        values = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"--parameters is not JSON: {error}", _EXAMPLE) from None
    if not isinstance(values, dict):
        raise InvalidRequest("--parameters is JSON, but no object.", _EXAMPLE)
    return values
