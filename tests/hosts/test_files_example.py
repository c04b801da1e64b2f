"""What the example plugin for files finds on a real host, by marker and by configuration."""

from __future__ import annotations

from dlpx_remote.engine import DiscoveryReport, discover_once
from tests.hosts.examples import FILES, source_configs
from tests.hosts.ssh_host import SshHost


def _look(host: SshHost, user: str = "engine") -> DiscoveryReport:
    return discover_once([FILES], [host.spec("here", user)])


def test_trees_are_found_by_marker_and_named_by_its_first_line(
    own_ssh_host: SshHost, clean_home: object
) -> None:
    own_ssh_host.root(
        "mkdir -p $'/srv/line\\nend' '/data/with blank' /opt/app/files /elsewhere\n"
        "touch $'/srv/line\\nend/.dlpx-source' /opt/app/files/.dlpx-source /elsewhere/.dlpx-source\n"
        "printf 'Accounts 2024\\r\\nmore' > '/data/with blank/.dlpx-source'\n"
    )
    found = source_configs(_look(own_ssh_host), "here", "Files")
    assert {path: tree.name for path, tree in found.items()} == {
        "/srv/line\nend": "/srv/line\nend",
        "/data/with blank": "Accounts 2024",
        "/opt/app/files": "/opt/app/files",
    }


def test_a_configuration_says_where_to_look_instead(own_ssh_host: SshHost, clean_home: object) -> None:
    own_ssh_host.root(
        "mkdir -p /exports/deep/er '/data/shop a/uploads' '/data/shop b/uploads' ~engine/reports /srv/no\n"
        "touch /exports/deep/er/.dlpx-source /srv/no/.dlpx-source\n"
        "chmod 700 '/data/shop b/uploads'\n"
        "printf '%s\\n' '# comment' '' 'search /exports' 'tree /data/shop */uploads' 'tree ~/reports' "
        "> ~engine/.dlpx-files.conf\n"
    )
    report = _look(own_ssh_host)
    (repository,) = report.results[0].repositories
    assert repository.parameters["configuredBy"] == "/home/engine/.dlpx-files.conf"
    found = source_configs(report, "here", "Files")
    assert {path: tree.parameters["foundBy"] for path, tree in found.items()} == {
        "/exports/deep/er": "marker",
        "/data/shop a/uploads": "pattern",
        "/data/shop b/uploads": "pattern",
        "/home/engine/reports": "pattern",
    }
    assert found["/data/shop b/uploads"].parameters["note"] == "engine cannot read this directory."


def test_a_line_that_is_wrong_is_shown(own_ssh_host: SshHost, clean_home: object) -> None:
    own_ssh_host.root("echo 'serach /exports' > /etc/dlpx-files.conf")
    failure = _look(own_ssh_host).results[0].failure
    assert failure is not None
    assert "/etc/dlpx-files.conf" in failure.message
    assert failure.output == "serach /exports"
    assert failure.action
