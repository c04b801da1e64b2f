"""``dlpx-remote plugin``: check plugins, add them, and see what they implement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlpx_remote.cli.exits import Exit
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, count, say, table
from dlpx_remote.cli.session import open_engine

if TYPE_CHECKING:
    from dlpx_remote.engine import PluginCheck, PluginDetails, Problem

commands = typer.Typer(help="Plugins: check them, add them, see what they implement.", no_args_is_help=True)

PluginDirectory = Annotated[
    Path, typer.Argument(metavar="PATH", help="The directory that holds plugin_config.yml.")
]
PluginPath = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="The directory that holds plugin_config.yml, or a packaged plugin."),
]


@commands.command("init")
def init(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The directory to make.")],
    name: Annotated[
        str | None, typer.Option("--name", help="As people see it; the directory's name unless given.")
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", help="Data comes by way of a staging host, not by a copy.")
    ] = False,
    windows: Annotated[bool, typer.Option("--windows", help="For Windows hosts.")] = False,
) -> None:
    """Write a new plugin that passes its check, runs at once and has tests of its own.

    \b
    Example:
      dlpx-remote plugin init ./my-plugin
      dlpx-remote plugin init ./my-database --staged --name 'My database'
    """
    from dlpx_remote.authoring import NewPlugin, write_new_plugin

    del context
    new = NewPlugin(
        name if name is not None else path.resolve().name.replace("-", " "),
        "STAGED" if staged else "DIRECT",
        "WINDOWS" if windows else "UNIX",
    )
    for file in write_new_plugin(new, path):
        say(f"Wrote {file}")
    say(f"Try it: dlpx-remote plugin run {path} discovery.repository")
    say(f"Test it: (cd {path} && pytest)")


@commands.command("check")
def check(context: typer.Context, path: PluginPath, output: OutputOption = Output.TABLE) -> None:
    """Report everything wrong with a plugin at once. Exit code 1 when there is an error.

    \b
    Example:
      dlpx-remote plugin check ./my-plugin
      dlpx-remote plugin check ./my-plugin --output json
    """
    from dlpx_remote.engine import check_plugin

    del context
    found = check_plugin(path)
    if output is Output.JSON:
        as_json({"valid": found.valid, "problems": found.problems, "plugin": found.details})
    else:
        _print_check(path, found)
    if not found.valid:
        raise typer.Exit(Exit.PART_FAILED)


@commands.command("add")
def add(context: typer.Context, path: PluginPath, output: OutputOption = Output.TABLE) -> None:
    """Check a plugin and keep a copy of it; a higher build replaces a lower one.

    \b
    Example:
      dlpx-remote plugin add ./my-plugin
      dlpx-remote plugin add my-plugin-1.0.2.dlpx.zip
    """
    from dlpx_remote.engine import PluginInvalid

    with open_engine(context) as engine:
        try:
            details = engine.add_plugin(path)
        except PluginInvalid as invalid:
            _refuse("Not added", path, invalid.problems, output)
            raise typer.Exit(Exit.PART_FAILED) from None
    if output is Output.JSON:
        as_json(details)
        return
    summary = details.summary
    done = {"new": "Added", "upgraded": "Upgraded", "unchanged": "Already there:"}.get(
        details.changed, "Added"
    )
    say(f"{done} plugin {summary.name}, build {summary.build_number} ({summary.identifier}).")
    if details.migrated:
        say(f"Brought {count(details.migrated, 'stored object')} to this build.")
    if details.warnings:
        say(f"It has {_tally(details.warnings)}: dlpx-remote plugin show {summary.name}")


@commands.command("build")
def build(
    context: typer.Context,
    path: PluginDirectory,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="What to write, or the directory for it; the current one unless given.",
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a plugin and make one file of it, which `plugin add` takes. The same files give the same bytes.

    \b
    Example:
      dlpx-remote plugin build ./my-plugin
      dlpx-remote plugin build ./my-plugin --file dist/
    """
    from dlpx_remote.authoring import build_plugin
    from dlpx_remote.engine import PluginInvalid

    del context
    try:
        package = build_plugin(path, file)
    except PluginInvalid as invalid:
        _refuse("Not built", path, invalid.problems, output)
        raise typer.Exit(Exit.PART_FAILED) from None
    if output is Output.JSON:
        as_json(package)
    else:
        say(f"Built {package.file}: {count(len(package.files), 'file')}, {package.size} bytes.")


