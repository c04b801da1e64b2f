"""``dlpx-remote storage …`` and ``dlpx-remote doctor``: the pool, and what this machine can do."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlpx_remote.cli.exits import Exit
from dlpx_remote.cli.options import OutputOption
from dlpx_remote.cli.output import Output, as_json, count, say, table
from dlpx_remote.cli.session import open_engine
from dlpx_remote.errors import InvalidRequest, RemoteError

if TYPE_CHECKING:
    from dlpx_remote.engine_storage import Repair, StorageStatus

commands = typer.Typer(no_args_is_help=True, help="Storage: where data sets, snapshots and clones lie.")

_SIZE = re.compile(r"(\d+)([KMGT]?)(?:iB)?", re.IGNORECASE)
_UNITS = " KMGT"


class Backend(StrEnum):
    """The back ends for a directory."""

    BTRFS = "btrfs"
    REFLINK = "reflink"
    COPY = "copy"


@commands.command("init")
def initialise(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the pool; made if missing.")],
    *,
    device: Annotated[
        Path | None, typer.Option("--device", metavar="DEV", help="Make Btrfs on this disk or partition.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="Make Btrfs in this file, with --size.")
    ] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="SIZE", help="Of the file: 100G.")] = None,
    backend: Annotated[
        Backend | None,
        typer.Option("--backend", help="For a directory of your own; the best that it allows unless given."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="All that is on the device may be lost.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prepare the place where data sets, snapshots and clones are kept.

    \b
    Example:
      dlpx-remote storage init /srv/dlpx-pool --image /srv/dlpx-pool.img --size 100G
      dlpx-remote storage init /srv/dlpx-pool --device /dev/sdb
      dlpx-remote storage init /xfs/dlpx-pool
    """
    from dlpx_remote.engine_storage import PoolChoice

    choice = PoolChoice(
        path=path.absolute(),
        kind=None if backend is None else backend.value,
        device=None if device is None else device.absolute(),
        image=None if image is None else image.absolute(),
        size=None if size is None else _bytes_of(size),
        overwrite=overwrite,
    )
    with open_engine(context) as engine:
        status = engine.storage.initialise(choice)
    _show(status, output)


