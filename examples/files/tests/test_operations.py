"""The operations, one by one, on a throw-away host."""

import pytest


@pytest.fixture
def tree(tmp_path):
    """A directory tree on the host, which is this machine."""
    directory = tmp_path / "orders"
    (directory / "cache").mkdir(parents=True)
    (directory / "1.txt").write_text("first order")
    (directory / "cache" / "big").write_text("not worth a copy")
    return {"path": str(directory), "name": "Orders", "foundBy": "marker"}


def test_marked_directories_are_found_with_the_names_in_their_markers(dlpx_operations):
    found = dlpx_operations.run("discovery.source_config")
    assert {"Monthly reports", "Uploads of the shop"} <= {one["name"] for one in found}


def test_a_sync_makes_the_data_set_equal_to_the_tree(dlpx_operations, dlpx_data_set, tree):
    (dlpx_data_set / "of_yesterday").write_text("gone at the source")
    dlpx_operations.run("linked.pre_snapshot", direct_source={"parameters": {}}, source_config=tree)
    assert sorted(path.name for path in dlpx_data_set.iterdir()) == ["1.txt", "cache"]


def test_what_is_excluded_is_not_copied(dlpx_operations, dlpx_data_set, tree):
    source = {"parameters": {"excludePaths": ["/cache"]}}
    dlpx_operations.run("linked.pre_snapshot", direct_source=source, source_config=tree)
    assert [path.name for path in dlpx_data_set.iterdir()] == ["1.txt"]


def test_a_tree_that_is_gone_is_told_with_what_rsync_said(dlpx_operations, tree):
    gone = {**tree, "path": "/nowhere/at/all"}
    tried = dlpx_operations.attempt(
        "linked.pre_snapshot", direct_source={"parameters": {}}, source_config=gone
    )
    assert "could not be copied" in tried.failure.message
    assert "excludePaths" in tried.failure.action
    assert "/nowhere/at/all" in tried.failure.output


def test_a_copy_is_inactive_while_it_is_not_mounted(dlpx_operations, tree):
    copy = {"parameters": {"mountPath": "/nowhere/at/all"}}
    assert dlpx_operations.run("virtual.status", virtual_source=copy, source_config=tree) == "INACTIVE"
