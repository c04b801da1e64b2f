"""The example plugin for PostgreSQL, operation by operation, with a real source, standby and copies."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.plugins.worker import PluginUserError
from tests.hosts.examples import POSTGRES
from tests.hosts.plugin_operations import Operations, copy, directory, operations
from tests.hosts.postgres_source import REPOSITORY, SOURCE_CONFIG, Source, make_source
from tests.hosts.ssh_host import SshHost, ssh_host

STAGING = "/srv/dlpx staging"
OLDER = {**REPOSITORY, "majorVersion": "14", "version": "14.9"}
_PORTS = itertools.count(5501)


@dataclass
class Linked:
    """A source, its staging, and the plugin's operations on both; everything is on one host."""

    operations: Operations
    source: Source
    staged: dict[str, Any]

    @property
    def host(self) -> SshHost:
        """Where all of it is."""
        return self.source.host

    def linked(self, operation: str, **more: Any) -> Any:
        """An operation of the linked source."""
        return self.operations.run(
            f"linked.{operation}",
            staged_source=self.staged,
            repository=REPOSITORY,
            source_config=SOURCE_CONFIG,
            **more,
        )

    def sync(self, **parameters: Any) -> dict[str, Any]:
        """Bring staging to the present; what the snapshot would be told to hold."""
        given = {"snapshot_parameters": parameters or None}
        self.linked("pre_snapshot", **given)
        snapshot: dict[str, Any] = self.linked("post_snapshot", **given)
        return snapshot

    @contextmanager
    def copy(self, snapshot: dict[str, Any], **parameters: Any) -> Iterator[Copy]:
        """A VDB of what staging holds at this moment, not yet configured; taken away at the end."""
        port = next(_PORTS)
        mount = f"/srv/vdb {port}"
        copy(self.host, STAGING, mount)
        with self.virtual(mount, port, snapshot, **parameters) as virtual:
            yield virtual

    @contextmanager
    def virtual(
        self, mount: str, port: int, snapshot: dict[str, Any] | None = None, **parameters: Any
    ) -> Iterator[Copy]:
        """A VDB in a directory."""
        virtual = Copy(
            self,
            mount,
            {"mountPath": mount, "port": port, "instanceName": f"vdb {port}", **parameters},
            snapshot or {},
        )
        try:
            yield virtual
        finally:
            virtual.run("unconfigure")
            self.host.root(f"rm -r '{mount}'")


@dataclass
class Copy:
    """A VDB."""

    linked: Linked
    mount: str
    parameters: dict[str, Any]
    snapshot: dict[str, Any]
    source_config: dict[str, Any] = field(default_factory=lambda: dict(SOURCE_CONFIG))

    @property
    def source(self) -> dict[str, Any]:
        """As operations are handed it."""
        connection = self.linked.operations.connection
        mount = {"environment": connection["environment"], "mount_path": self.mount}
        return {
            "guid": f"virtual{self.mount.replace('/', '-')}",
            "connection": connection,
            "parameters": self.parameters,
            "mounts": [mount],
        }

    def configure(self) -> dict[str, Any]:
        """Open it for the first time."""
        self.source_config = self.linked.operations.run(
            "virtual.configure", virtual_source=self.source, repository=REPOSITORY, snapshot=self.snapshot
        )
        return self.source_config

    def run(self, operation: str, **more: Any) -> Any:
        """Any operation but configure and initialize."""
        return self.linked.operations.run(
            f"virtual.{operation}",
            virtual_source=self.source,
            repository=REPOSITORY,
            source_config=self.source_config,
            **more,
        )

    def ask(self, statement: str) -> str:
        """As an ordinary role, over TCP."""
        return self.linked.source.ask_copy(self.parameters["port"], statement)

    def entries(self) -> int:
        """How many entries it holds; fails where a transaction has been torn."""
        assert self.ask("SELECT count(*) = (SELECT entries FROM total) FROM entries") == "t"
        return int(self.ask("SELECT count(*) FROM entries"))


@pytest.fixture(scope="module")
def host(ssh_image: str) -> Iterator[SshHost]:
    """A host of this module's own, with a small disk."""
    with (
        tempfile.TemporaryDirectory(prefix="dlpx-host-") as keys,
        ssh_host(ssh_image, Path(keys), small_disk=True) as host,
    ):
        yield host


