"""Hooks, staged linking, cancelling and refusals, through the engine's Python API, on a real host."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine import AlreadyExists, Engine, InvalidRequest, NotFound
from dlpx_remote.engine_jobs import Busy, JobFailed
from dlpx_remote.engine_sources import Asked, Given, Hook, HookTemplate, Script, SourceInUse, WrongState
from dlpx_remote.workflows import removal, switching
from dlpx_remote.workflows.operating import Operation
from dlpx_remote.workflows.sources import Footing, SizeUnknown
from tests.hosts.lifecycle.site import NOTHING, Site
from tests.hosts.sshd import Sshd

ENVIRONMENT = "here"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for all tests here, with a dSource and its snapshot."""
    root = tmp_path_factory.mktemp("operations")
    (root / "sshd").mkdir()
    (root / "site").mkdir()
    with Sshd(root / "sshd", ["UsePAM no"], quick=True) as server:
        site = Site(root / "site")
        site.prepare(server)
        with site.open() as engine:
            _link(engine, site, "orders")
            engine.jobs.result(engine.dsources.sync("orders"))
        yield site
        left = site.mounts()
        site.unmount_all()
    assert left == []


@pytest.fixture
def engine(shared: Site) -> Iterator[Engine]:
    with shared.open() as engine:
        yield engine


def _link(engine: Engine, site: Site, name: str, plugin: str = "Trees", **more: object) -> None:
    source = str(site.sources / "orders")
    engine.jobs.result(engine.dsources.link(name, ENVIRONMENT, source, plugin=plugin, **more))  # type: ignore[arg-type]


def _path(site: Site, name: str) -> Given:
    return Given({}, {"path": str(site.targets / name)})


