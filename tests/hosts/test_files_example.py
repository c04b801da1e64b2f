"""The example plugin for files on a real host: what it finds, by marker and configuration, and does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.engine import DiscoveryReport, discover_once
from dlpx_remote.plugins.worker import PluginUserError
from tests.hosts.examples import FILES, source_configs
from tests.hosts.plugin_operations import Operations, operations
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


REPOSITORY = {"name": "Directory trees", "configuredBy": "defaults"}


def _sync(running: Operations, path: str, **parameters: Any) -> dict[str, Any]:
    """Sync a tree into the data set; what its snapshot is told to hold."""
    given = {
        "direct_source": {"guid": "direct", "connection": running.connection, "parameters": parameters},
        "repository": REPOSITORY,
        "source_config": {"path": path, "name": "tree", "foundBy": "marker"},
    }
    running.run("linked.pre_snapshot", **given)
    snapshot: dict[str, Any] = running.run("linked.post_snapshot", **given)
    assert running.run("linked.source_size", **given) > 0
    return snapshot


def test_a_tree_comes_into_the_data_set_as_the_parameters_say(
    own_ssh_host: SshHost, clean_home: object, tmp_path: Path
) -> None:
    own_ssh_host.root(
        "mkdir -p '/data/the shop/cache' /data/pictures; cd '/data/the shop'\n"
        "echo one > kept; echo two > cache/left; echo three > /data/pictures/one.png\n"
        "ln -s ../pictures followed; ln -s ../pictures stays\n"
    )
    with operations(FILES, own_ssh_host, data_set=tmp_path) as running:
        snapshot = _sync(running, "/data/the shop", excludePaths=["/cache"], followLinks=["followed"])
        assert snapshot["path"] == "/data/the shop"
        assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
            "kept",
            "followed",
            "followed/one.png",
            "stays",
        }
        assert (tmp_path / "stays").is_symlink()

        own_ssh_host.root("cd '/data/the shop'; rm kept; echo four > new; chmod 000 new")
        with pytest.raises(PluginUserError, match="could not be copied from there") as caught:
            _sync(running, "/data/the shop")
        assert "'excludePaths'" in caught.value.action
        assert "/data/the shop/new" in caught.value.output
        _sync(running, "/data/the shop", excludePaths=["new"])
        assert not (tmp_path / "kept").exists(), "what is gone at the source goes here as well"


def test_a_copy_is_active_while_it_is_mounted(ssh_host: SshHost, clean_home: object) -> None:
    with operations(FILES, ssh_host) as running:

        def virtual(operation: str, mount_path: str, **more: Any) -> Any:
            source = {
                "guid": "virtual",
                "connection": running.connection,
                "parameters": {"mountPath": mount_path, "name": "a copy"},
                "mounts": [],
            }
            config = {"path": mount_path, "name": "a copy", "foundBy": "provisioned"}
            if operation not in ("configure", "initialize", "mount_specification"):
                more["source_config"] = config
            return running.run(f"virtual.{operation}", virtual_source=source, repository=REPOSITORY, **more)

        snapshot = virtual("post_snapshot", "/dev/shm")
        (mount,) = virtual("mount_specification", "/dev/shm")["mounts"]
        assert mount["mount_path"] == "/dev/shm"
        assert virtual("configure", "/dev/shm", snapshot=snapshot)["path"] == "/dev/shm"
        assert virtual("reconfigure", "/dev/shm", snapshot=snapshot)["foundBy"] == "provisioned"
        assert virtual("initialize", "/dev/shm")["name"] == "a copy"
        assert virtual("status", "/dev/shm") == "ACTIVE"
        assert virtual("status", "/home/engine") == "INACTIVE"
        assert virtual("status", "/no/such") == "INACTIVE"
        virtual("pre_snapshot", "/dev/shm")
        assert virtual("source_size", "/dev/shm") >= 0
