"""``dlpx-remote discover``: what plugins find on hosts, as a table or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.asking import DetachOption
from dlpx_remote.cli.bundles import unfolded
from dlpx_remote.cli.exits import Exit, said
from dlpx_remote.cli.following import run_job
from dlpx_remote.cli.logins import HostLogin
from dlpx_remote.cli.options import DirectoryOption, OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, count, say, table, to_plain, warn
from dlpx_remote.cli.progress import DiscoveryProgress
from dlpx_remote.cli.session import ask_secret, open_engine, settings
from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    from dlpx_remote.engine import Change, DiscoveryReport, PluginDiscovery


_WORTH_SAYING: tuple[Change, ...] = ("new", "changed", "gone", "returned")


@unfolded
def discover(
    context: typer.Context,
    environments: Annotated[
        list[str] | None, typer.Argument(metavar="ENV", help="Environments; all unless given.")
    ] = None,
    *,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            "-p",
            metavar="P",
            help="Plugin; all that were added unless given. With --host, its directory.",
        ),
    ] = None,
    parallel: Annotated[
        int, typer.Option("--parallel", min=1, help="Environments to work on at the same time.")
    ] = 32,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="USER@HOST:PORT",
            help="A quick look at this host; nothing is stored. Repeatable.",
        ),
    ] = None,
    login: HostLogin,
    directory: DirectoryOption = None,
    detach: DetachOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find what is installed on environments. Exit code 1 when a part of it failed.

    It is a job: job list has it, and job cancel ends it. With --host, plugins are given as directories and
    nothing is stored, no job either; the options on how to log in belong to this form.

    \b
    Example:
      dlpx-remote discover
      dlpx-remote discover --plugin PostgreSQL db1 db2
      dlpx-remote discover --plugin ./my-plugin --host oracle@db1:2222 --host-key accept-new
    """
    if detach:
        if host:
            raise InvalidRequest("--host keeps nothing that a worker could be left.", "Leave out --detach.")
        _refuse_login_options([*login.given(), *(["--directory"] if directory else [])])
        run_job(
            context,
            lambda engine: engine.leave_discovery(environments or (), plugin or (), parallel=parallel),
            detach=True,
            output=output,
        )
        return
    if host:
        _refuse_environments(environments)
        specs = [login.specification(None, address, directory=directory) for address in host]
        if not plugin:
            raise InvalidRequest("--host needs a plugin to look with.", "Add --plugin DIRECTORY.")
        from dlpx_remote.engine import discover_once

        with DiscoveryProgress() as progress:
            report = discover_once(
                [Path(place) for place in plugin],
                specs,
                prompt=ask_secret,
                on_warning=warn,
                parallel=parallel,
                on_event=progress,
                trace=settings(context).figures,
            )
    else:
        _refuse_login_options([*login.given(), *(["--directory"] if directory else [])])
        with open_engine(context) as engine, DiscoveryProgress() as progress:
            report = engine.discover(environments or (), plugin or (), parallel=parallel, on_event=progress)
            engine.jobs.finish()  # what it may have taken over while it waited
    if output is Output.JSON:
        as_json(as_document(report))
    else:
        print_report(report)
    if report.failed:
        raise typer.Exit(Exit.PART_FAILED)


def _refuse_environments(environments: Sequence[str] | None) -> None:
    if environments:
        raise InvalidRequest(
            f"--host is for hosts that were not added; {environments[0]!r} is an environment.",
            "Leave out either of the two.",
        )


def _refuse_login_options(given: Sequence[str]) -> None:
    if given:
        raise InvalidRequest(
            f"{given[0]} belongs to --host; an environment keeps how to log in itself.",
            "Leave it out, or name the host with --host USER@HOST.",
        )


def as_document(report: DiscoveryReport) -> dict[str, Any]:
    """The report as ``--output json`` prints it: its fields, and whether a part failed."""
    document: dict[str, Any] = to_plain(report)
    return {"failed": report.failed, **document}


def print_report(report: DiscoveryReport) -> None:
    """Table, what was skipped and summary on stdout, then what failed on stderr."""
    rows = list(discovered_rows(report.results))
    if rows:
        table(("environment", "plugin", "repository", "source config", "change"), rows)
        say()
    for result in report.results:
        if result.skipped:
            say(f"Skipped: {result.plugin} on {result.environment}: {result.skipped}.")
    say(_summary(report))
    for result in report.results:
        if result.failure:
            failure = result.failure
            complain("")
            complain(
                said(
                    f"Failed: {result.plugin} on {result.environment}"
                    if result.plugin
                    else result.environment,
                    failure.message,
                    failure.action,
                    failure.output,
                )
            )


def discovered_rows(results: Iterable[PluginDiscovery]) -> Iterator[tuple[str, str, str, str, str]]:
    """One row a repository and one below it for each of its source configs; repeated cells are left blank."""
    previous = ("", "")
    for result in results:
        place = (result.environment, result.plugin)
        for repository in result.repositories:
            shown = ("", "") if place == previous else place
            previous = place
            yield (*shown, repository.name, "", repository.change)
            for source_config in repository.source_configs:
                yield "", "", "", source_config.name, source_config.change


def _summary(report: DiscoveryReport) -> str:
    worked = [result for result in report.results if not result.failure and not result.skipped]
    failed = sum(result.failure is not None for result in report.results)
    skipped = sum(bool(result.skipped) for result in report.results)
    repositories = [repository for result in worked for repository in result.repositories]
    source_configs = [config for repository in repositories for config in repository.source_configs]
    changes = Counter(found.change for found in (*repositories, *source_configs))
    changed = ", ".join(f"{changes[change]} {change}" for change in _WORTH_SAYING if changes[change])
    return (
        f"{count(len({result.environment for result in report.results}), 'environment')}, "
        f"{count(len({result.plugin for result in report.results}), 'plugin')}: "
        f"{count(len(repositories), 'repository')}, {count(len(source_configs), 'source config')}"
        + (f" ({changed})" if changed else "")
        + f" in {report.duration:.1f} s."
        + (f" {count(skipped, 'part')} skipped." if skipped else "")
        + (f" {count(failed, 'part')} failed." if failed else "")
    )
