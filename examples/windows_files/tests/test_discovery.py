"""What is made of the scripts' output; ``windows_answers.json`` is what a host writes."""


def test_each_robocopy_is_a_repository(dlpx_operations):
    (repository,) = dlpx_operations.run("discovery.repository")
    assert repository["version"] == "10.0.20348"


def test_marked_directories_are_source_configs(dlpx_operations):
    found = dlpx_operations.run("discovery.source_config")
    books, closed = sorted(found, key=lambda one: one["path"])
    assert (books["name"], books.get("note")) == ("Books", None)
    assert (closed["path"], closed["note"]) == ("D:\\closed", "Access is denied.")


def test_a_host_without_robocopy_has_no_repository(winrm_host, dlpx_operations):
    winrm_host.when("robocopy.exe -CommandType", "")
    assert dlpx_operations.run("discovery.repository") == []
