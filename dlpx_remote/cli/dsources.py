"""``dlpx-remote dsource``: linking, syncing, and what else is done with dSources."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from dlpx_remote.cli.asking import (
    DetachOption,
    ForceOption,
    HookedJobOptions,
    HookOption,
    HooksFileOption,
    JobOptions,
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
from dlpx_remote.cli.following import end_with, follow
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, count, say
from dlpx_remote.cli.session import open_engine
from dlpx_remote.cli.source_output import print_size, print_source, print_sources

commands = typer.Typer(help="dSources: link data and keep it in step.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name or reference of the dSource.")]


@commands.command("link")
def link(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For the new dSource.")],
    *,
    environment: Annotated[
        str, typer.Option("--environment", "-e", metavar="ENV", help="Where the data is.")
    ],
    source_config: Annotated[
        str, typer.Option("--source-config", metavar="S", help="Name or reference of a source config.")
    ],
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="Of ENV; its primary user unless given.")
    ] = None,
    plugin: Annotated[
        str | None, typer.Option("--plugin", "-p", metavar="P", help="Where several plugins found S.")
    ] = None,
    repository: Annotated[
        str | None, typer.Option("--repository", metavar="R", help="Where several repositories have S.")
    ] = None,
    staging: Annotated[
        str | None,
        typer.Option("--staging", metavar="ENV", help="The staging environment; for staged plugins only."),
    ] = None,
    staging_user: Annotated[
        str | None, typer.Option("--staging-user", metavar="USER", help="Of the staging environment.")
    ] = None,
    param: ParamOption = None,
    params_file: ParamsFileOption = None,
    hook: HookOption = None,
    login_hook: LoginHookOption = None,
    hooks_file: HooksFileOption = None,
    interval: Annotated[
        int | None,
        typer.Option("--interval", metavar="SECONDS", help="Between two runs of the staging worker; 60."),
    ] = None,
    detach: DetachOption = False,
    no_wait: NoWaitOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a dSource of a source config. The first sync fills it.

    \b
    Example:
      dlpx-remote dsource link orders -e db1 --source-config orders --param port=5433
      dlpx-remote dsource link orders -e db1 --source-config orders --staging staging1
    """
    carry_out(
        context,
        lambda engine: engine.dsources.link(
            name,
            environment,
            source_config,
            user=user,
            plugin=plugin,
            repository=repository,
            staging=staging,
            staging_user=staging_user,
            parameters=given(param, params_file),
            hooks=[*hooks(hook, login_hook), *hooks_of_file(hooks_file)],
            interval=interval,
            asked=asked(detach, no_wait),
        ),
        lambda result: f"Linked {name} ({result['dsource']}). Fill it: dlpx-remote dsource sync {name}",
        detach=detach,
        output=output,
    )


@commands.command("sync")
@unfolded
def sync(
    context: typer.Context,
    name: NameArgument,
    *,
    param: ParamOption = None,
    params_file: ParamsFileOption = None,
    job: HookedJobOptions,
) -> None:
    """Bring a dSource up to date and take a snapshot. Parameters are those of the snapshot.

    \b
    Example:
      dlpx-remote dsource sync orders
      dlpx-remote dsource sync orders --param resync=true --hook post-sync=./tell.sh
    """
    carry_out(
        context,
        lambda engine: engine.dsources.sync(
            name,
            parameters=given(param, params_file),
            **job.how(),
        ),
        lambda result: f"Synced {name}: {result['snapshot']}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("configure")
def configure(
    context: typer.Context,
    name: NameArgument,
    *,
    interval: Annotated[
        int, typer.Option("--interval", metavar="SECONDS", help="Between two runs of the staging worker.")
    ],
    output: OutputOption = Output.TABLE,
) -> None:
    """Change how often the staging worker of a staged dSource runs.

    \b
    Example:
      dlpx-remote dsource configure orders --interval 300
    """
    with open_engine(context) as engine:
        changed = engine.dsources.configure(name, interval=interval)
    if output is Output.JSON:
        as_json(changed)
    else:
        say(f"The staging worker of {changed.name} runs every {count(changed.interval, 'second')}.")


@commands.command("enable")
@unfolded
def enable(
    context: typer.Context,
    name: NameArgument,
    *,
    job: JobOptions,
) -> None:
    """Mount a disabled dSource on its staging environment and start what the plugin starts there.

    \b
    Example:
      dlpx-remote dsource enable orders
    """
    carry_out(
        context,
        lambda engine: engine.dsources.enable(name, asked=job.asked()),
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
    job: JobOptions,
) -> None:
    """Stop what runs on the staging environment and unmount. Nothing is synced until it is enabled.

    \b
    Example:
      dlpx-remote dsource disable orders
    """
    carry_out(
        context,
        lambda engine: engine.dsources.disable(name, force=force, asked=job.asked()),
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
    job: JobOptions,
) -> None:
    """Delete a dSource with its data and snapshots. One that VDBs were made from is refused.

    \b
    Example:
      dlpx-remote dsource delete orders
      dlpx-remote dsource delete orders --force
    """
    if force:
        with open_engine(context) as engine:
            for what in engine.dsources.dependants(name):
                complain(f"Takes along {what}.")
    carry_out(
        context,
        lambda engine: engine.dsources.delete(name, force=force, asked=job.asked()),
        lambda result: f"Deleted {', '.join(result['deleted'])}.",
        detach=job.detach,
        output=job.output,
    )


@commands.command("list")
def list_all(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List all dSources.

    \b
    Example:
      dlpx-remote dsource list
    """
    with open_engine(context) as engine:
        found = engine.dsources.all()
    if output is Output.JSON:
        as_json(found)
    else:
        print_sources(found, "No dSource yet. Link one: dlpx-remote dsource link NAME …")


@commands.command("show")
def show(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Show one dSource.

    \b
    Example:
      dlpx-remote dsource show orders
    """
    with open_engine(context) as engine:
        found = engine.dsources.get(name)
    if output is Output.JSON:
        as_json(found)
    else:
        print_source(found)


@commands.command("status")
def status(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Ask the plugin whether a dSource is in working order. Exit code 1 when it is not.

    \b
    Example:
      dlpx-remote dsource status orders
    """
    with open_engine(context) as engine:
        found = engine.dsources.status(name, on_line=complain)
    if output is Output.JSON:
        as_json({"name": name, "status": found})
    else:
        say(found)
    if found != "ACTIVE":
        raise typer.Exit(Exit.PART_FAILED)


@commands.command("size")
def size(context: typer.Context, name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """Ask the plugin how large the data of a dSource are; `dsource show` says it from then on.

    \b
    Example:
      dlpx-remote dsource size orders
      dlpx-remote dsource size orders --output json
    """
    with open_engine(context) as engine:
        print_size(name, engine.dsources.size(name, on_line=complain), output)


@commands.command("worker")
def worker(
    context: typer.Context,
    name: NameArgument,
    *,
    once: Annotated[bool, typer.Option("--once", help="Run it once, and do not wait.")] = False,
) -> None:
    """Run the plugin's staging worker at the dSource's interval until interrupted.

    \b
    Example:
      dlpx-remote dsource worker orders
      dlpx-remote dsource worker orders --once
    """
    from dlpx_remote.engine_jobs import Busy

    with open_engine(context) as engine:
        while True:
            try:
                job = follow(engine, engine.dsources.run_worker(name), ours=True)
            except Busy as busy:
                complain(f"{busy.message} Left out this time.")
            else:
                if once:
                    end_with(job)
            if once:
                return
            time.sleep(engine.dsources.get(name).interval)
