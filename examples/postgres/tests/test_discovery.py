"""What is found on a host with PostgreSQL 15 and three clusters.

The recordings beside this were made with ``pytest --dlpx-host container --dlpx-recording record``.
"""


def test_installations_are_found_with_their_versions(dlpx_operations):
    (found,) = dlpx_operations.run("discovery.repository")
    assert found["majorVersion"] == "15"
    assert found["binDirectory"] == "/usr/lib/postgresql/15/bin"


def test_clusters_are_found_running_and_stopped(dlpx_operations):
    found = {one["dataDirectory"]: one for one in dlpx_operations.run("discovery.source_config")}
    assert found["/var/lib/postgresql/15/main"]["running"]
    assert not found["/var/lib/postgresql/15/archive"]["running"]
    assert found["/srv/order data/15"]["running"], "a directory with a blank in its name"