@commands.command("status")
def status(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show the pool, its free space, and what is wrong with it; mount it if it is not mounted.

    \b
    Example:
      dlpx-remote storage status
    """
    with open_engine(context) as engine:
        found = engine.storage.status()
    _show(found, output)
    if found.problems:
        raise typer.Exit(Exit.PART_FAILED)


@commands.command("list")
def list_volumes(
    context: typer.Context,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="Find out how large each is; looks at every file.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List data sets, snapshots and clones.

    \b
    Example:
      dlpx-remote storage list --sizes
    """
    with open_engine(context) as engine:
        volumes = engine.storage.volumes(sizes=sizes)
    if output is Output.JSON:
        as_json(volumes)
        return
    if not volumes:
        say("There are no data sets yet.")
        return
    rows = [
        (
            volume.name,
            volume.kind,
            volume.parent,
            volume.state if volume.there else "lost" if volume.state == "present" else volume.state,
            volume.job,
            volume.made,
            *((_words(volume.logical), _words(volume.own)) if sizes else ()),
        )
        for volume in volumes
    ]
    columns = ("name", "kind", "made from", "state", "job", "made (UTC)")
    table((*columns, *(("holds", "of its own") if sizes else ())), rows)


@commands.command("usage")
def usage(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show the space that each dSource and VDB takes with its snapshots; looks at every file.

    What it holds counts data once for every volume that has it; of its own is what only one volume has, and
    what would come free if that alone were deleted.

    \b
    Example:
      dlpx-remote storage usage
    """
    with open_engine(context) as engine:
        volumes = engine.storage.volumes(sizes=True)
        names = {one.reference: one.name for one in (*engine.dsources.all(), *engine.vdbs.all())}
        owners = {one.reference: one.source_name for one in engine.snapshots.all()}
    totals: dict[str, dict[str, Any]] = {}
    for volume in volumes:
        owner = owners.get(volume.name) or names.get(volume.name.partition(".")[0], "(none)")
        total = totals.setdefault(owner, {"object": owner, "volumes": 0, "logical": 0, "own": 0})
        total["volumes"] += 1
        total["logical"] += volume.logical or 0
        total["own"] += volume.own or 0
    if output is Output.JSON:
        as_json(list(totals.values()))
    elif not totals:
        say("There are no data sets yet.")
    else:
        rows = (
            (each["object"], each["volumes"], _words(each["logical"]), _words(each["own"]))
            for each in totals.values()
        )
        table(("object", "volumes", "holds", "of its own"), rows)


def doctor(
    context: typer.Context,
    hosts: Annotated[
        bool, typer.Option("--hosts", help="The mounts of all Unix environments too, which connects to them.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what the plan names, after you have agreed to it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the plan beforehand.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what this machine can do as an engine, what is missing, and what is wrong.

    Looks only, and shows what --repair would do about volumes, mounts, exports and processes that only the
    ledger or only reality knows: on this machine, and with --hosts about mounts on hosts. What is missing is
    no failure; what is wrong ends with exit code 1.

    \b
    Example:
      dlpx-remote doctor
      dlpx-remote doctor --hosts --output json
      dlpx-remote doctor --repair --hosts
    """
    if yes and not repair:
        raise InvalidRequest("--yes agrees to a repair, and none was asked for.", "Add --repair.")
    if repair:
        _repair(context, yes, hosts)
        return
    with open_engine(context) as engine:
        findings = engine.storage.doctor(hosts=hosts)
        plan = []
        with contextlib.suppress(RemoteError):  # which is among the findings
            plan = engine.storage.repairs(hosts=hosts)
    if output is Output.JSON:
        as_json(findings)
    else:
        rows = [(one.area, one.what, one.standing, one.words, one.action) for one in findings]
        table(("area", "what", "", "found", "what to do"), rows)
        if plan:
            say()
            say("dlpx-remote doctor --repair would:")
            _print_plan(plan)
    if any(one.standing == "wrong" for one in findings):
        raise typer.Exit(Exit.PART_FAILED)


def _repair(context: typer.Context, yes: bool, hosts: bool) -> None:
    """Show the plan, have it agreed to, and carry it out."""
    with open_engine(context) as engine:
        plan = engine.storage.repairs(hosts=hosts)
        if not plan:
            say("There is nothing that could be repaired here.")
            return
        say("This will be done:")
        _print_plan(plan)
        if not yes:
            if not sys.stdin.isatty():
                raise InvalidRequest("Nobody is there to agree to this.", "Read it, and add --yes.")
            if not typer.confirm("Do it?"):
                say("Nothing was done.")
                return
        fine = engine.storage.repair(plan, lambda one, how: say(f"{one.name}: {how}"))
    if not fine:
        raise typer.Exit(Exit.PART_FAILED)


def _print_plan(plan: Sequence[Repair]) -> None:
    for number, one in enumerate(plan, start=1):
        say(f"  {number}. {one.words}")


def _show(status: StorageStatus, output: Output) -> None:
    if output is Output.JSON:
        as_json(status)
        return
    lies_on = status.device or status.image
    rows = [
        ("directory", status.path),
        ("back end", status.kind),
        *([("on", lies_on)] if lies_on else []),
        ("free", f"{_words(status.free)} of {_words(status.total)}"),
        ("volumes", status.volumes),
        ("a clone costs", "next to nothing" if status.cheap_clones else "the time and space of its data"),
    ]
    table(("storage", ""), rows)
    recovered = status.recovered
    for what, names in (
        ("finished", recovered.finished),
        ("undone", recovered.undone),
        ("deleted", recovered.deleted),
    ):
        if names:
            say(f"{count(len(names), 'volume')} that an engine had begun with: {what} ({', '.join(names)}).")
    for problem in status.problems:
        say(f"Problem: {problem}")


def _bytes_of(text: str) -> int:
    """``100G`` as bytes.

    Raises:
        InvalidRequest: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(
            f"--size: {text!r} is no size.", "Write a whole number and a unit: 500M, 100G, 2T."
        )
    return int(found[1]) << 10 * _UNITS.index(found[2].upper() or " ")


def _words(size: int | None) -> str:
    from dlpx_remote.engine_storage import in_words

    return "" if size is None else in_words(size)
