"""``dlpx-remote vdb``: provisioning VDBs, and what else is done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from dlpx_remote.cli.asking import (
    DetachOption,
    ForceOption,
    HookedJobOptions,
    HookOption,
    HooksFileOption,
    LoginHookOption,
    NoWaitOption,
    ParamOption,
    ParamsFileOption,
    asked,
    carry_out,
    given,
    hooks,
    hooks_of_file,
)
from dlpx_remote.cli.bundles import unfolded
from dlpx_remote.cli.exits import Exit
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, say
from dlpx_remote.cli.session import open_engine
from dlpx_remote.cli.source_output import print_size, print_source, print_sources

commands = typer.Typer(help="VDBs: thin clones of snapshots, and their whole life.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or reference of the VDB.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="For the new VDB.")]
EnvironmentOption = Annotated[
    str, typer.Option("--environment", "-e", metavar="ENV", help="Where it is to be.")
]
UserOption = Annotated[
    str | None, typer.Option("--user", metavar="USER", help="Of ENV; its primary user unless given.")
]
RepositoryOption = Annotated[
    str | None, typer.Option("--repository", metavar="R", help="On ENV; the only one unless given.")
]


@commands.command("provision")
def provision(
    context: typer.Context,
    name: NewName,
    *,
    snapshot: Annotated[
        str,
        typer.Option(
            "--from", metavar="S", help="A snapshot, or a dSource or VDB by name for its newest one."
        ),
    ],
    environment: EnvironmentOption,
    user: UserOption = None,
    repository: RepositoryOption = None,
    param: ParamOption = None,
    params_file: ParamsFileOption = None,
    hook: HookOption = None,
    login_hook: LoginHookOption = None,
    hooks_file: HooksFileOption = None,
    detach: DetachOption = False,
    no_wait: NoWaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a VDB of a snapshot. One that fails leaves nothing. Hooks are kept with the VDB.

    \b
    Example:
      dlpx-remote vdb provision masked --from orders -e db2 --param port=5433
      dlpx-remote vdb provision masked --from SNAPSHOT-3 -e db2 --hook configure-clone=./mask.sh
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.provision(
            name,
            snapshot,
            environment,
            user=user,
            repository=repository,
            parameters=given(param, params_file),
            hooks=[*hooks(hook, login_hook), *hooks_of_file(hooks_file)],
            asked=asked(detach, no_wait),
        ),
        lambda result: f"Provisioned {name} ({result['vdb']}).",
        detach=detach,
        output=output,
    )


@commands.command("create-empty")
def create_empty(
    context: typer.Context,
    name: NewName,
    *,
    plugin: Annotated[str, typer.Option("--plugin", "-p", metavar="P", help="Name or id of the plugin.")],
    environment: EnvironmentOption,
    user: UserOption = None,
    repository: RepositoryOption = None,
    param: ParamOption = None,
    params_file: ParamsFileOption = None,
    hook: HookOption = None,
    login_hook: LoginHookOption = None,
    hooks_file: HooksFileOption = None,
    detach: DetachOption = False,
    no_wait: NoWaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a VDB without data, where the plugin can initialize one. Hooks are kept with the VDB.

    \b
    Example:
      dlpx-remote vdb create-empty scratch --plugin PostgreSQL -e db2 --param port=5434
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.create_empty(
            name,
            plugin,
            environment,
            user=user,
            repository=repository,
            parameters=given(param, params_file),
            hooks=[*hooks(hook, login_hook), *hooks_of_file(hooks_file)],
            asked=asked(detach, no_wait),
        ),
        lambda result: f"Created {name} ({result['vdb']}).",
        detach=detach,
        output=output,
    )


@commands.command("snapshot")
@unfolded
def snapshot(
    context: typer.Context,
    name: NameArgument,
    *,
    job: HookedJobOptions,
) -> None:
    """Keep the present state of a VDB.

    \b
    Example:
      dlpx-remote vdb snapshot masked
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.snapshot(name, **job.how()),
        lambda result: f"Took {result['snapshot']} of {name}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("refresh")
