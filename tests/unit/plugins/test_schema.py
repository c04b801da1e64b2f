from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.plugins.plugin import load_plugin, read_plugin
from dlpx_remote.plugins.problems import Problem
from dlpx_remote.plugins.schema import DEFINITIONS
from tests.unit.plugins.on_disk import SCHEMA, write_plugin


def problems(directory: Path) -> list[Problem]:
    reading = read_plugin(directory)
    assert reading.plugin is None
    return list(reading.problems)


def only_problem(directory: Path) -> Problem:
    (problem,) = problems(directory)
    return problem


def with_properties(**properties: Any) -> dict[str, Any]:
    return {"snapshotDefinition": {"type": "object", "properties": properties}}


def line_of(directory: Path, text: str) -> int:
    lines = (directory / "schema.json").read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if text in line]
    return found


def test_a_good_schema_has_all_six_definitions(tmp_path: Path) -> None:
    schema = load_plugin(write_plugin(tmp_path)).schema
    assert tuple(schema.definitions) == DEFINITIONS
    assert schema.definitions["repositoryDefinition"] == SCHEMA["repositoryDefinition"]


def test_missing_snapshot_parameters_mean_no_parameters(tmp_path: Path) -> None:
    schema = load_plugin(write_plugin(tmp_path, schema={"snapshotParametersDefinition": None})).schema
    assert schema.validate("snapshotParametersDefinition", {}) == []
    assert schema.validate("snapshotParametersDefinition", {"resync": True}) != []


@pytest.mark.parametrize("name", [name for name in DEFINITIONS if name != "snapshotParametersDefinition"])
def test_a_missing_definition_is_named(tmp_path: Path, name: str) -> None:
    problem = only_problem(write_plugin(tmp_path, schema={name: None}))
    assert (problem.file, problem.place) == ("schema.json", f"/{name}")
    assert problem.message == f"The definition `{name}` is missing."


def test_an_unknown_definition_is_shown_with_the_one_that_was_meant(tmp_path: Path) -> None:
    directory = write_plugin(
        tmp_path, schema={"snapshotDefinition": None, "SnapshotDefinition": {"type": "object"}}
    )
    problem = only_problem(directory)
    assert problem.line == line_of(directory, '"SnapshotDefinition"')
    assert problem.message == "The definition `SnapshotDefinition` is unknown."
    assert problem.hint == "Did you mean `snapshotDefinition`?"


@pytest.mark.parametrize("value", [[], "object", True, 3])
def test_a_definition_that_is_no_object_is_a_problem(tmp_path: Path, value: Any) -> None:
    problem = only_problem(write_plugin(tmp_path, schema={"snapshotDefinition": value}))
    assert problem.message == "The definition `snapshotDefinition` must be a JSON schema of an object."


def test_a_definition_of_another_type_is_a_problem(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, schema={"snapshotDefinition": {"type": "array"}}))
    assert problem.place == "/snapshotDefinition/type"
    assert "must have `type` object" in problem.message


def test_broken_json_is_shown_with_line_and_column(tmp_path: Path) -> None:
    problem = only_problem(write_plugin(tmp_path, schema='{\n  "repositoryDefinition": {},,\n}'))
    assert (problem.file, problem.line) == ("schema.json", 2)
    assert "not valid JSON at column 30" in problem.message
    assert "comma" in problem.hint


@pytest.mark.parametrize("text", ["", "[]", "3", '{"a": NaN}', "[" * 100_000])
def test_a_schema_file_that_holds_something_else_is_one_clear_problem(tmp_path: Path, text: str) -> None:
    problem = only_problem(write_plugin(tmp_path, schema=text))
    assert problem.file == "schema.json"
    assert problem.message


def test_a_key_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    text = json.dumps(SCHEMA, indent=1).replace('"version":', '"installPath":')
    problem = problems(write_plugin(tmp_path, schema=text))[0]
    assert problem.place == "/repositoryDefinition/properties/installPath"
    assert "The key `installPath` stands here a second time; the first is on line 9" in problem.message


