"""Everything on an engine as commands, run in bash on an empty state: the same objects come of it."""

from __future__ import annotations

import subprocess

import pytest

from dlpx_remote.cli import main
from dlpx_remote.engine import Authentication
from dlpx_remote.engine_credentials import Credential
from dlpx_remote.engine_mounts import NfsChoice
from dlpx_remote.engine_schedules import Retention
from dlpx_remote.engine_sources import Given, Hook, HookTemplate, Script
from dlpx_remote.environments.model import SecretReference
from tests.hosts.lifecycle.site import Site

ASK_US = r"""
dlpx-remote() {
    local code
    printf '%s\0' "$#" "${@/#\/dev\/fd\//\/proc\/$$\/fd\/}"  # what <(…) is, seen from elsewhere
    read -r code
    return "$code"
}
set -e
"""
MASK = "echo \"it's $DLPX_HOOK\" > /dev/null\ntrue # 'quoted' \\ ä"


def in_bash(site: Site, script: str) -> None:
    """Bash reads the script; each command in it is run in this process, as starting one takes longer."""
    with subprocess.Popen(
        ["bash", "-c", ASK_US + script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bash:
        asks, answers = bash.stdout, bash.stdin
        assert asks is not None
        assert answers is not None

        def word() -> str:
            found = b""
            while (byte := asks.read(1)) not in (b"", b"\0"):
                found += byte
            return found.decode()

        while count := word():
            words = [word() for _ in range(int(count))]
            assert main(["--state", str(site.state), *words]) == 0, words
            answers.write(b"0\n")
            answers.flush()
    assert bash.returncode == 0


def test_the_commands_make_the_same_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def exported(*words: str) -> list[str]:
        assert main(["--state", str(site.state), "export", *words]) == 0
        return capsys.readouterr().out.splitlines()

    def shown() -> list[str]:
        """As it is exported, less where the copies of plugins lie."""
        return [line for line in exported() if " plugin add " not in line]

    with site.open() as engine:
        engine.mounts.nfs.configure(
            NfsChoice("kernel", address="198.51.100.7", any_port=True)  # which nothing here is served by
        )
        result = engine.jobs.result
        engine.credentials.add(
            Credential("shop", "password", SecretReference("env", "A B".replace(" ", "_")), username="anna")
        )
        engine.add_user("here", "second", Authentication(password_from=SecretReference("credential", "shop")))
        engine.hooks.set_template(HookTemplate("tell", Script("bash", True, MASK, 30)))
        result(engine.dsources.link("orders", "here", str(site.sources / "orders"), plugin="Trees"))
        result(engine.dsources.sync("orders"))
        path = Given({"path": str(site.targets / "one")})
        hooks = [
            Hook("configure-clone", "mask it", Script(script=MASK)),
            Hook("post-start", "tell", template="tell"),
        ]
        result(engine.vdbs.provision("one", "orders", "here", parameters=path, hooks=hooks))
        result(engine.vdbs.stop("one"))
        engine.schedules.add("orders", "retention", "30 3 * * *", retention=Retention(14, 30))
        off = engine.schedules.add("one", "status", "*/5 * * * *", zone="Europe/Berlin")
        engine.schedules.enable(off.reference, False)
    before, commands = shown(), exported()
    assert exported("one") == [line for line in before if " one" in line and "schedule" not in line]
    plugins = {line.split()[-1] for line in commands if " plugin add " in line}

    with site.open() as engine:
        engine.jobs.result(engine.dsources.delete("orders", force=True))
    kept = site.root / "kept"
    site.state.rename(kept)
    site.pool.rename(site.root / "kept pool")
    script = "\n".join(commands)
    for plugin in plugins:
        script = script.replace(plugin, plugin.replace(str(site.state), str(kept)))
    in_bash(site, script)
    capsys.readouterr()

    assert shown() == before
    assert exported("storage") == [f"dlpx-remote storage init {site.pool} --backend copy"]
    assert exported("nfs") == [line for line in before if " nfs " in line]
    with site.open() as engine:
        assert not engine.vdbs.get("one").active
        engine.jobs.result(engine.dsources.delete("orders", force=True))


def test_what_is_not_there_is_named_with_what_to_look_at(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--state", str(site.state), "export", "nothing"]) != 0
    said = capsys.readouterr().err
    assert "nothing named 'nothing' to export" in said
    assert "dlpx-remote status" in said