@pytest.fixture(scope="module")
def linked(host: SshHost) -> Iterator[Linked]:
    """A source that was copied to staging while it was written to."""
    source = make_source(host)
    directory(host, STAGING)
    with operations(POSTGRES, host) as running:
        linked = Linked(running, source, source.linked(running.connection, STAGING))
        with source.load():
            linked.sync()
        yield linked
        linked.linked("stop_staging")
        assert host.root("pgrep -u engine -a postgres || true") == ""
        assert host.root("ls -d /tmp/dlpx* /home/engine/.dlpx-remote/scratch/* 2> /dev/null || true") == ""
    assert host.root("ls -A /home/engine/.dlpx-remote 2> /dev/null || true") == ""


def test_a_sync_brings_staging_to_the_present_while_the_source_is_written_to(linked: Linked) -> None:
    with linked.source.load():
        before, place = linked.source.entries(), linked.source.ask("SELECT pg_current_wal_flush_lsn()")
        snapshot = linked.sync(label="before the release")
        with linked.copy(snapshot) as virtual:
            after = linked.source.entries()
            virtual.configure()
            assert before <= virtual.entries() <= after
    assert linked.source.ask(f"SELECT '{snapshot['lsn']}'::pg_lsn >= '{place}'") == "t"
    assert snapshot["systemIdentifier"] == linked.source.ask(
        "SELECT system_identifier FROM pg_control_system()"
    )
    assert (snapshot["timeline"], snapshot["label"]) == (1, "before the release")
    assert snapshot["version"].startswith("15.")


def test_copies_of_two_snapshots_live_side_by_side(linked: Linked) -> None:
    first_count = linked.source.entries()
    with linked.copy(linked.sync()) as first:
        linked.source.enter(20)
        with linked.copy(linked.sync()) as second:
            for virtual in (first, second):
                virtual.configure()
            assert (first.entries(), second.entries()) == (first_count, first_count + 20)
            assert first.ask("SELECT id FROM far") == "7"

            first.ask("INSERT INTO far VALUES (8); DELETE FROM entries; UPDATE total SET entries = 0")
            assert (first.entries(), second.entries()) == (0, first_count + 20)
            assert linked.source.entries() == first_count + 20
            assert second.ask("SELECT count(*) FROM far") == linked.source.ask("SELECT count(*) FROM far")
            assert linked.linked("status") == "ACTIVE"

            found = linked.operations.run(
                "discovery.source_config",
                source_connection=linked.operations.connection,
                repository=REPOSITORY,
            )
            mine = {
                each["dataDirectory"]: each for each in found if each["dataDirectory"].startswith("/srv/")
            }
            assert {path: each.get("port") for path, each in mine.items()} == {
                "/srv/order data/15": None,
                **{v.source_config["dataDirectory"]: v.parameters["port"] for v in (first, second)},
            }
            for virtual in (first, second):
                here = mine[virtual.source_config["dataDirectory"]]
                assert here["name"] == virtual.source_config["name"] == virtual.parameters["instanceName"]
        assert second.run("status") == "INACTIVE"
        assert first.run("status") == "ACTIVE"


def test_status_tells_the_truth_whatever_ended_the_server(linked: Linked) -> None:
    with linked.copy(linked.sync()) as virtual:
        assert virtual.run("status") == "INACTIVE"
        virtual.configure()
        assert virtual.run("status") == "ACTIVE"
        virtual.run("stop")
        assert virtual.run("status") == "INACTIVE"
        virtual.run("stop")
        virtual.run("pre_snapshot")
        stopped = virtual.run("post_snapshot")
        assert (stopped["timeline"], stopped["time"][-1]) == (2, "Z")
        virtual.run("start")
        virtual.run("start")
        assert virtual.run("status") == "ACTIVE"
        linked.host.root(f"kill -KILL $(head -n 1 '{virtual.mount}/data/postmaster.pid')")
        assert virtual.run("status") == "INACTIVE"
        virtual.run("start")
        assert virtual.entries() == linked.source.entries()
        linked.host.root(f"kill -STOP $(head -n 1 '{virtual.mount}/data/postmaster.pid')")
        try:
            assert virtual.run("status") == "INACTIVE", "a server that hangs is of no use"
        finally:
            linked.host.root(f"kill -CONT $(head -n 1 '{virtual.mount}/data/postmaster.pid')")


