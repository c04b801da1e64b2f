from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.plugins.plugin import load_plugin
from dlpx_remote.plugins.stubs import StubsNotWritten, definitions_stub, write_stubs
from tests.unit.plugins.on_disk import SCHEMA, write_plugin

USE = """
from typing import assert_type
from generated.definitions import RepositoryDefinition, SourceConfigDefinition

found = RepositoryDefinition(install_path="/opt/kettle", version="3")
assert_type(found.install_path, str)
assert_type(found.installPath, str)
assert_type(found.version, str | None)
source = SourceConfigDefinition(port=7)
assert_type(source.port, int | None)
assert_type(SourceConfigDefinition.from_dict({}), SourceConfigDefinition)
"""


def stub_of(**properties: Any) -> str:
    required = [name for name, schema in properties.items() if schema.pop("needed", False)]
    return definitions_stub(
        {"repositoryDefinition": {"type": "object", "required": required, "properties": properties}}
    )


def parameters(stub: str) -> str:
    return next(line for line in stub.splitlines() if "def __init__" in line).split("(", 1)[1]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "str | None"),
        ({"type": "string", "needed": True}, "str"),
        ({"type": ["string", "null"], "needed": True}, "str | None"),
        ({"type": "integer"}, "int | None"),
        ({"type": "number"}, "float | None"),
        ({"type": "boolean"}, "bool | None"),
        ({"type": "array", "items": {"type": "string"}}, "list[str] | None"),
        ({"type": "array"}, "list[Any] | None"),
        ({"type": "object"}, "dict[str, Any] | None"),
        ({"type": "string", "enum": ["on", "off"]}, "Literal['on', 'off'] | None"),
        ({"type": "string", "format": "date"}, "str | date | None"),
        ({"type": ["string", "integer"]}, "str | int | None"),
        ({}, "Any"),
    ],
)
def test_a_property_has_the_type_that_its_schema_allows(schema: dict[str, Any], kind: str) -> None:
    assert f"    mode: {kind}\n" in stub_of(mode=schema)


def test_an_object_in_an_object_is_a_class_of_its_own() -> None:
    stub = stub_of(owner={"type": "object", "properties": {"userName": {"type": "string"}}})

    classes = {node.name: node for node in ast.parse(stub).body if isinstance(node, ast.ClassDef)}
    nested = next(name for name, node in classes.items() if "user_name" in ast.unparse(node))
    assert f"    owner: {nested} | None\n" in stub


def test_parameters_are_in_the_schemas_order_and_may_be_given_by_position() -> None:
    stub = stub_of(path={"type": "string", "needed": True}, port={"type": "integer"})

    assert parameters(stub) == "self, path: str, port: int | None = ..., validate: bool = ...) -> None: ..."


def test_what_is_required_after_what_is_not_is_given_by_keyword() -> None:
    stub = stub_of(port={"type": "integer"}, path={"type": "string", "needed": True})

    ast.parse(stub)
    assert parameters(stub).startswith("self, *, port: int | None = ..., path: str, validate")


def test_names_that_are_no_python_names_are_left_to_their_attribute() -> None:
    stub = stub_of(**{"my-dash": {"type": "string"}, "class": {"type": "string"}, "3num": {"type": "string"}})

    ast.parse(stub)
    assert "    my_dash: " in stub
    assert "    _class: " in stub
    assert "    _3num: " in stub
    assert "my-dash" not in stub


def test_a_type_checker_reads_them_and_finds_wrong_use(tmp_path: Path) -> None:
    plugin = load_plugin(write_plugin(tmp_path / "kettle"))
    write_stubs(plugin)
    source = plugin.config.source_directory

    (source / "right.py").write_text(USE)
    (source / "wrong.py").write_text(USE + "found.versoin\nRepositoryDefinition(install_path=3)\n")
    right, wrong = mypy(source, "right.py"), mypy(source, "wrong.py")

    assert right.returncode == 0, right.stdout
    assert '"RepositoryDefinition" has no attribute "versoin"' in wrong.stdout
    assert 'has incompatible type "int"; expected "str"' in wrong.stdout


def mypy(source: Path, file: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file=", file]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)


def test_stubs_are_no_part_of_the_plugin(tmp_path: Path) -> None:
    plugin = load_plugin(write_plugin(tmp_path / "kettle"))
    before = load_plugin(plugin.directory)

    written = write_stubs(plugin)

    assert [path.relative_to(plugin.config.source_directory).as_posix() for path in written] == [
        "generated/__init__.pyi",
        "generated/definitions.pyi",
    ]
    assert load_plugin(plugin.directory) == before


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    plugin = load_plugin(write_plugin(tmp_path / "kettle"))
    (plugin.config.source_directory / "generated").write_text("in the way")

    with pytest.raises(StubsNotWritten, match=r"could not be written to .*generated"):
        write_stubs(plugin)


def test_the_stubs_of_a_whole_schema_are_python() -> None:
    names = [node.name for node in ast.parse(definitions_stub(SCHEMA)).body if isinstance(node, ast.ClassDef)]

    assert {"RepositoryDefinition", "SourceConfigDefinition", "SnapshotDefinition"} <= set(names)