@unfolded
def refresh(
    context: typer.Context,
    name: NameArgument,
    *,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="S",
            help="A snapshot, or a dSource or VDB by name; the newest of what it was made from unless given.",
        ),
    ] = None,
    job: HookedJobOptions,
) -> None:
    """Put the state of another snapshot in a VDB's place. One that fails leaves the old state running.

    \b
    Example:
      dlpx-remote vdb refresh masked
      dlpx-remote vdb refresh masked --from SNAPSHOT-7
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.refresh(name, origin, **job.how()),
        lambda result: f"Refreshed {name} from {result['snapshot']}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("rollback")
@unfolded
def rollback(
    context: typer.Context,
    name: NameArgument,
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="S", help="A snapshot of the VDB; its newest unless given."),
    ] = None,
    job: HookedJobOptions,
) -> None:
    """Put an earlier state of its own in a VDB's place. One that fails leaves the old state running.

    \b
    Example:
      dlpx-remote vdb rollback masked --to SNAPSHOT-5
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.rollback(name, to, **job.how()),
        lambda result: f"Rolled {name} back to {result['snapshot']}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("undo")
@unfolded
def undo(
    context: typer.Context,
    name: NameArgument,
    *,
    job: HookedJobOptions,
) -> None:
    """Undo the last refresh or rollback of a VDB; once more undoes that.

    \b
    Example:
      dlpx-remote vdb undo masked
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.undo(name, **job.how()),
        lambda _result: f"{name} is as it was before.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("start")
@unfolded
def start(
    context: typer.Context,
    name: NameArgument,
    *,
    job: HookedJobOptions,
) -> None:
    """Start a VDB; it is mounted where it is not, for example after a reboot.

    \b
    Example:
      dlpx-remote vdb start masked
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.start(name, **job.how()),
        lambda _result: f"Started {name}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("stop")
@unfolded
def stop(
    context: typer.Context,
    name: NameArgument,
    *,
    job: HookedJobOptions,
) -> None:
    """Stop a VDB; it stays mounted.

    \b
    Example:
      dlpx-remote vdb stop masked
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.stop(name, **job.how()),
        lambda _result: f"Stopped {name}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("enable")
@unfolded
def enable(
    context: typer.Context,
    name: NameArgument,
    *,
    job: HookedJobOptions,
) -> None:
    """Mount a disabled VDB and have it usable again.

    \b
    Example:
      dlpx-remote vdb enable masked
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.enable(name, **job.how()),
        lambda _result: f"Enabled {name}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("disable")
@unfolded
def disable(
    context: typer.Context,
    name: NameArgument,
    *,
    force: ForceOption = False,
    job: HookedJobOptions,
) -> None:
    """Quiesce a VDB and take it off its host; its data stay.

    \b
    Example:
      dlpx-remote vdb disable masked
    """
    carry_out(
        context,
        lambda engine: engine.vdbs.disable(name, force=force, **job.how()),
        lambda _result: f"Disabled {name}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("delete")
@unfolded
def delete(
    context: typer.Context,
    name: NameArgument,
    *,
    force: ForceOption = False,
    job: HookedJobOptions,
) -> None:
    """Delete a VDB with its data and snapshots. One that other VDBs were made from is refused.

    \b
    Example:
      dlpx-remote vdb delete masked
    """
    if force:
        with open_engine(context) as engine:
            _say_what_goes(engine.vdbs.dependants(name))
    carry_out(
        context,
        lambda engine: engine.vdbs.delete(name, force=force, **job.how()),
        lambda result: f"Deleted {', '.join(result['deleted'])}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("list")
def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List all VDBs.

    \b
    Example:
      dlpx-remote vdb list
    """
    with open_engine(context) as engine:
        found = engine.vdbs.all()
    if output is Output.JSON:
        as_json(found)
    else:
        print_sources(found, "No VDB yet. Make one: dlpx-remote vdb provision NAME --from SNAPSHOT -e ENV")


@commands.command("show")
def show(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one VDB.

    \b
    Example:
      dlpx-remote vdb show masked
    """
    with open_engine(context) as engine:
        found = engine.vdbs.get(name)
    if output is Output.JSON:
        as_json(found)
    else:
        print_source(found)


@commands.command("status")
def status(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Ask the plugin whether a VDB is in working order. Exit code 1 when it is not.

    \b
    Example:
      dlpx-remote vdb status masked
    """
    with open_engine(context) as engine:
        found = engine.vdbs.status(name, on_line=complain)
    if output is Output.JSON:
        as_json({"name": name, "status": found})
    else:
        say(found)
    if found != "ACTIVE":
        raise typer.Exit(Exit.PART_FAILED)


@commands.command("size")
def size(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Ask the plugin how large the data of a VDB are; `vdb show` says it from then on.

    \b
    Example:
      dlpx-remote vdb size masked
      dlpx-remote vdb size masked --output json
    """
    with open_engine(context) as engine:
        print_size(name, engine.vdbs.size(name, on_line=complain), output)


def _say_what_goes(found: Sequence[str]) -> None:
    for what in found:
        complain(f"Takes along {what}.")
