"""Reading what a host says of itself."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess

import pytest

from dlpx_remote.transports.ssh.facts import FACTS, parse_facts


def test_facts_are_read_line_by_line() -> None:
    facts = parse_facts(
        "joe",
        b"user=joe\nuid=1000\ngid=100\nhome=/home/joe=x\nshell=/bin/fish\nkernel=Linux 6.1\n"
        b"architecture=x86_64\n"
        b"hostname=db1\n"
        b"operating_system=Debian \xff\ntool.jq=/usr/bin/jq\nlocale=C.UTF-8\n",
    )
    assert (facts.user, facts.uid, facts.gid, facts.home, facts.shell) == (
        "joe",
        1000,
        100,
        "/home/joe=x",
        "/bin/fish",
    )
    assert facts.tools == {"jq": "/usr/bin/jq"}
    assert facts.locale == "C.UTF-8"


def test_a_host_that_says_nothing_gives_the_login_name_and_defaults() -> None:
    facts = parse_facts("joe", b"")
    assert (facts.user, facts.uid, facts.locale, facts.tools) == ("joe", None, None, {})


@pytest.mark.parametrize("variables", [{}, {"LC_ALL": "C"}, {"LC_ALL": "xx_YY.UTF-8", "LANG": "C"}])
def test_the_shell_itself_tells_what_the_facts_are(variables: dict[str, str]) -> None:
    result = subprocess.run(
        ["bash", "--noprofile", "--norc"],
        input=FACTS,
        env={"PATH": os.environ["PATH"], "SHELL": "/bin/x", **variables},
        capture_output=True,
        check=True,
    )
    facts = parse_facts("joe", result.stdout)
    account = pwd.getpwuid(os.getuid())
    assert (facts.user, facts.uid, facts.gid) == (account.pw_name, os.getuid(), os.getgid())
    assert (facts.home, facts.shell) == (account.pw_dir, "/bin/x")
    system = os.uname()
    assert (facts.kernel, facts.architecture) == (f"{system.sysname} {system.release}", system.machine)
    assert facts.hostname == system.nodename
    assert facts.locale == "C.UTF-8"
    assert facts.tools["bash"] == shutil.which("bash")