def test_lines_are_known_in_a_file_indented_with_tabs(tmp_path: Path) -> None:
    text = json.dumps({**SCHEMA, **with_properties(size={"type": "int"})}, indent="\t")
    directory = write_plugin(tmp_path, schema=text)
    assert only_problem(directory).line == line_of(directory, '"int"')


NO_SCHEMA: list[tuple[Any, str, str, str]] = [
    ({"type": "int"}, "/type", "`type` must be a JSON type, but found 'int'", "Did you mean `integer`?"),
    ({"type": ["string", "nul"]}, "/type", "found 'nul'", "`null`"),
    ({"pattern": "(["}, "/pattern", "`([` is no valid regular expression", ""),
    ({"patternProperties": {"(": {}}}, "/patternProperties", "`(` is no valid regular expression", ""),
    ({"required": True}, "/required", "`required` must be a list", "older draft"),
    ({"minimum": "3"}, "/minimum", "`minimum` is not as JSON Schema", ""),
    ({"additionalProperties": "false"}, "/additionalProperties", "A schema was expected", "without quotes"),
    ("string", "", "A schema was expected here, but found 'string'", ""),
]


@pytest.mark.parametrize(("schema", "place", "message", "hint"), NO_SCHEMA)
def test_what_is_no_json_schema_is_shown_with_pointer_and_line(
    tmp_path: Path, schema: Any, place: str, message: str, hint: str
) -> None:
    directory = write_plugin(tmp_path, schema=with_properties(size=schema))
    problem = only_problem(directory)
    first = line_of(directory, '"size"')
    assert problem.place == f"/snapshotDefinition/properties/size{place}"
    assert problem.line is not None
    assert first <= problem.line <= first + 5
    assert message in problem.message
    assert hint in problem.hint


def test_unknown_keywords_are_ignored(tmp_path: Path) -> None:
    schema = with_properties(size={"type": "integer", "prettyName": "Size", "dxFormProperties": {"rows": 5}})
    assert load_plugin(write_plugin(tmp_path, schema=schema)).schema.validate(
        "snapshotDefinition", {"size": 3}
    ) == ([])


@pytest.mark.parametrize("name", ["repositoryDefinition", "sourceConfigDefinition"])
@pytest.mark.parametrize("keyword", ["identityFields", "nameField"])
def test_discovered_objects_need_identity_and_name(tmp_path: Path, name: str, keyword: str) -> None:
    definition = {key: value for key, value in SCHEMA[name].items() if key != keyword}
    problem = only_problem(write_plugin(tmp_path, schema={name: definition}))
    assert f"`{keyword}` is missing" in problem.message


def test_a_misspelled_keyword_is_recognised(tmp_path: Path) -> None:
    definition = {**SCHEMA["repositoryDefinition"], "identityField": ["installPath"]}
    del definition["identityFields"]
    directory = write_plugin(tmp_path, schema={"repositoryDefinition": definition})
    problem = only_problem(directory)
    assert problem.line == line_of(directory, '"identityField"')
    assert "did you mean `identityFields`?" in problem.hint


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ({"identityFields": ["installPth"]}, "/identityFields/0", "names `installPth`, which is no property"),
        ({"nameField": "versio"}, "/nameField", "names `versio`, which is no property"),
        ({"nameField": ["installPath", "version"]}, "/nameField", "must name one property, not 2"),
        ({"identityFields": []}, "/identityFields", "must be a list of one or more property names"),
        ({"nameField": 3}, "/nameField", "must be a property's name"),
    ],
)
def test_identity_and_name_must_name_properties(
    tmp_path: Path, change: dict[str, Any], place: str, message: str
) -> None:
    definition = {**SCHEMA["repositoryDefinition"], **change}
    problem = only_problem(write_plugin(tmp_path, schema={"repositoryDefinition": definition}))
    assert problem.place == f"/repositoryDefinition{place}"
    assert message in problem.message