@commands.command("stubs")
def stubs(context: typer.Context, path: PluginDirectory, output: OutputOption = Output.TABLE) -> None:
    """Write type stubs for the plugin's own definitions beside its code, for editors and type checkers.

    \b
    Example:
      dlpx-remote plugin stubs ./my-plugin
      MYPYPATH=my-plugin/src mypy my-plugin/src
    """
    from dlpx_remote.authoring import write_plugin_stubs
    from dlpx_remote.engine import PluginInvalid

    del context
    try:
        written = write_plugin_stubs(path)
    except PluginInvalid as invalid:
        _refuse("No stubs written", path, invalid.problems, output)
        raise typer.Exit(Exit.PART_FAILED) from None
    if output is Output.JSON:
        as_json({"files": written})
    else:
        here = Path.cwd()
        for one in written:
            say(f"Wrote {one.relative_to(here) if one.is_relative_to(here) else one}")


@commands.command("list")
def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the plugins that were added.

    \b
    Example:
      dlpx-remote plugin list
    """
    with open_engine(context) as engine:
        found = engine.plugins()
    if output is Output.JSON:
        as_json(found)
    elif not found:
        say("No plugin yet. Add one: dlpx-remote plugin add PATH")
    else:
        table(
            ("plugin", "type", "hosts", "build", "version", "added (UTC)", "id"),
            (
                (
                    plugin.name,
                    plugin.plugin_type,
                    ", ".join(plugin.host_types),
                    plugin.build_number,
                    plugin.external_version,
                    plugin.added,
                    plugin.identifier,
                )
                for plugin in found
            ),
        )


@commands.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PLUGIN", help="Name or id.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one plugin and which operations it implements.

    \b
    Example:
      dlpx-remote plugin show PostgreSQL
    """
    with open_engine(context) as engine:
        details = engine.plugin(name)
    if output is Output.JSON:
        as_json(details)
        return
    _print_plugin(details)
    _print_problems(details.warnings)


def _print_plugin(details: PluginDetails) -> None:
    summary = details.summary
    for title, value in (
        ("plugin", summary.name),
        ("id", summary.identifier),
        ("type", summary.plugin_type),
        ("hosts", ", ".join(summary.host_types)),
        ("build", summary.build_number),
        ("version", summary.external_version),
        ("manual discovery", "yes" if summary.manual_discovery else "no"),
        ("files", str(summary.directory)),
    ):
        if value:
            say(f"{title + ':':<18} {value}")
    say()
    table(
        ("operation", "implemented", "without it"),
        (
            (
                entry.name + (f" {entry.migration_id}" if entry.migration_id else ""),
                _where(entry.file, entry.line) if entry.implemented else "no",
                "" if entry.implemented else entry.when_missing,
            )
            for entry in details.operations
        ),
    )


def _refuse(what: str, path: Path, problems: Sequence[Problem], output: Output) -> None:
    if output is Output.JSON:
        as_json({"valid": False, "problems": problems})
    else:
        _print_problems(problems)
    complain(f"{what}: {path} has {_tally(problems)}.")


def _print_check(path: Path, found: PluginCheck) -> None:
    _print_problems(found.problems)
    if not found.valid:
        say(f"{path} has {_tally(found.problems)}.")
        return
    plugin = f"Plugin {found.details.summary.name}" if found.details else str(path)
    implemented = sum(entry.implemented for entry in found.details.operations) if found.details else 0
    more = f" and {_tally(found.problems)}" if found.problems else ""
    say(f"{plugin} can be added: {count(implemented, 'operation')}{more}.")


def _print_problems(problems: Sequence[Problem]) -> None:
    """Each with its place in the file first, so that an editor can jump there."""
    for problem in problems:
        place = _where(problem.file, problem.line)
        inside = f" {problem.place}:" if problem.place else ""
        say(f"{place}: {problem.severity}:{inside} {problem.message}")
        if problem.hint:
            say(f"    {problem.hint}")


def _tally(problems: Sequence[Problem]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    parts = [count(errors, "error")] if errors else []
    parts += [count(warnings, "warning")] if warnings else []
    return " and ".join(parts) or "no problem"


def _where(file: str, line: int | None) -> str:
    return file if line is None else f"{file}:{line}"