def test_a_copy_goes_back_to_a_snapshot_of_its_own(linked: Linked) -> None:
    with linked.copy(linked.sync(), settings={"work_mem": "5MB"}) as virtual:
        virtual.configure()
        entries = virtual.entries()
        assert virtual.run("post_snapshot")["timeline"] == 2, "the first snapshot is taken unprepared"
        virtual.ask("CALL enter(5)")
        virtual.run("pre_snapshot")
        snapshot = virtual.run("post_snapshot")
        kept = f"{virtual.mount} kept"
        copy(linked.host, virtual.mount, kept)
        assert snapshot["timeline"] == 2, "a copy goes its own way from where it was opened"
        virtual.ask("CALL enter(100)")
        assert virtual.run("source_size") > 20_000_000

        virtual.run("unconfigure")
        linked.host.root(f"rm -r '{virtual.mount}'; mv '{kept}' '{virtual.mount}'")
        virtual.parameters["settings"] = {"work_mem": "6MB"}
        virtual.run("reconfigure", snapshot=snapshot)
        assert virtual.entries() == entries + 5
        assert virtual.ask("SHOW work_mem") == "6MB"


def test_an_empty_one_can_be_made(linked: Linked) -> None:
    port = next(_PORTS)
    mount = directory(linked.host, f"/srv/vdb {port}")
    with linked.virtual(mount, port) as virtual:
        virtual.source_config = linked.operations.run(
            "virtual.initialize", virtual_source=virtual.source, repository=REPOSITORY
        )
        assert virtual.run("status") == "ACTIVE"
        virtual.run("pre_snapshot")
        assert virtual.run("post_snapshot")["timeline"] == 1
        virtual.run("cleanup")
        assert virtual.run("status") == "INACTIVE"


def test_the_worker_starts_a_standby_that_fell_over_and_says_how_far_it_is(linked: Linked) -> None:
    linked.host.root(f"kill -KILL $(head -n 1 '{STAGING}/data/postmaster.pid')")
    assert linked.linked("status") == "INACTIVE"
    linked.operations.said()
    linked.linked("worker")
    assert "was down, and is started again" in linked.operations.said()
    assert linked.linked("status") == "ACTIVE"
    linked.sync()
    linked.operations.said()
    linked.linked("worker")
    assert "staging streams: received 0/" in linked.operations.said()


def test_staging_rests_while_it_is_stopped_and_catches_up_afterwards(linked: Linked) -> None:
    linked.linked("stop_staging")
    linked.source.enter(3)
    assert linked.linked("status") == "INACTIVE"
    linked.linked("start_staging")
    assert linked.linked("status") == "ACTIVE"
    with linked.copy(linked.sync()) as virtual:
        virtual.configure()
        assert virtual.entries() == linked.source.entries()


def test_the_password_is_in_no_snapshot(linked: Linked) -> None:
    linked.sync()
    password = linked.source.password.rpartition(" ")[2]
    found = linked.host.root(
        f"grep --recursive --files-with-matches --file <(printf %s '{password}') '{STAGING}' || true"
    )
    assert found == ""


def _refused(linked: Linked, operation: str = "pre_snapshot", **changes: Any) -> PluginUserError:
    """What a sync says with other parameters of the source."""
    before = linked.staged
    guid = changes.get("stagingPath", before["guid"]).replace("/", "-")
    linked.staged = {**before, "guid": guid, "parameters": {**before["parameters"], **changes}}
    try:
        with pytest.raises(PluginUserError) as caught:
            linked.linked(operation, **({"snapshot_parameters": None} if "snapshot" in operation else {}))
    finally:
        linked.staged = before
    assert caught.value.action
    assert "psql:" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("changes", "message", "action"),
    [
        ({"password": "a wrong password"}, "did not accept the password", "'password'"),
        ({"password": None}, "did not accept the password", "~/.pgpass of engine"),
        ({"sourcePort": 1}, "does not answer", "'sourcePort'"),
        ({"sourceUser": "nobody"}, "did not accept the password", "'password'"),
    ],
)
def test_a_source_that_cannot_be_reached_is_told(
    linked: Linked, changes: dict[str, Any], message: str, action: str
) -> None:
    parameters = {key: value for key, value in changes.items() if value is not None}
    before = linked.staged
    if None in changes.values():
        kept = {key: value for key, value in before["parameters"].items() if key not in changes}
        linked.staged = {**before, "parameters": kept}
    try:
        error = _refused(linked, **parameters)
    finally:
        linked.staged = before
    assert "could not ask the source on there" in error.message
    assert message in error.message
    assert action in error.action
    assert linked.source.password not in str(error)


def test_a_role_that_may_not_replicate_is_told_before_anything_is_made(linked: Linked) -> None:
    error = _refused(linked, sourceUser="clerk", stagingPath=directory(linked.host, "/srv/other"))
    assert "may not replicate" in error.message
    assert "REPLICATION" in error.action


