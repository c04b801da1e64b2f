"""What the ledger says of exports and mounts, in and out of its plain JSON."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from dlpx_remote.mounts.base import Placement, Served
from dlpx_remote.mounts.source import Source

_LONGEST = 400


def export_name(volume: str, environment: str, shared_path: str) -> str:
    """What a part of a volume is called that is served to one host."""
    return f"{volume}.{environment}{f'.{_short(shared_path)}' if shared_path else ''}"


def mount_name(environment: str, path: str) -> str:
    """One place on one host: two volumes cannot have it at once."""
    name = f"{environment}:{path}"
    return name if len(name) <= _LONGEST else f"{environment}:{path[:200]}…{_short(path)}"


def place_name(placement: Placement) -> str:
    """The same of a placement."""
    return mount_name(placement.environment, placement.mount_path)


@dataclass(frozen=True)
class MountRecord:
    """A mount as the ledger has it.

    Attributes:
        placement: what was asked.
        export: name of the export it is mounted from.
        path: where it is on the host, symbolic links resolved.
        source: what is mounted.
        made: directories on the host that were, or were about to be, made for it.
        within: directories in the volume that were made to mount on, relative to it, outermost first.
        remarks: of its making.
        until: where a connection was lost over it, see :attr:`dlpx_remote.mounts.host.HostMounts.until`.
    """

    placement: Placement
    export: str
    path: str
    source: Source
    made: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    until: int | None = None

    def details(self) -> dict[str, Any]:
        """For the ledger."""
        return {
            "placement": asdict(self.placement),
            "export": self.export,
            "path": self.path,
            "source": {**asdict(self.source), "options": list(self.source.options)},
            "made": list(self.made),
            "within": list(self.within),
            "remarks": list(self.remarks),
            "until": self.until,
        }

    @classmethod
    def of(cls, details: dict[str, Any]) -> MountRecord:
        """From the ledger."""
        source = details["source"]
        return cls(
            Placement(**details["placement"]),
            details["export"],
            details["path"],
            Source(**{**source, "options": tuple(source["options"])}),
            tuple(details["made"]),
            tuple(details["within"]),
            tuple(details.get("remarks", ())),
            details.get("until"),
        )


def source_of(served: Served, name: str, options: tuple[str, ...]) -> Source:
    """What a host mounts of what is served."""
    return Source(served.file_system, name, options, served.port, served.version)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
