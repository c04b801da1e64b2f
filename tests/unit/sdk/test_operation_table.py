from __future__ import annotations

import pytest

from dlpx.virtualization.platform.operation_table import (
    OPERATIONS,
    ArgumentKind,
    Operation,
    PluginType,
    WhenMissing,
    operations_for,
)


def test_an_operation_is_listed_once_for_each_plugin_type() -> None:
    for plugin_type in PluginType:
        names = [operation.name for operation in OPERATIONS if plugin_type in operation.plugin_types]
        assert len(names) == len(set(names))
        assert list(operations_for(plugin_type)) == names


def test_titles_are_unique_because_they_are_headings() -> None:
    titles = [operation.title for operation in OPERATIONS]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.title)
def test_no_two_arguments_of_an_operation_share_a_name(operation: Operation) -> None:
    names = [name for argument in operation.arguments for name in argument.names]
    assert len(names) == len(set(names))


def test_sources_fit_the_plugin_type() -> None:
    for operation in operations_for(PluginType.DIRECT).values():
        assert ArgumentKind.STAGED_SOURCE not in {argument.kind for argument in operation.arguments}
    for operation in operations_for(PluginType.STAGED).values():
        assert ArgumentKind.DIRECT_SOURCE not in {argument.kind for argument in operation.arguments}


@pytest.mark.parametrize(
    ("plugin_type", "required"),
    [
        (
            PluginType.DIRECT,
            "discovery.repository discovery.source_config linked.post_snapshot virtual.configure "
            "virtual.reconfigure virtual.post_snapshot virtual.mount_specification",
        ),
        (
            PluginType.STAGED,
            "discovery.repository discovery.source_config linked.post_snapshot linked.mount_specification "
            "virtual.configure virtual.reconfigure virtual.post_snapshot virtual.mount_specification",
        ),
    ],
)
def test_the_required_operations_are_those_of_the_specification(
    plugin_type: PluginType, required: str
) -> None:
    found = [name for name, operation in operations_for(plugin_type).items() if operation.required]
    assert sorted(found) == sorted(required.split())


def test_a_missing_status_means_active() -> None:
    table = operations_for(PluginType.STAGED)
    assert table["linked.status"].when_missing is WhenMissing.ACTIVE
    assert table["virtual.status"].when_missing is WhenMissing.ACTIVE
