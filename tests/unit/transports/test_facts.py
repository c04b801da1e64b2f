"""Reading what a host says of itself."""

from __future__ import annotations

import pytest

from dlpx_remote.transports.ssh.facts import parse_facts, utf8_locale


def test_facts_are_read_line_by_line() -> None:
    facts = parse_facts(
        "joe",
        b"user=joe\nuid=1000\ngid=100\nhome=/home/joe=x\nshell=/bin/fish\nkernel=Linux 6.1\n"
        b"architecture=x86_64\n"
        b"hostname=db1\n"
        b"operating_system=Debian \xff\ntool.jq=/usr/bin/jq\nlocale=C.utf8\n",
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


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        (["de_DE.utf8", "en_US.utf8", "C.utf8"], "C.UTF-8"),
        (["de_DE.utf8", "en_US.UTF-8"], "en_US.UTF-8"),
        (["de_DE.utf8"], "de_DE.UTF-8"),
        ([], None),
    ],
)
def test_the_most_neutral_utf_8_locale_is_chosen(available: list[str], chosen: str | None) -> None:
    assert utf8_locale(available) == chosen
