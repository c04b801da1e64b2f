"""DSources, VDBs and snapshots as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlpx_remote.cli.output import Output, as_json, say, table

if TYPE_CHECKING:
    from dlpx_remote.engine_sources import Snapshot, SourceView


def print_sources(found: Sequence[SourceView], none: str) -> None:
    """A line each."""
    if not found:
        say(none)
        return
    table(
        ("name", "plugin", "environment", "state", "status", "snapshots", "made from", "reference"),
        (
            (
                source.name,
                source.plugin,
                source.staging_environment or source.environment,
                state_in_words(source),
                source.status,
                source.snapshots,
                f"{source.parent}, {source.snapshot}"
                if source.parent
                else source.source_config
                if isinstance(source.source_config, str)
                else "",
                source.reference,
            )
            for source in found
        ),
    )


def print_source(source: SourceView) -> None:
    """One, with everything that is known of it."""
    for title, value in (
        ("dSource" if source.kind == "dsource" else "VDB", source.name),
        ("reference", source.reference),
        ("plugin", source.plugin),
        ("environment", f"{source.environment} as {source.user}"),
        ("repository", source.repository),
        ("source config", _value(source.source_config)),
        (
            "staging",
            f"{source.staging_environment} as {source.staging_user}" if source.staging_environment else "",
        ),
        ("made from", f"{source.snapshot} of {source.parent}" if source.parent else ""),
        ("state", state_in_words(source)),
        ("status", f"{source.status} at {source.status_time[:19]}" if source.status else ""),
        ("size", f"{_bytes(source.size)} at {source.size_time[:19]}" if source.size is not None else ""),
        ("volume", source.volume),
        ("parameters", _value(source.parameters) if source.parameters else ""),
        ("can be undone", "yes" if source.can_undo else ""),
        ("guid", source.guid),
        ("added", f"{source.added[:19].replace('T', ' ')} UTC"),
    ):
        if value:
            say(f"{title + ':':<15} {value}")
    if source.mounts:
        say()
        table(
            ("environment", "mount path", "part"),
            ((mount.environment, mount.mount_path, mount.shared_path or "all") for mount in source.mounts),
        )


def print_snapshots(found: Sequence[Snapshot]) -> None:
    """A line each."""
    if not found:
        say("No snapshot yet. Take one: dlpx-remote dsource sync NAME, or vdb snapshot NAME")
        return
    table(
        ("snapshot", "of", "taken (UTC)", "state", "from", "what the plugin said"),
        (
            (
                snapshot.reference,
                snapshot.source_name,
                snapshot.taken[:19].replace("T", " "),
                snapshot.state,
                snapshot.parent,
                _value(snapshot.value) if snapshot.value else "",
            )
            for snapshot in found
        ),
    )


def state_in_words(source: SourceView) -> str:
    """The state, and whether a VDB was stopped."""
    if source.kind == "vdb" and source.state == "enabled" and not source.active:
        return "enabled, stopped"
    return source.state


def print_size(name: str, size: int, output: Output) -> None:
    """How large a dSource or VDB is."""
    if output is Output.JSON:
        as_json({"name": name, "size": size})
    else:
        say(_bytes(size))


def _bytes(size: int) -> str:
    from dlpx_remote.engine_storage import in_words

    return in_words(size)


def _value(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