def test_identity_may_name_a_property_of_a_combined_schema(tmp_path: Path) -> None:
    definition = {
        "allOf": [{"properties": {"path": {"type": "string"}}}],
        "identityFields": ["path"],
        "nameField": "path",
    }
    schema = load_plugin(write_plugin(tmp_path, schema={"repositoryDefinition": definition})).schema
    assert schema.identity("repositoryDefinition", {"path": "/a"}) == {"path": "/a"}


@pytest.mark.parametrize(
    "reference",
    [
        "https://example.com/schema.json",
        "https://delphix.com/platform/api#/definitions/passwordSupplier",
        "other.json#/definitions/a",
        "#/definitions/nothing",
        "#/snapshotDefinition/properties/nothing",
    ],
)
def test_a_reference_that_cannot_be_resolved_is_a_problem(tmp_path: Path, reference: str) -> None:
    directory = write_plugin(tmp_path, schema=with_properties(size={"$ref": reference}))
    problem = only_problem(directory)
    assert problem.place == "/snapshotDefinition/properties/size/$ref"
    assert problem.line == line_of(directory, reference)
    assert f"`{reference}` cannot be resolved" in problem.message


def test_a_reference_to_itself_is_a_problem(tmp_path: Path) -> None:
    schema = with_properties(size={"$ref": "#/properties/size"})
    assert "leads back to itself" in only_problem(write_plugin(tmp_path, schema=schema)).message


def test_references_within_a_definition_and_to_another_one_hold(tmp_path: Path) -> None:
    schema = load_plugin(
        write_plugin(
            tmp_path,
            schema={
                "snapshotDefinition": {
                    "type": "object",
                    "definitions": {"port": {"type": "integer", "minimum": 1}},
                    "properties": {
                        "port": {"$ref": "#/definitions/port"},
                        "path": {"$ref": "#/repositoryDefinition/properties/installPath"},
                    },
                }
            },
        )
    ).schema
    assert schema.validate("snapshotDefinition", {"port": 1, "path": "/a"}) == []
    assert schema.validate("snapshotDefinition", {"port": 0, "path": 3}) == [
        "$.port: expected a number of at least 1, but found the number 0.",
        "$.path: expected a text, but found the number 3.",
    ]


def test_two_properties_that_become_one_attribute_are_a_problem(tmp_path: Path) -> None:
    schema = with_properties(dataPath={"type": "string"}, data_path={"type": "string"})
    problem = only_problem(write_plugin(tmp_path, schema=schema))
    assert problem.place == "/snapshotDefinition/properties/data_path"
    assert "`data_path` and `dataPath` would both be the attribute `data_path`" in problem.message


@pytest.mark.parametrize("name", ["linkedSourceDefinition", "virtualSourceDefinition"])
@pytest.mark.parametrize("wanted", ["string", "number", ["integer", "null"]])
def test_a_record_size_is_a_whole_number(tmp_path: Path, name: str, wanted: Any) -> None:
    definition = {"type": "object", "properties": {"recordSizeInKB": {"type": wanted}}}
    problem = only_problem(write_plugin(tmp_path, schema={name: definition}))
    assert problem.place == f"/{name}/properties/recordSizeInKB/type"
    assert problem.message == f"`recordSizeInKB` must have `type` integer, not {wanted!r}."
    assert "a power of two from 1 to 16384" in problem.hint


@pytest.mark.parametrize("wanted", [{"type": "integer"}, {"enum": [8, 16]}, True])
def test_a_record_size_may_be_narrowed_and_elsewhere_it_is_a_property_like_others(
    tmp_path: Path, wanted: Any
) -> None:
    definition = {"type": "object", "properties": {"recordSizeInKB": wanted}}
    load_plugin(write_plugin(tmp_path / "one", schema={"linkedSourceDefinition": definition}))
    elsewhere = {"type": "object", "properties": {"recordSizeInKB": {"type": "string"}}}
    load_plugin(write_plugin(tmp_path / "two", schema={"snapshotDefinition": elsewhere}))


def test_problems_of_both_files_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(write_plugin(tmp_path, config={"id": "x"}, schema={"snapshotDefinition": None}))
    assert [problem.file for problem in found] == ["plugin_config.yml", "schema.json"]