def test_a_full_disk_is_told_and_the_next_sync_begins_anew(linked: Linked) -> None:
    mount = directory(linked.host, "/small/staging")
    for _ in range(2):
        error = _refused(linked, stagingPath=mount)
        assert "could not back up the source on there. The file system is full." in error.message
        assert "No space left" in error.output
    assert linked.linked("status") == "ACTIVE"


def test_another_major_version_is_refused(linked: Linked) -> None:
    with pytest.raises(PluginUserError, match=r"15\.\d+, staging would be 14"):
        linked.operations.run(
            "linked.pre_snapshot",
            staged_source=linked.staged,
            repository=OLDER,
            source_config=SOURCE_CONFIG,
        )


def test_programs_are_found_where_the_staging_host_has_them(linked: Linked) -> None:
    elsewhere = {**REPOSITORY, "binDirectory": "/opt/source/only/bin"}
    given = {"staged_source": linked.staged, "source_config": SOURCE_CONFIG}
    assert linked.operations.run("linked.status", repository=elsewhere, **given) == "ACTIVE"
    missing = {**elsewhere, "majorVersion": "9"}
    with pytest.raises(PluginUserError, match="programs are missing") as caught:
        linked.operations.run("linked.start_staging", repository=missing, **given)
    assert "Install" in caught.value.action


def test_a_copy_that_cannot_be_opened_is_told_and_nothing_keeps_running(linked: Linked) -> None:
    with linked.copy(linked.sync()) as virtual:

        def refused(**parameters: Any) -> PluginUserError:
            before = dict(virtual.parameters)
            virtual.parameters.update(parameters)
            with pytest.raises(PluginUserError) as caught:
                virtual.configure()
            assert virtual.run("status") == "INACTIVE"
            virtual.parameters = before
            return caught.value

        taken = refused(port=5432)
        assert "Another program listens" in taken.message
        assert "port 5432 is in use" in taken.output
        assert "'port'" in taken.action
        unknown = refused(settings={"shared_buffer": "1GB"})
        assert "does not understand a setting" in unknown.message
        assert "'settings'" in unknown.action
        assert "a library" in refused(settings={"shared_preload_libraries": "no_such"}).message
        with pytest.raises(PluginUserError, match="14 cannot open it"):
            linked.operations.run(
                "virtual.configure",
                virtual_source=virtual.source,
                repository=OLDER,
                snapshot=virtual.snapshot,
            )
        virtual.configure()
        assert virtual.run("status") == "ACTIVE"


def test_wal_that_is_gone_is_told_and_a_new_copy_helps(linked: Linked) -> None:
    linked.linked("stop_staging")
    for _ in range(2):
        linked.source.ask("CALL enter(10)")
        linked.source.ask("SELECT pg_switch_wal()")
        linked.source.ask("CHECKPOINT")
    error = _refused(linked)
    assert "has recycled the WAL" in error.message
    assert "resync=true" in error.action
    with linked.copy(linked.sync(resync=True)) as virtual:
        virtual.configure()
        assert virtual.entries() == linked.source.entries()


def test_the_checkpoint_of_a_sync_drops_no_wal_that_staging_lacks(linked: Linked) -> None:
    linked.source.ask("GRANT pg_checkpoint TO replicator")
    linked.linked("stop_staging")
    for _ in range(2):
        linked.source.ask("CALL enter(10)")
        linked.source.ask("SELECT pg_switch_wal()")
    try:
        with linked.copy(linked.sync()) as virtual:
            virtual.configure()
            assert virtual.entries() == linked.source.entries()
    finally:
        linked.source.ask("REVOKE pg_checkpoint FROM replicator")


def test_a_source_that_is_another_cluster_is_refused(linked: Linked) -> None:
    port = next(_PORTS)
    with linked.virtual(directory(linked.host, f"/srv/vdb {port}"), port) as other:
        linked.operations.run("virtual.initialize", virtual_source=other.source, repository=REPOSITORY)
        password = linked.source.password.replace("'", "''")
        linked.host.root(
            f"runuser -u engine -- psql -Xq -h '/tmp/dlpx-postgres-{other.source['guid']}' -p {port} "
            "-U postgres postgres <<'END'\n"
            f"CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{password}'\nEND"
        )
        error = _refused(linked, sourcePort=port)
    assert "not the cluster that staging is a copy of" in error.message
    assert "resync=true" in error.action
    linked.linked("stop_staging")
    linked.sync()
