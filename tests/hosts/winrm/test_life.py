"""The life of a dSource and a VDB on a Windows host: hooks, owners, mounts, credentials. Storage is real."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from containers.winrm.responder import Invocation, Reply
from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec, WindowsAccess
from dlpx_remote.engine_jobs import JobFailed
from dlpx_remote.engine_sources import Given, Hook, Script
from dlpx_remote.storage.initialise import PoolChoice, initialise
from dlpx_remote.store import Ledger, Settings, Store
from tests.hosts.sshd import Sshd
from tests.hosts.winrm.conftest import MATRIX, WindowsFactory
from tests.hosts.winrm.test_engine import FACTS, Disk, spec
from tests.hosts.winrm.windows import Windows
from tests.secret_scan import secret

PLUGIN = "Shares"
CONFIG = """\
id: 5f0d1c7e-6c1b-4a6e-9d0e-6f3c0a7d1e44
name: Shares
pluginType: DIRECT
hostTypes: [WINDOWS]
language: PYTHON311
entryPoint: "shares:plugin"
srcDir: src
schemaFile: schema.json
buildNumber: "1.0"
"""
CODE = r"""
from dlpx.virtualization import libs
from dlpx.virtualization.common import PasswordCredentials
from dlpx.virtualization.platform import *
from dlpx.virtualization.platform.exceptions import UserError
from generated.definitions import *

plugin = Plugin()


def run(connection, script, **variables):
    return libs.run_powershell(connection, script, variables, check=True).stdout.strip()


@plugin.discovery.repository()
def repositories(source_connection):
    return [RepositoryDefinition(name=run(source_connection, "find repository"))]


@plugin.discovery.source_config()
def source_configs(source_connection, repository):
    return [SourceConfigDefinition(path=run(source_connection, "find share"))]


@plugin.linked.pre_snapshot()
def pre_snapshot(direct_source, repository, source_config):
    login = direct_source.parameters.login
    if login is None:
        return
    found = libs.retrieve_credentials(login)
    if isinstance(found, PasswordCredentials):
        said = run(direct_source.connection, "log in", NAME=found.username, SECRET=found.password)
    else:
        said = run(direct_source.connection, "log in", NAME=found.username, SECRET=found.private_key,
                   PUBLIC=found.public_key)
    if said:
        raise UserError("The share refused: " + said)


@plugin.linked.post_snapshot()
def post_snapshot(direct_source, repository, source_config):
    return SnapshotDefinition(note=run(direct_source.connection, "look at " + source_config.path))


@plugin.virtual.mount_specification()
def mounts(virtual_source, repository):
    place = virtual_source.connection.environment
    where = [Mount(place, path) for path in virtual_source.parameters.paths]
    where += [Mount(each["environment"], each["path"]) for each in virtual_source.parameters.beside]
    owner = virtual_source.parameters.owner
    return MountSpecification(where, OwnershipSpecification(owner, owner) if owner else None)


@plugin.virtual.configure()
def configure(virtual_source, snapshot, repository):
    return SourceConfigDefinition(path=run(virtual_source.connection, "share it"))


@plugin.virtual.reconfigure()
def reconfigure(virtual_source, repository, source_config, snapshot):
    return SourceConfigDefinition(path=run(virtual_source.connection, "share it"))


@plugin.virtual.unconfigure()
def unconfigure(virtual_source, repository, source_config):
    run(virtual_source.connection, "unshare it")


@plugin.virtual.start()
def start(virtual_source, repository, source_config):
    run(virtual_source.connection, "share it")


@plugin.virtual.stop()
def stop(virtual_source, repository, source_config):
    run(virtual_source.connection, "unshare it")


@plugin.virtual.status()
def status(virtual_source, repository, source_config):
    return Status.ACTIVE if run(virtual_source.connection, "is it shared") == "yes" else Status.INACTIVE


@plugin.virtual.post_snapshot()
def virtual_post_snapshot(virtual_source, repository, source_config):
    return SnapshotDefinition(note=run(virtual_source.connection, "look at " + source_config.path))
