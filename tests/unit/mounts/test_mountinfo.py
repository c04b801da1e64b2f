"""The kernel's mount table, read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.mounts import mountinfo

TABLE = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:44 / /srv/a\040b\134c rw,relatime - nfs4 10.0.0.1:/dlpx/VDB-3 rw,vers=4.1,hard,port=12049
41 40 0:45 /sub /srv/a\040b\134c rw,nosuid master:3 propagate_from:2 - btrfs /dev/loop0 rw,subvolid=256
42 22 0:46 / /srv/a rw - tmpfs none rw
43 22 0:47 / /empty rw -  none
a line that is none
"""


def test_every_field_is_read() -> None:
    entry = mountinfo.parse(TABLE)[1]
    assert (entry.number, entry.parent, entry.device, entry.root) == (40, 22, "0:44", "/")
    assert (entry.point, entry.file_system) == ("/srv/a b\\c", "nfs4")
    assert entry.source == "10.0.0.1:/dlpx/VDB-3"
    assert entry.has("hard")
    assert entry.has("relatime")
    assert not entry.has("soft")
    assert (entry.value("vers"), entry.value("none")) == ("4.1", None)


def test_of_several_at_one_point_the_last_is_on_top() -> None:
    entries = mountinfo.parse(TABLE)
    assert [entry.number for entry in mountinfo.at(entries, "/srv/a b\\c")] == [40, 41]
    holding = mountinfo.holding(entries, "/srv/a b\\c/x/y")
    assert holding is not None
    assert holding.number == 41
    assert mountinfo.within(holding, "/srv/a b\\c/x/y") == "/sub/x/y"


def test_a_name_that_only_begins_the_same_is_another() -> None:
    entries = mountinfo.parse(TABLE)
    holding = mountinfo.holding(entries, "/srv/ab")
    assert holding is not None
    assert holding.point == "/"
    assert mountinfo.beneath(entries, "/srv/a") == []
    assert [entry.point for entry in mountinfo.beneath(entries, "/srv")] == ["/srv/a b\\c"] * 2 + ["/srv/a"]


@given(st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1))
def test_what_the_kernel_escapes_is_read_back(name: str) -> None:
    escaped = name.encode()
    for character in b"\\ \t\n":
        escaped = escaped.replace(bytes([character]), b"\\%03o" % character)
    (entry,) = mountinfo.parse(b"1 0 0:1 / /" + escaped + b" rw - tmpfs none rw")
    assert entry.point == "/" + name


@given(st.binary())
def test_anything_else_is_no_entry_and_no_crash(table: bytes) -> None:
    for entry in mountinfo.parse(table):
        assert entry.number >= 0


def test_the_table_of_this_machine_has_a_root() -> None:
    assert mountinfo.at(mountinfo.here(), "/")
