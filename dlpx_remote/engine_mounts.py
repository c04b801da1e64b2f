"""The part of the engine's Python API that is about mounts: the NFS server, and mounting by hand."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dlpx_remote.environments.model import Environment, HostType
from dlpx_remote.environments.registry import Registry
from dlpx_remote.environments.validation import check_host
from dlpx_remote.errors import InvalidRequest, NotFound
from dlpx_remote.mounts.base import Exporter, Mounted, Owner, Placement, Reach
from dlpx_remote.mounts.ganesha import GaneshaExporter
from dlpx_remote.mounts.ganesha_server import EVERYWHERE, GaneshaServer
from dlpx_remote.mounts.ganesha_system import CONFIGURATION, SYSTEM_BUS, SystemGanesha
from dlpx_remote.mounts.kernel import KernelExporter
from dlpx_remote.mounts.service import Mounts
from dlpx_remote.store import Settings, Store

__all__ = ["HostChoice", "Mounted", "MountsByHand", "Nfs", "NfsChoice", "NfsStatus", "Owner"]

_SERVER, _HOST = "nfs.server", "nfs.host."
KINDS = ("ganesha", "system-ganesha", "kernel")
_STANDARD_PORT = 2049


@dataclass(frozen=True)
class NfsChoice:
    """How the engine serves data sets.

    Attributes:
        kind: of the server: ``ganesha``, which the engine runs, ``system-ganesha``, an NFS-Ganesha that
            somebody else runs, or ``kernel``, which the system runs.
        port: where it listens.
        listen: address that it listens on; all unless given.
        address: its address as hosts see it; None takes the one from which the engine's connection comes.
        any_port: the kernel's server also takes requests from ports above 1023, as translations of addresses
            make them; NFS-Ganesha always does.
        bus: of ``system-ganesha``, the address of its message bus; None is the system's bus.
        configuration: of ``system-ganesha``, its configuration file; None is the usual one.
    """

    kind: str = "ganesha"
    port: int = _STANDARD_PORT
    listen: str = EVERYWHERE
    address: str | None = None
    any_port: bool = False
    bus: str | None = None
    configuration: str | None = None


@dataclass(frozen=True)
class HostChoice:
    """How one host and the server reach each other, where it is not as usual.

    Attributes:
        address: the server's address as this host sees it.
        clients: addresses or networks under which the server sees the host.
        options: mount options in place of the usual ones.
    """

    address: str | None = None
    clients: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class NfsStatus:
    """The NFS server as it is.

    Attributes:
        choice: what is configured.
        hosts: what is configured for single environments, by their reference.
        exports: names of what it serves.
        problems: a sentence each of what is wrong.
    """

    choice: NfsChoice
    hosts: dict[str, HostChoice] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Nfs:
    """The NFS server of an open engine. Safe for use from several threads.

    Args:
        store: the engine's state.
    """

    def __init__(self, store: Store) -> None:
        self._directory = store.directory / "nfs"
        self._settings = Settings(store)
        self._lock = threading.Lock()
        self._exporters: dict[str, Exporter] = {}

    def choice(self) -> NfsChoice:
        """What is configured."""
        return NfsChoice(**self._settings.get(_SERVER, {}))

    def configure(self, choice: NfsChoice) -> None:
        """Serve in another way from now on.

        Raises:
            InvalidRequest: the choice cannot be, or something is served in the present way.
        """
        if choice.kind not in KINDS:
            raise InvalidRequest(f"{choice.kind!r} is no kind of NFS server.", f"Use {', '.join(KINDS)}.")
        if not 1 <= choice.port <= 65535:
            raise InvalidRequest(f"{choice.port} is not a port.", "Give a number from 1 to 65535.")
        if choice.kind == "kernel" and (choice.port, choice.listen) != (_STANDARD_PORT, EVERYWHERE):
            raise InvalidRequest(
                "Where the kernel's NFS server listens is not the engine's to say.",
                "Say it in the system's /etc/nfs.conf; the engine asks the server for its port.",
            )
        if choice.kind == "system-ganesha" and choice.listen != EVERYWHERE:
            raise InvalidRequest(
                "Where the system's NFS-Ganesha listens is not the engine's to say.",
                "Say it in its configuration (Bind_addr), and here only the port.",
            )
        _check_addresses(choice)
        present = self.choice()
        if replace(choice, address=None) != replace(present, address=None):
            if self._exports(present):
                raise InvalidRequest(
                    "Data sets are exported at present; hosts would lose them.", "Unmount them first."
                )
            if present.kind == "ganesha" and (self._directory / "exports").is_dir():
                self._server(present).stop()
        self._settings.set(_SERVER, {name: getattr(choice, name) for name in NfsChoice.__dataclass_fields__})
        with self._lock:
            self._exporters.clear()

    def configure_host(self, environment: Environment, choice: HostChoice) -> None:
        """Say how one host and the server reach each other; an empty choice forgets what was said.

        Raises:
            InvalidRequest: an address is none, or an option has a space.
        """
        if choice.address is not None:
            check_host(choice.address)
        for each in choice.clients:
            _check_client(each)
        for each in choice.options:
            if not each or " " in each:
                raise InvalidRequest(f"{each!r} is no mount option.", "Repeat --option for each: --option rw")
        if choice == HostChoice():
            self._settings.remove(_HOST + environment.reference)
            return
        self._settings.set(
            _HOST + environment.reference,
            {"address": choice.address, "clients": list(choice.clients), "options": list(choice.options)},
        )

    def host(self, reference: str) -> HostChoice:
        """What is configured for one environment."""
        return _host(self._settings.get(_HOST + reference, {}))

    def reach(self, environment: Environment) -> Reach:
        """What the room of mounts must know of it."""
        choice = self.host(environment.reference)
        return Reach(
            environment.name,
            windows=environment.host_type is HostType.WINDOWS,
            # Where another host is between, the server does not see what the engine's connection goes to.
            address="" if environment.jump else environment.host,
            server=choice.address or self.choice().address,
            clients=choice.clients,
            options=choice.options,
        )

    def exporter(self, kind: str | None) -> Exporter:
        """The server of a kind; the configured one for None. It is started when it is first needed."""
        choice = self.choice()
        kind = kind or choice.kind
        with self._lock:
            if kind not in self._exporters:
                self._exporters[kind] = (
                    KernelExporter(any_port=choice.any_port)
                    if kind == "kernel"
                    else GaneshaExporter(self._server(replace(choice, kind=kind)))
                )
            return self._exporters[kind]

    def status(self) -> NfsStatus:
        """What is configured and served, and what is wrong."""
        exporter = self.exporter(None)
        hosts = {
            name.removeprefix(_HOST): _host(value)
            for name, value in self._settings.all().items()
            if name.startswith(_HOST)
        }
        return NfsStatus(self.choice(), hosts, tuple(sorted(exporter.names())), exporter.problems())

    def stop(self) -> None:
        """End a server that the engine started; hosts wait for it. The next mount starts it again.

        Raises:
            InvalidRequest: it is the system's.
        """
        choice = self.choice()
        if choice.kind == "kernel":
            raise InvalidRequest(
                "The kernel's NFS server was not started by the engine.",
                "Stop it as the system does: systemctl stop nfs-server.",
            )
        if choice.kind == "system-ganesha":
            raise InvalidRequest(
                "The system's NFS-Ganesha was not started by the engine.",
                "Stop it as the system does: systemctl stop nfs-ganesha.",
            )
        self._server(choice).stop()

    def close(self) -> None:
        """Let go of the server; what it serves stays served."""
        with self._lock:
            for exporter in self._exporters.values():
                exporter.close()
            self._exporters.clear()

    def _exports(self, choice: NfsChoice) -> bool:
        """Whether anything is exported in that way."""
        if choice.kind == "kernel":
            return bool(KernelExporter().names())
        return any(self._server(choice).exports.glob("*.conf"))

    def _server(self, choice: NfsChoice) -> GaneshaServer | SystemGanesha:
        if choice.kind == "system-ganesha":
            return SystemGanesha(
                self._directory,
                port=choice.port,
                bus=choice.bus or SYSTEM_BUS,
                configuration=Path(choice.configuration) if choice.configuration else CONFIGURATION,
            )
        return GaneshaServer(self._directory, address=choice.listen, port=choice.port)


class MountsByHand:
    """Mounting and unmounting a volume by hand, for diagnosis; jobs do it by themselves.

    Args:
        mounts: opens the room.
        path: where a volume's files are.
        registry: environments.
        nfs: the NFS server.
    """

    def __init__(
        self,
        mounts: Callable[[], Mounts],
        path: Callable[[str], Path],
        registry: Registry,
        nfs: Nfs,
    ) -> None:
        self._mounts = mounts
        self._path = path
        self._registry = registry
        self.nfs = nfs

    def mount(
        self,
        volume: str,
        environment: str,
        path: str,
        *,
        user: str | None = None,
        shared_path: str | None = None,
        owner: Owner | None = None,
        root_squash: bool = True,
    ) -> Mounted:
        """Mount a volume at one more place; where it is mounted already it stays.

        Args:
            volume: name of the volume, as ``storage list`` has it.
            environment: name or reference.
            path: absolute path on the host.
            user: name of the environment user to mount through; the primary one unless given.
            shared_path: part of the volume.
            owner: whose the files are to be; None takes the owner for whom it is mounted already, or leaves
                them as they are stored.
            root_squash: whether the host's root is nobody on it.

        Raises:
            NotFound: there is no such volume or environment.
            MountRefused, MountError, TransportError: see :meth:`dlpx_remote.mounts.base.Mounting.attach`.
        """
        directory = self._path(volume)
        if not directory.is_dir():
            raise NotFound(f"There is no volume {volume}.", "See: dlpx-remote storage list")
        found, account = self._registry.find(environment, user)
        placement = Placement(found.reference, account.reference, path, shared_path)
        mounts = self._mounts()
        return mounts.attach_also(volume, directory, placement, owner=owner, root_squash=root_squash)

    def unmount(
        self, volume: str, environment: str | None = None, path: str | None = None, *, force: bool = False
    ) -> tuple[str, ...]:
        """Unmount a volume everywhere, or at one place; gives back remarks.

        Args:
            volume: name of the volume.
            environment: name or reference; None for all.
            path: absolute path on the host; None for all there.
            force: see :meth:`dlpx_remote.mounts.base.Mounting.detach`.

        Raises:
            NotFound: there is no such volume, and none that was mounted.
        """
        mounts = self._mounts()
        if not mounts.placed(volume) and not self._path(volume).is_dir():
            raise NotFound(f"There is no volume {volume}.", "See: dlpx-remote storage list")
        if environment is None:
            return mounts.detach(volume, force=force)
        return mounts.detach_from(volume, self._registry.get(environment).reference, path, force=force)

    def all(self, volume: str | None = None) -> Sequence[tuple[str, Placement]]:
        """Which volumes are mounted where, as the ledger has it."""
        return self._mounts().placed(volume)

    def environment_name(self, reference: str) -> str:
        """For people; the reference itself where the environment is gone."""
        try:
            return self._registry.get(reference).name
        except NotFound:
            return reference


def _check_addresses(choice: NfsChoice) -> None:
    try:
        ipaddress.ip_address(choice.listen)
    except ValueError:
        raise InvalidRequest(
            f"{choice.listen!r} is no address to listen on.",
            f"Give one of this machine's IP addresses, or {EVERYWHERE} for all.",
        ) from None
    if choice.address is not None:
        check_host(choice.address)


def _check_client(client: str) -> None:
    try:
        ipaddress.ip_network(client, strict=False)
    except ValueError:
        check_host(client)


def _host(value: dict[str, object]) -> HostChoice:
    address, clients, options = value.get("address"), value.get("clients", []), value.get("options", [])
    return HostChoice(
        str(address) if address else None,
        tuple(str(each) for each in clients) if isinstance(clients, list) else (),
        tuple(str(each) for each in options) if isinstance(options, list) else (),
    )