"""


def _object(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    fixed = {"type": "object", "additionalProperties": False}
    return {**fixed, "properties": properties, "required": list(required), **more}


TEXT = {"type": "string"}
SUPPLIER = {"$ref": "https://delphix.com/platform/api#/definitions/credentialsSupplier"}
SCHEMA = {
    "repositoryDefinition": _object({"name": TEXT}, "name", identityFields=["name"], nameField="name"),
    "sourceConfigDefinition": _object({"path": TEXT}, "path", identityFields=["path"], nameField="path"),
    "linkedSourceDefinition": _object({"login": SUPPLIER}),
    "virtualSourceDefinition": _object(
        {
            "paths": {"type": "array", "items": TEXT, "default": []},
            "beside": {"type": "array", "items": {"type": "object"}, "default": []},
            "owner": {"type": "integer"},
        },
        "paths",
        "beside",
    ),
    "snapshotDefinition": _object({"note": TEXT}),
}
SHARE = "D:\\Daten\\Bücher"


class Site:
    """A Windows host with a share, and an engine with storage.

    Attributes:
        windows: the host.
        engine: opened.
        logins: variables of the scripts that logged in.
        shared: whether the VDB's service runs.
    """

    def __init__(self, root: Path, windows: Windows, engine: Engine) -> None:
        self.root = root
        self.windows = windows
        self.engine = engine
        self.logins: list[dict[str, str]] = []
        self.shared = False
        self.refuses = False
        Disk(windows)
        windows.script("CurrentVersion", Reply(stdout=FACTS))
        windows.script("^find repository$", Reply(stdout="Shares of WIN1\r\n"))
        windows.script("^find share$", Reply(stdout=f"{SHARE}\r\n"))
        windows.script("^look at ", lambda run: Reply(stdout=run.script.removeprefix("look at ")))
        windows.script("^log in$", self._log_in)
        windows.script("^(un)?share it$", self._share)
        windows.script("^is it shared$", lambda _: Reply(stdout="yes" if self.shared else "no"))

    def _log_in(self, run: Invocation) -> Reply:
        self.logins.append(dict(run.variables))
        return Reply(stdout=f"no {run.variables['SECRET']} here" if self.refuses else "")

    def _share(self, run: Invocation) -> Reply:
        self.shared = run.script == "share it"
        return Reply(stdout="E:\\clone")

    def link(self, login: dict[str, str] | None = None) -> None:
        parameters = Given({"login": login} if login else {})
        jobs, dsources = self.engine.jobs, self.engine.dsources
        jobs.result(dsources.link("books", "win1", SHARE, plugin=PLUGIN, parameters=parameters))

    def sync(self, **more: Any) -> str:
        job = self.engine.dsources.sync("books", **more)
        self.engine.jobs.result(job)
        return job

    def provision(self, name: str = "clone", hooks: tuple[Hook, ...] = (), **values: Any) -> str:
        job = self.engine.vdbs.provision(name, "books", "win1", parameters=Given(values), hooks=hooks)
        self.engine.jobs.result(job)
        return job

    def volumes(self) -> set[str]:
        return {path.name for path in (self.root / "pool" / "volumes").iterdir()}

    def ledger(self) -> set[str]:
        store = Store(self.root / "state")
        try:
            return {f"{entry.kind} {entry.name}" for entry in Ledger(store).entries()}
        finally:
            store.close()

    def said(self, job: str) -> str:
        return "\n".join(line.line for line in self.engine.jobs.lines(job))


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, password: str, windows_with: WindowsFactory
) -> Iterator[Site]:
    """With the plugin added and everything found; over HTTPS with NTLM unless a test says otherwise."""
    chosen: Any = getattr(request, "param", ("https", "ntlm"))
    scheme, authentication = chosen
    store = Store(tmp_path / "state")
    initialise(PoolChoice(tmp_path / "pool", "copy"), Settings(store), Ledger(store))
    store.close()
    source = tmp_path / "plugin" / "src"
    source.mkdir(parents=True)
    (tmp_path / "plugin" / "plugin_config.yml").write_text(CONFIG)
    (tmp_path / "plugin" / "schema.json").write_text(json.dumps(SCHEMA))
    (source / "shares.py").write_text(CODE)
    with (
        windows_with(scheme=scheme, authentication=authentication) as windows,
        Engine(tmp_path / "state") as engine,
    ):
        ca_file = None if windows.target.ca_file is None else str(windows.target.ca_file)
        access = WindowsAccess(scheme, authentication, ca_file, unencrypted=windows.target.unencrypted)
        site = Site(tmp_path, windows, engine)
        engine.add_environment(replace(spec(windows, tmp_path / "password", password), windows=access))
        engine.add_plugin(tmp_path / "plugin")
        report = engine.discover()
        assert not report.failed, [result.failure for result in report.results]
        yield site


def test_powershell_hooks_run_around_a_sync_and_in_a_clone(site: Site) -> None:
    said: list[str] = []

    def hook(run: Invocation) -> Reply:
        said.append(run.script)
        return Reply(stdout="said by the hook: ä\r\n", stderr="and this\r\n")

    site.windows.script("# hook", hook)
    site.link()
    around = [
        Hook(event, event, Script("powershell", script="# hook")) for event in ("pre-sync", "post-sync")
    ]
    job = site.sync(hooks=around)
    assert "said by the hook: ä" in site.said(job)
    assert "and this" in site.said(job)
    own = Hook("configure-clone", "own", Script("powershell", script="# hook in 'the clone'"))
    site.provision(hooks=(own,))
    site.engine.jobs.result(site.engine.vdbs.refresh("clone"))  # its own hook runs again
    assert [script.rpartition("; ")[2] for script in said] == ["# hook"] * 2 + ["# hook in 'the clone'"] * 2
    assert "$env:DLPX_HOOK = 'pre-sync'; " in said[0]
    assert "$env:DLPX_NAME = 'clone'; " in said[2]
    assert '$env:DLPX_SOURCE_CONFIG = \'{"path": "E:\\\\clone"}\'; ' in said[2]
    assert "$env:DLPX_MOUNT_PATH = ''; " in said[2]


def test_a_hook_that_cannot_be_or_fails_fails_the_job(site: Site) -> None:
    site.windows.script("exit 7", Reply(stdout="told\r\n", exit_code=7))
    site.windows.script("hang", Reply(hangs=True))
    site.link()
    for script, part in (
        (Script("powershell", script="exit 7 # hook"), "with exit code 7"),
        (Script("bash", script="true"), "Bash scripts run on Unix hosts; 127.0.0.1 is a Windows host"),
        (Script("expect", script="exit"), "Expect scripts run on Unix hosts; 127.0.0.1 is a Windows host"),
        (Script("powershell", script="hang # hook", timeout=1), "did not finish within 1 s"),
    ):
        with pytest.raises(JobFailed, match=part):
            site.sync(hooks=[Hook("pre-sync", "bad", script)])
        assert site.engine.snapshots.all("books") == []
        assert site.windows.host.counts.commands_running == 0
    site.sync()


@pytest.mark.parametrize("site", MATRIX, ids=["-".join(each) for each in MATRIX], indirect=True)
def test_a_clone_lives_and_ends_and_ownership_means_nothing(site: Site) -> None:
    site.link()
    site.sync()
    before = site.ledger()
    vdbs, jobs = site.engine.vdbs, site.engine.jobs
    site.provision(owner=4321)
    assert site.shared
    jobs.result(vdbs.snapshot("clone"))
    assert [snapshot.value for snapshot in site.engine.snapshots.all("clone")][-1] == {"note": "E:\\clone"}
    for step, state in ((vdbs.stop, False), (vdbs.start, True), (vdbs.disable, False), (vdbs.enable, True)):
        jobs.result(step("clone"))
        assert site.shared is state
    jobs.result(vdbs.delete("clone"))
    assert not site.shared
    assert site.ledger() == before


def test_an_nfs_mount_is_refused_with_the_reason_and_nothing_is_left(site: Site) -> None:
    site.link()
    site.sync()
    volumes, ledger = site.volumes(), site.ledger()
    reason = r"win1 is a Windows host; .* mounts data sets by NFS on Unix hosts"
    owners: tuple[dict[str, Any], ...] = ({}, {"owner": 4321})
    for owner in owners:
        with pytest.raises(JobFailed, match=reason):
            site.provision(paths=["E:\\clone"], **owner)
    assert not site.shared
    assert site.engine.vdbs.all() == []
    assert (site.volumes(), site.ledger()) == (volumes, ledger)


def test_a_mount_on_a_unix_host_beside_is_for_the_owner_that_is_named(site: Site, tmp_path: Path) -> None:
    site.link()
    site.sync()
    (tmp_path / "sshd").mkdir()
    (tmp_path / "targets").mkdir()
    path = tmp_path / "targets" / "clone"
    with Sshd(tmp_path / "sshd", ["UsePAM no"], quick=True) as server:
        added = site.engine.add_environment(
            EnvironmentSpec(
                "db1",
                server.address,
                server.user,
                port=server.port,
                authentication=Authentication(key=str(server.user_key)),
                fingerprint=server.fingerprint(),
                directory=str(tmp_path / "unix"),
                privilege="none" if os.geteuid() == 0 else "sudo",
            )
        )
        beside = [{"environment": added.reference, "path": str(path)}]
        with pytest.raises(
            JobFailed, match=r"no user and group number .* Have the plugin return an Ownership"
        ):
            site.provision(beside=beside)
        site.provision(beside=beside, owner=4321)
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4321)
        site.engine.jobs.result(site.engine.vdbs.delete("clone"))
        assert not path.exists()


def test_credentials_that_an_operator_names_reach_the_script_and_nobody_else(
    site: Site, tmp_path: Path
) -> None:
    word = secret("what a Windows share is opened with")
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in (("word", word), ("key", key.decode())):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    password = {"type": "NamedPasswordCredential", "username": "svc", "password": f"file:{tmp_path / 'word'}"}
    pair = {"type": "NamedKeyPairCredential", "username": "svc", "privateKey": f"file:{tmp_path / 'key'}"}
    for login in (password, pair):
        site.link(login)
        site.sync()
        (found,) = site.logins
        given = found.pop("SECRET")
        assert given.strip() == (word if login is password else key.decode().strip())
        if login is pair:
            assert found.pop("PUBLIC").startswith("ssh-ed25519 ")  # of the private one, where none is given
        assert found == {"NAME": "svc"}
        site.refuses = True
        job = site.engine.dsources.sync("books")
        with pytest.raises(JobFailed, match=r"(?s)The share refused: no .* here") as caught:
            site.engine.jobs.result(job)
        said = f"{caught.value}{site.said(job)}"
        assert not any(line in said for line in given.splitlines())
        site.refuses = False
        site.engine.jobs.result(site.engine.dsources.delete("books"))
        site.logins.clear()
    commands = [each.request.decode() for each in site.windows.host.exchanges if each.action == "Command"]
    assert commands
    assert not any(part in command for command in commands for part in (word, key.decode().splitlines()[1]))
