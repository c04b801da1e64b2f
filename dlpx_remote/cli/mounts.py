"""``dlpx-remote mount``, ``unmount`` and ``nfs``: volumes on hosts by hand, and the server they come from."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, complain, say, table
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import InvalidRequest

commands = typer.Typer(no_args_is_help=True, help="The NFS server from which hosts mount data sets.")

VolumeArgument = Annotated[str, typer.Argument(metavar="VOLUME", help="As `storage list` has it.")]
_OWNER = re.compile(r"(\d+):(\d+)")


def mount(
    context: typer.Context,
    volume: VolumeArgument,
    environment: Annotated[str, typer.Argument(metavar="ENV", help="Name or reference.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Absolute path on the host.")],
    *,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", help="Mount through this environment user.")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", metavar="DIR", help="Only this directory of the volume.")
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option("--owner", metavar="UID:GID", help="Whose the files are to be; as stored unless given."),
    ] = None,
    no_root_squash: Annotated[
        bool, typer.Option("--no-root-squash", help="The host's root is root on the volume as well.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Mount a volume on a host by hand, to see what is wrong. Jobs mount by themselves.

    \b
    Example:
      dlpx-remote mount VDB-3 db1 /mnt/look --owner 1001:1001
    """
    from dlpx_remote.engine_mounts import Owner

    numbers = _OWNER.fullmatch(owner) if owner is not None else None
    if owner is not None and numbers is None:
        raise InvalidRequest(f"{owner!r} is no owner.", "Give the numbers of user and group: 1001:1001")
    with open_engine(context) as engine:
        mounted = engine.mounts.mount(
            volume,
            environment,
            path,
            user=user,
            shared_path=part,
            owner=Owner(int(numbers[1]), int(numbers[2])) if numbers else None,
            root_squash=not no_root_squash,
        )
    for remark in mounted.remarks:
        complain(remark)
    if output is Output.JSON:
        as_json(mounted)
        return
    say(f"{mounted.source} is mounted at {path} ({mounted.options}).")


def unmount(
    context: typer.Context,
    volume: VolumeArgument,
    environment: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="Only on this environment.")
    ] = None,
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="Only there.")] = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it is busy, or the host cannot be reached.")
    ] = False,
) -> None:
    """Unmount a volume from its hosts, and withdraw its export.

    \b
    Example:
      dlpx-remote unmount VDB-3 db1 /mnt/look
      dlpx-remote unmount VDB-3 --force
    """
    with open_engine(context) as engine:
        mounted = bool(engine.mounts.all(volume))
        for remark in engine.mounts.unmount(volume, environment, path, force=force):
            complain(remark)
    say(f"Unmounted {volume}." if mounted else f"{volume} was mounted nowhere.")


@commands.command("status")
def status(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show the NFS server, what it serves, and where volumes are mounted.

    \b
    Example:
      dlpx-remote nfs status
    """
    with open_engine(context) as engine:
        found = engine.mounts.nfs.status()
        mounts = [
            {
                "volume": volume,
                "environment": engine.mounts.environment_name(placement.environment),
                "path": placement.mount_path,
                "part": placement.shared_path,
            }
            for volume, placement in engine.mounts.all()
        ]
    if output is Output.JSON:
        as_json({"server": found, "mounts": mounts})
        return
    choice = found.choice
    where = {
        "ganesha": f"port {choice.port} of {choice.listen}",
        "system-ganesha": f"port {choice.port}, which somebody else runs",
    }.get(choice.kind, "as the system has it")
    say(f"Server:  {choice.kind}, {where}")
    say(f"Address: {choice.address or 'the one from which the engine reaches a host'}")
    say(f"Exports: {len(found.exports)}")
    for problem in found.problems:
        complain(problem)
    if mounts:
        columns = ("VOLUME", "ENVIRONMENT", "PATH", "PART")
        table(columns, [(*tuple(each.values())[:3], each["part"] or "") for each in mounts])


@commands.command("configure")
def configure(
    context: typer.Context,
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="ganesha, which the engine runs; system-ganesha, one that runs already; or kernel.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="Where the server listens.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="ADDRESS", help="Listen on this address only.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="The server's address as hosts see it."),
    ] = None,
    any_port: Annotated[
        bool | None,
        typer.Option("--any-port/--low-ports", help="Whether the kernel's server takes ports above 1023."),
    ] = None,
    bus: Annotated[
        str | None,
        typer.Option("--bus", metavar="ADDRESS", help="Of system-ganesha: its D-Bus, if not the system's."),
    ] = None,
    configuration: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="Of system-ganesha, if not in /etc/ganesha."),
    ] = None,
) -> None:
    """Say which NFS server serves, where it listens, and how hosts reach it.

    \b
    Example:
      dlpx-remote nfs configure --port 12049 --address 10.1.2.3
      dlpx-remote nfs configure --kind kernel
      dlpx-remote nfs configure --kind system-ganesha --config /etc/ganesha/ganesha.conf
    """
    from dataclasses import replace

    with open_engine(context) as engine:
        choice = engine.mounts.nfs.choice()
        given = {
            "kind": kind,
            "port": port,
            "listen": listen,
            "address": address,
            "any_port": any_port,
            "bus": bus,
            "configuration": configuration,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        engine.mounts.nfs.configure(replace(choice, **changes))  # type: ignore[arg-type]
    say(
        "What holds from now on: dlpx-remote nfs status"
        if changes
        else "Nothing was given, nothing is changed."
    )


@commands.command("host")
def host(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="ENV", help="Name or reference.")],
    *,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="The server's address as this host sees it."),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option("--client", metavar="ADDRESS", help="The host's address as the server sees it; repeat."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="OPTION", help="Mount with these options instead; repeat."),
    ] = None,
) -> None:
    """Say how one host and the NFS server reach each other; nothing given forgets what was said.

    \b
    Example:
      dlpx-remote nfs host db1 --address 192.168.7.1 --client 192.168.7.20
    """
    from dlpx_remote.engine_mounts import HostChoice

    with open_engine(context) as engine:
        found = engine.environment(environment)
        choice = HostChoice(address, tuple(client or ()), tuple(option or ()))
        engine.mounts.nfs.configure_host(found, choice)
    if choice == HostChoice():
        say(f"{found.name} and the server reach each other as usual.")
    else:
        say(f"Kept for {found.name}; it holds for mounts from now on.")


@commands.command("stop")
def stop(context: typer.Context) -> None:
    """End the NFS server. Hosts wait for it; the next mount starts it again.

    \b
    Example:
      dlpx-remote nfs stop
    """
    with open_engine(context) as engine:
        engine.mounts.nfs.stop()
    say("The engine's NFS server does not run; the next mount starts it.")