class TestHooks:
    def test_bash_sees_what_it_runs_for_and_what_it_prints_goes_into_the_job(
        self, engine: Engine, shared: Site
    ) -> None:
        said = 'echo "$DLPX_HOOK of $DLPX_NAME at $DLPX_MOUNT_PATH with $DLPX_SOURCE_CONFIG in $DLPX_JOB"'
        hook = Hook("configure-clone", "say", Script(script=f'{said}; touch "$DLPX_MOUNT_PATH/hooked"'))
        job = engine.vdbs.provision(
            "hooked", "orders", ENVIRONMENT, parameters=_path(shared, "hooked"), hooks=[hook]
        )
        engine.jobs.result(job)
        path = shared.targets / "hooked"
        lines = [line.line for line in engine.jobs.lines(job)]
        assert f'configure-clone of hooked at {path} with {{"path": "{path}"}} in {job}' in lines
        assert (path / "hooked").exists()
        assert [(each.event, each.name) for each in engine.hooks.of("hooked")] == [("configure-clone", "say")]
        engine.jobs.result(engine.vdbs.refresh("hooked"))  # its own hook runs again
        assert (path / "hooked").exists()
        engine.jobs.result(engine.vdbs.delete("hooked"))

    def test_expect_and_login_shells_run(self, engine: Engine, shared: Site) -> None:
        file = shared.root / "said by expect"
        script = (
            f'set file [open "{file}" w]\nputs $file "$env(DLPX_NAME) $env(DLPX_SOURCE_CONFIG)"\nclose $file'
        )
        login = Script("bash", True, f"shopt -q login_shell && echo login >>'{file}'")
        hooks = [Hook("pre-sync", "e", Script("expect", False, script)), Hook("post-sync", "l", login)]
        engine.jobs.result(engine.dsources.sync("orders", hooks=hooks))
        assert file.read_text() == "orders {}\nlogin\n"

    def test_a_hook_that_fails_hangs_or_prints_100_mb_fails_the_job(
        self, engine: Engine, shared: Site
    ) -> None:
        before, snapshots = shared.left(), len(engine.snapshots.all("orders"))
        for script, said in (
            (Script(script="echo told; exit 7"), "exit code 7"),
            (Script(script="sleep 60", timeout=1), "within 1 s"),
            (Script(script="head -c 100000000 /dev/zero | tr '\\0' x"), "wrote more than"),
        ):
            with pytest.raises(JobFailed) as caught:
                engine.jobs.result(engine.dsources.sync("orders", hooks=[Hook("pre-sync", "bad", script)]))
            assert said in str(caught.value)
            with pytest.raises(JobFailed, match=said):
                engine.jobs.result(
                    engine.vdbs.provision(
                        "bad",
                        "orders",
                        ENVIRONMENT,
                        parameters=_path(shared, "bad"),
                        hooks=[Hook("configure-clone", "bad", script)],
                    )
                )
        assert len(engine.snapshots.all("orders")) == snapshots
        assert shared.left() == before

    def test_templates_run_as_they_are_at_that_time(self, engine: Engine, shared: Site) -> None:
        file = shared.root / "said by template"
        engine.hooks.set_template(HookTemplate("tell", Script(script="exit 9")))
        engine.hooks.add("orders", Hook("post-sync", "tell", template="tell"))
        engine.hooks.set_template(HookTemplate("tell", Script(script=f"echo told >>'{file}'")))
        engine.jobs.result(engine.dsources.sync("orders"))
        assert file.read_text() == "told\n"
        with pytest.raises(InvalidRequest, match="used by hooks of orders"):
            engine.hooks.remove_template("tell")
        engine.hooks.remove("orders", "tell")
        engine.hooks.remove_template("tell")
        assert engine.hooks.templates() == []

    @pytest.mark.parametrize(
        ("hook", "said"),
        [
            (Hook("pre-refresh", "x", Script(script="true")), "There is no hook 'pre-refresh' for a dSource"),
            (Hook("pre-sync", "x", Script(script=" ")), "must not be empty"),
            (Hook("pre-sync", "x", Script("expect", True, "exit")), "Only bash"),
            (Hook("pre-sync", "x", Script("perl", False, "exit")), "no interpreter 'perl'"),  # type: ignore[arg-type]
            (Hook("pre-sync", "x", Script(script="true", timeout=0)), "at least one second"),
            (Hook("pre-sync", "/", Script(script="true")), "cannot be the name of a hook"),
            (Hook("pre-sync", "x", template="nobody"), "no hook template named 'nobody'"),
        ],
    )
    def test_a_hook_that_cannot_be_is_refused(self, engine: Engine, hook: Hook, said: str) -> None:
        with pytest.raises(InvalidRequest, match=said):
            engine.hooks.add("orders", hook)
        with pytest.raises(InvalidRequest, match=said):
            engine.dsources.sync("orders", hooks=[hook])


class TestStaged:
    def test_a_staged_dsource_lives_and_leaves_nothing(self, engine: Engine, shared: Site) -> None:
        before = shared.left()
        staging = shared.targets / "staging"
        _link(
            engine, shared, "staged", "Staged trees", staging=ENVIRONMENT, parameters=_path(shared, "staging")
        )
        engine.jobs.result(engine.dsources.sync("staged"))
        assert (staging / "row1").read_text() == "orders 1"
        assert engine.dsources.status("staged") == "ACTIVE"
        engine.jobs.result(engine.dsources.sync("staged"))
        (staging / "STAGING").unlink()
        assert engine.dsources.status("staged") == "INACTIVE"
        now = datetime.now(UTC)
        for seconds in (0, 1):  # the second time it is not due yet
            with ThreadPoolExecutor() as pool:
                engine.schedules.tick(now + timedelta(seconds=seconds), pool, list[str]().append)
        (job,) = (one for one in engine.jobs.all() if one.operation == "dsource worker")
        engine.jobs.result(job.reference)
        assert engine.dsources.status("staged") == "ACTIVE"
        command = ["--state", str(shared.state), "dsource", "configure", "staged", "--interval"]
        assert main([*command, "5"]) == 0
        assert engine.dsources.get("staged").interval == 5
        assert main([*command, "0"]) == 2
        for seconds in (2, 4):  # of an interval of a minute nothing would be due yet
            with ThreadPoolExecutor() as pool:
                engine.schedules.tick(now + timedelta(seconds=seconds), pool, list[str]().append)
        (_, job) = (one for one in engine.jobs.all() if one.operation == "dsource worker")
        engine.jobs.result(job.reference)
        with pytest.raises(InvalidRequest, match="linked directly: it has no staging worker"):
            engine.dsources.configure("orders", interval=5)
        engine.jobs.result(engine.dsources.disable("staged"))
        assert str(staging) not in shared.mounts()
        engine.jobs.result(engine.dsources.enable("staged"))
        assert (staging / "STAGING").exists()
        clone = engine.vdbs.provision("of-staged", "staged", ENVIRONMENT, parameters=_path(shared, "clone"))
        engine.jobs.result(clone)
        assert (shared.targets / "clone" / "row1").read_text() == "orders 1"
        engine.jobs.result(engine.dsources.delete("staged", force=True))
        assert shared.left() == before


class TestSize:
    def test_the_size_is_asked_of_the_plugin_and_shown_from_then_on(
        self, engine: Engine, shared: Site
    ) -> None:
        engine.jobs.result(
            engine.vdbs.provision("sized", "orders", ENVIRONMENT, parameters=_path(shared, "sized"))
        )
        (shared.targets / "sized" / "more").write_text("x" * 5000)
        assert engine.vdbs.get("sized").size is None
        said = engine.vdbs.size("sized")
        assert 5000 < said < 5100
        assert engine.vdbs.get("sized").size == said
        with pytest.raises(SizeUnknown, match=r"its plugin, Trees, has no linked\.source_size"):
            engine.dsources.size("orders")
        engine.jobs.result(engine.vdbs.delete("sized"))


class TestRefusals:
    def test_what_is_named_must_be_there_and_fit(self, engine: Engine, shared: Site) -> None:
        orders = str(shared.sources / "orders")
        with pytest.raises(InvalidRequest, match="2 source configs named"):
            engine.dsources.link("x", ENVIRONMENT, orders)
        with pytest.raises(NotFound, match="source config on here"):
            engine.dsources.link("x", ENVIRONMENT, "/nowhere")
        with pytest.raises(AlreadyExists, match="dSource named 'orders'"):
            engine.dsources.link("orders", ENVIRONMENT, orders, plugin="Trees")
        with pytest.raises(InvalidRequest, match="cannot be the name"):
            engine.dsources.link("VDB-9", ENVIRONMENT, orders, plugin="Trees")
        with pytest.raises(InvalidRequest, match="through a staging environment, and none was named"):
            engine.dsources.link("x", ENVIRONMENT, orders, plugin="Staged trees")
        with pytest.raises(InvalidRequest, match="it has no staging environment"):
            engine.dsources.link("x", ENVIRONMENT, orders, plugin="Trees", staging=ENVIRONMENT)
        with pytest.raises(InvalidRequest, match="interval"):
            engine.dsources.link("x", ENVIRONMENT, orders, plugin="Trees", interval=0)
        with pytest.raises(InvalidRequest, match=r"\$: .*path"):
            engine.vdbs.provision("x", "orders", ENVIRONMENT)
        with pytest.raises(NotFound, match="snapshot or source"):
            engine.vdbs.provision("x", "SNAPSHOT-999", ENVIRONMENT)
        with pytest.raises(NotFound, match="repository on here"):
            engine.vdbs.provision("x", "orders", ENVIRONMENT, repository="no", parameters=_path(shared, "x"))
        with pytest.raises(InvalidRequest, match="orders is a dSource, not a VDB"):
            engine.vdbs.start("orders")
        with pytest.raises(InvalidRequest, match="is no reference of a snapshot"):
            engine.snapshots.delete("orders")
        with pytest.raises(WrongState, match="is enabled, not disabled"):
            engine.dsources.enable("orders")
        with pytest.raises(SourceInUse, match="here is still needed by orders"):
            engine.remove_environment(ENVIRONMENT)

    def test_refresh_and_rollback_take_the_snapshots_that_fit(self, engine: Engine, shared: Site) -> None:
        engine.jobs.result(
            engine.vdbs.provision("fit", "orders", ENVIRONMENT, parameters=_path(shared, "fit"))
        )
        own = engine.snapshots.all("fit")[0].reference
        with pytest.raises(InvalidRequest, match=f"vdb rollback fit --to {own}"):
            engine.vdbs.refresh("fit", own)
        with pytest.raises(InvalidRequest, match="vdb refresh fit --from"):
            engine.vdbs.rollback("fit", "orders")
        with pytest.raises(WrongState, match="nothing to undo"):
            engine.vdbs.undo("fit")
        with pytest.raises(SourceInUse, match="the VDB fit"):
            engine.dsources.delete("orders")
        engine.jobs.result(engine.vdbs.rollback("fit"))
        job = engine.vdbs.refresh("fit")  # from what it was provisioned from, though it was rolled back
        assert engine.jobs.result(job)["snapshot"] == engine.snapshots.get("orders").reference
        engine.jobs.result(engine.vdbs.delete("fit"))

    def test_an_empty_vdb_is_made_where_the_plugin_can(self, engine: Engine, shared: Site) -> None:
        engine.jobs.result(
            engine.vdbs.create_empty("fresh", "Trees", ENVIRONMENT, parameters=_path(shared, "fresh"))
        )
        assert (shared.targets / "fresh" / "RUNNING").exists()
        with pytest.raises(InvalidRequest, match="made empty, of no snapshot"):
            engine.vdbs.refresh("fresh")
        engine.jobs.result(engine.vdbs.delete("fresh"))


class TestJobs:
    def test_a_job_that_is_cancelled_ends_the_hook_that_runs_and_is_undone(
        self, engine: Engine, shared: Site
    ) -> None:
        before = shared.left()
        sleeping = shared.root / "sleeping"
        hook = Hook("configure-clone", "hang", Script(script=f"echo $$ >'{sleeping}'; sleep 300"))
        job = engine.vdbs.provision(
            "hung", "orders", ENVIRONMENT, parameters=_path(shared, "hung"), hooks=[hook]
        )
        deadline = time.monotonic() + 60
        while not (sleeping.exists() and sleeping.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(AlreadyExists, match="VDB named 'hung'"):
            engine.vdbs.provision("hung", "orders", ENVIRONMENT, parameters=_path(shared, "other"))
        with pytest.raises(Busy, match=job):
            engine.vdbs.delete("hung", asked=Asked(wait=False))
        engine.jobs.cancel(job)
        ended = engine.jobs.follow(job, timeout=60)
        assert ended.state == "cancelled"
        assert ended.failure is not None
        assert "was cancelled; it was ended there" in ended.failure.message
        assert not _runs(int(sleeping.read_text()))
        assert shared.left() == before

    def test_a_second_provision_at_the_same_mount_path_is_refused_and_leaves_nothing(
        self, engine: Engine, shared: Site
    ) -> None:
        going, go = shared.root / "going", shared.root / "go"
        hook = Hook(
            "configure-clone",
            "wait",
            Script(script=f"touch '{going}'; until [ -e '{go}' ]; do sleep 0.1; done"),
        )
        first = engine.vdbs.provision(
            "here", "orders", ENVIRONMENT, parameters=_path(shared, "both"), hooks=[hook]
        )
        deadline = time.monotonic() + 60
        while not going.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = shared.left()
        second = engine.vdbs.provision(
            "there", "orders", ENVIRONMENT, parameters=Given({}, {"path": f"{shared.targets}//both/"})
        )
        with pytest.raises(
            JobFailed,
            match=rf"{first} \(provision the VDB here .*\) holds mount {ENVIRONMENT}:.*/both, which",
        ):
            engine.jobs.result(second)
        assert engine.jobs.get(second).state == "compensated"
        assert shared.left() == before
        go.touch()
        engine.jobs.result(first)
        with pytest.raises(JobFailed, match=r"/both on here is taken by VDB-\d+"):
            engine.jobs.result(
                engine.vdbs.provision("there", "orders", ENVIRONMENT, parameters=_path(shared, "both"))
            )
        engine.jobs.result(engine.vdbs.delete("here"))

    @pytest.mark.parametrize("asked", ["provision", "refresh"])
    def test_a_job_that_is_cancelled_ends_the_script_of_a_plugin_operation_and_is_undone(
        self, engine: Engine, shared: Site, asked: str
    ) -> None:
        hang = shared.root / "hang"
        provision = partial(
            engine.vdbs.provision, "slow", "orders", ENVIRONMENT, parameters=_path(shared, "slow")
        )
        if asked == "refresh":
            engine.jobs.result(provision())
            (shared.targets / "slow" / "mine").write_text("mine")
        before = shared.left()
        hang.touch()
        job = provision() if asked == "provision" else engine.vdbs.refresh("slow")
        deadline = time.monotonic() + 60
        while not hang.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process = int(hang.read_text())
        hang.unlink()
        engine.jobs.cancel(job)
        ended = engine.jobs.follow(job, timeout=60)
        assert ended.state == "cancelled"
        assert ended.failure is not None
        assert "was cancelled; it was ended there" in ended.failure.message
        assert not _runs(process)
        assert shared.left() == before
        if asked == "refresh":
            assert (shared.targets / "slow" / "mine").exists()
            assert engine.vdbs.status("slow") == "ACTIVE"
            engine.jobs.result(engine.vdbs.delete("slow"))

    def test_a_snapshot_is_not_deleted_while_a_refresh_reads_it(self, engine: Engine, shared: Site) -> None:
        for name in ("reads", "too"):
            engine.jobs.result(
                engine.vdbs.provision(name, "orders", ENVIRONMENT, parameters=_path(shared, name))
            )
        newer = engine.jobs.result(engine.dsources.sync("orders"))["snapshot"]
        gates = [_Gate(shared, name) for name in ("reads", "too")]
        first, second = (
            engine.vdbs.refresh(gate.name, newer, hooks=[gate.hook("pre-refresh")]) for gate in gates
        )
        for gate in gates:
            gate.wait()  # both read it at once
        assert engine.jobs.get(first).holds[-2:] == (f"{newer} (shared)", "snapshots of DSOURCE-1 (shared)")
        with pytest.raises(Busy, match=rf"{first} \(refresh the VDB reads\) holds {newer}, which delete"):
            engine.snapshots.delete(newer, asked=Asked(wait=False))
        deletions = [engine.snapshots.delete(newer), engine.dsources.delete("orders", force=True)]
        waits = engine.jobs.follow(deletions[0], timeout=1).waits_for
        assert [each for each in waits if each[0] == newer] == [(newer, first), (newer, second)]
        engine.jobs.cancel(deletions[1])
        for gate, job in zip(gates, (first, second), strict=True):
            gate.open()
            engine.jobs.result(job)
        with pytest.raises(JobFailed, match=f"{newer} is still needed by the VDB reads, the VDB too"):
            engine.jobs.result(deletions[0])
        assert [each.state for each in engine.snapshots.all("orders") if each.reference == newer] == ["ready"]
        for gate in gates:
            engine.jobs.result(engine.vdbs.delete(gate.name))
        engine.jobs.result(engine.snapshots.delete(newer))

    def test_a_forced_deletion_takes_along_what_is_being_provisioned_when_that_is_whole(
        self, engine: Engine, shared: Site
    ) -> None:
        before = shared.left()
        _link(engine, shared, "short")
        engine.jobs.result(engine.dsources.sync("short"))
        gate = _Gate(shared, "made")
        hooks = [gate.hook("configure-clone")]
        path = _path(shared, "made")
        provision = engine.vdbs.provision("made", "short", ENVIRONMENT, parameters=path, hooks=hooks)
        deletion = engine.dsources.delete("short", force=True)  # perhaps before that VDB is recorded
        gate.wait()
        assert engine.jobs.get(deletion).state == "queued"
        gate.open()
        engine.jobs.result(provision)
        assert engine.jobs.result(deletion) == {"deleted": ["made", "short"]}
        assert shared.left() == before

    def test_a_refresh_that_is_cancelled_once_it_has_switched_succeeds_and_says_so(
        self, engine: Engine, shared: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.jobs.result(
            engine.vdbs.provision("late", "orders", ENVIRONMENT, parameters=_path(shared, "late"))
        )
        engine.jobs.result(engine.vdbs.refresh("late"))
        (shared.targets / "late" / "mine").write_text("mine")

        def cancelled_then(operation: Operation, footing: Footing) -> None:
            engine.jobs.cancel(operation.job.reference)
            removal.retire(operation, footing)

        monkeypatch.setattr(switching, "retire", cancelled_then)
        job = engine.vdbs.refresh("late")
        ended = engine.jobs.follow(job, timeout=60)
        assert ended.state == "succeeded"
        said = f"It was too late to cancel {job}: the new state of late is in force."
        assert engine.jobs.lines(job)[-1].line == said
        assert not (shared.targets / "late" / "mine").exists()
        assert engine.vdbs.status("late") == "ACTIVE"
        engine.jobs.result(engine.vdbs.delete("late"))

    def test_what_is_broken_can_be_deleted_with_force_when_the_cause_is_gone_and_its_name_used_again(
        self, engine: Engine, shared: Site
    ) -> None:
        before, held = shared.left(), shared.root / "held"
        held.mkdir()
        script = f'mount --bind "$(ls -d {shared.pool}/volumes/VDB-* | tail -1)" {held}; exit 1'
        hooks = [Hook("configure-clone", "hold", Script(script=script))]
        provision = partial(
            engine.vdbs.provision, "stuck", "orders", ENVIRONMENT, parameters=_path(shared, "stuck")
        )
        with pytest.raises(JobFailed, match="hold"):
            engine.jobs.result(provision(hooks=hooks))
        assert engine.vdbs.get("stuck").state == "broken"
        with pytest.raises(WrongState, match="Delete it: dlpx-remote vdb delete stuck --force"):
            engine.vdbs.enable("stuck")
        job = engine.jobs.follow(engine.vdbs.delete("stuck", force=True))
        assert any(f"still in use by mount {held}" in line.line for line in engine.jobs.lines(job.reference))
        assert engine.vdbs.get("stuck").state == "broken"
        subprocess.run(["umount", str(held)], check=True)
        engine.jobs.result(engine.vdbs.delete("stuck", force=True))
        assert shared.left() == before
        engine.jobs.result(provision())
        engine.jobs.result(engine.vdbs.delete("stuck"))

    def test_two_jobs_on_one_dsource_run_one_after_the_other(self, engine: Engine) -> None:
        jobs = [engine.dsources.sync("orders") for _ in range(2)]
        results: list[object] = []
        threads = [
            threading.Thread(target=lambda job=job: results.append(engine.jobs.result(job))) for job in jobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        first, second = (engine.jobs.get(job) for job in jobs)
        assert first.finished is not None
        assert second.started is not None
        assert first.finished <= second.started
        assert len(results) == 2


class _Gate:
    """A hook that waits on the host until the test lets it go on."""

    def __init__(self, site: Site, name: str) -> None:
        self.name = name
        self._going, self._go = site.root / f"{name} is going", site.root / f"{name} may go"

    def hook(self, event: str) -> Hook:
        """At a point of an operation."""
        script = f"touch '{self._going}'; until [ -e '{self._go}' ]; do sleep 0.1; done"
        return Hook(event, f"wait-{self.name}", Script(script=script))

    def wait(self) -> None:
        """Until it has come."""
        deadline = time.monotonic() + 60
        while not self._going.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def open(self) -> None:
        """Let it go on."""
        self._go.touch()


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_at_the_end_nothing_is_left(shared: Site, engine: Engine) -> None:
    engine.jobs.result(engine.dsources.delete("orders"))
    assert shared.left() == NOTHING
