from __future__ import annotations

import copy
import importlib
import inspect
import keyword
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.plugins.definitions import (
    attribute_name,
    class_name,
    colliding_properties,
    install_generated,
)
from dlpx_remote.plugins.schema import PluginSchema

SUPPLIER = "https://delphix.com/platform/api#/definitions/credentialsSupplier"
REPOSITORY: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["installPath"],
    "properties": {
        "installPath": {"type": "string", "minLength": 1},
        "version": {"type": "string", "pattern": "^[0-9.]+$"},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "load": {"type": "number", "exclusiveMaximum": 1},
        "primary": {"type": "boolean"},
        "mode": {"type": "string", "enum": ["on", "off"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
        "owner": {"type": "object", "properties": {"userName": {"type": "string"}}},
        "class": {"type": "string"},
        "anything": {},
    },
}


@pytest.fixture(autouse=True)
def without_generated() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "generated"]:
        del sys.modules[name]


def generated(**definitions: Any) -> Any:
    install_generated(definitions)
    return importlib.import_module("generated.definitions")


@pytest.fixture
def repository_class() -> Any:
    return generated(repositoryDefinition=REPOSITORY).RepositoryDefinition


@pytest.fixture
def errors(repository_class: Any) -> Any:
    return importlib.import_module("generated.definitions.base_model_")


# names


@pytest.mark.parametrize(
    ("schema_name", "attribute"),
    [
        ("clusterFTSRAMSize", "cluster_ftsram_size"),
        ("S3bucket", "s3bucket"),
        ("HTTPServer2", "http_server2"),
        ("mPath", "m_path"),
        ("dbuniqueName", "dbunique_name"),
        ("class", "_class"),
        ("3num", "_3num"),
        ("my-dash", "my_dash"),
        ("installPath", "install_path"),
        ("Class", "_class"),
        ("my.dot and space", "my_dot_and_space"),
        ("_hidden", "hidden"),
        ("validate", "_validate"),
        ("toDict", "_to_dict"),
        ("", "_"),
    ],
)
def test_attributes_are_named_as_plugins_in_the_field_know_them(schema_name: str, attribute: str) -> None:
    assert attribute_name(schema_name) == attribute


@given(st.text())
def test_naming_again_changes_nothing_and_gives_an_identifier(name: str) -> None:
    attribute = attribute_name(name)
    assert attribute_name(attribute) == attribute
    assert attribute.isidentifier()
    assert not keyword.iskeyword(attribute)


@given(st.lists(st.text(alphabet="abAB1_-", max_size=4), unique=True))
def test_properties_without_collisions_have_attributes_of_their_own(names: list[str]) -> None:
    attributes = [attribute_name(name) for name in names]
    assert len(set(attributes)) == len(names) - len(colliding_properties(names))


def test_definitions_become_classes() -> None:
    assert class_name("snapshotParametersDefinition") == "SnapshotParametersDefinition"


# the package


def test_every_import_path_leads_to_the_same_class(repository_class: Any) -> None:
    for path in (
        "generated.definitions",
        "generated.defintions",
        "generated.definitions.repository_definition",
        "generated.defintions.repository_definition",
    ):
        assert importlib.import_module(path).RepositoryDefinition is repository_class
    assert importlib.import_module("generated.util").deserialize_model(
        {"installPath": "/a"}, repository_class
    ) == repository_class("/a")
    base = importlib.import_module("generated.definitions.base_model_")
    assert issubclass(repository_class, base.Model)
    assert issubclass(base.GeneratedClassesTypeError, base.GeneratedClassesError)


def test_a_stale_package_on_disk_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "generated" / "definitions"
    stale.mkdir(parents=True)
    (tmp_path / "generated" / "__init__.py").touch()
    (stale / "__init__.py").write_text("RepositoryDefinition = 'stale'")
    (stale / "leftover.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.import_module("generated.definitions").RepositoryDefinition == "stale"
    assert generated(repositoryDefinition=REPOSITORY).RepositoryDefinition != "stale"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("generated.definitions.leftover")


def test_the_generated_classes_need_only_the_standard_library() -> None:
    program = (
        "import sys\n"
        "from dlpx_remote.plugins.definitions import install_generated\n"
        "install_generated({'repositoryDefinition': {'properties': {'a': {}}}})\n"
        "import generated.definitions\n"
        "print([name for name in ('yaml', 'jsonschema', 'referencing') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# making objects


def test_keywords_are_in_the_order_of_the_schema_and_validate_comes_last(repository_class: Any) -> None:
    assert list(inspect.signature(repository_class).parameters) == [
        "install_path",
        "version",
        "port",
        "load",
        "primary",
        "mode",
        "tags",
        "labels",
        "owner",
        "_class",
        "anything",
        "validate",
    ]
    assert repository_class("/a", "1.0").to_dict() == {"installPath": "/a", "version": "1.0"}


def test_a_missing_required_keyword_is_an_error(repository_class: Any, errors: Any) -> None:
    with pytest.raises(
        errors.GeneratedClassesError, match="required parameter 'install_path' must not be 'None'"
    ):
        repository_class(version="1.0")
    with pytest.raises(errors.GeneratedClassesError, match="install_path"):
        repository_class(install_path=None)
    assert repository_class(version="1.0", validate=False).to_dict() == {"version": "1.0"}


def test_an_unknown_keyword_is_shown_with_the_nearest(repository_class: Any) -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'instal_path'.*'install_path'"):
        repository_class(instal_path="/a")


def test_objects_may_be_made_empty_and_filled_later(repository_class: Any, errors: Any) -> None:
    repository = repository_class()
    assert repository.to_dict() == {}
    repository.installPath = "/a"
    repository.port = 80
    assert repository.to_dict() == {"installPath": "/a", "port": 80}
    with pytest.raises(errors.GeneratedClassesTypeError):
        repository.port = "80"


def test_an_object_filled_later_takes_a_number_as_text_where_the_schema_says_string() -> None:
    schema = {"properties": {"transactionId": {"type": "string"}}}
    snapshot = generated(snapshotDefinition=schema).SnapshotDefinition()
    snapshot.transaction_id = 1000
    assert snapshot.transaction_id == "1000"
    with pytest.raises(Exception, match="was class 'bool' but should be of class 'str'"):
        snapshot.transaction_id = True


def test_both_names_of_an_attribute_are_one_value(repository_class: Any) -> None:
    repository = repository_class(installPath="/a")
    assert repository.install_path == repository.installPath == "/a"
    repository.installPath = "/b"
    assert repository.install_path == "/b"
    setattr(repository, "class", "x")
    assert repository._class == getattr(repository, "class") == "x"
    assert isinstance(repository_class.install_path, property)


# checks on assignment


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("install_path", 3, "parameter 'install_path' was class 'int' but should be of class 'str'"),
        ("version", 3, "should be of class 'str' if defined"),
        ("port", "80", "was class 'str' but should be of class 'int' if defined"),
        ("port", True, "was class 'bool'"),
        ("port", 1.0, "was class 'float'"),
        ("load", "x", "class 'float' or class 'int'"),
        ("primary", 1, "should be of class 'bool'"),
        ("tags", "a", "should be of class 'list'"),
        ("tags", ["a", 3], "was type 'list of int, str' but should be of type 'list of str'"),
        ("labels", {"a": "x"}, "was type 'dict of str:str' but should be of type 'dict of str:int'"),
        ("labels", {1: 1}, "keys of 'RepositoryDefinition.labels' must be of class 'str'"),
        ("owner", 3, "should be of class 'generated.definitions"),
        ("install_path", "", "must have at least 1 characters"),
        ("install_path", None, "must not be 'None'"),
        ("version", "one", "'one' must match the pattern"),
        ("port", 0, "0 must be at least 1"),
        ("port", 70000, "70000 must be at most 65535"),
        ("load", 1, "1 must be less than 1"),
        ("mode", "maybe", r"'maybe' must be one of \[on, off\]"),
        ("tags", ["a", "b", "c"], "must have at most 2 items"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_the_old_one_stays(
    repository_class: Any, errors: Any, attribute: str, value: Any, message: str
) -> None:
    repository = repository_class(install_path="/a")
    before = repository.to_dict()
    with pytest.raises(errors.GeneratedClassesError, match=message):
        setattr(repository, attribute, value)
    assert repository.to_dict() == before


def test_the_constructor_checks_like_assignment(repository_class: Any, errors: Any) -> None:
    with pytest.raises(errors.GeneratedClassesTypeError):
        repository_class(install_path="/a", port="80")
    assert repository_class(install_path="/a", port="80", validate=False).port == "80"


def test_an_optional_value_may_be_taken_away(repository_class: Any) -> None:
    repository = repository_class(install_path="/a", port=80)
    repository.port = None
    assert repository.to_dict() == {"installPath": "/a"}


def test_an_unknown_attribute_is_refused_where_the_schema_is_closed(
    repository_class: Any, errors: Any
) -> None:
    repository = repository_class(install_path="/a")
    with pytest.raises(errors.GeneratedClassesError, match=r"no attribute 'verison'.*'version'"):
        repository.verison = "1"
    repository._note = "a plugin's own"
    assert repository._note == "a plugin's own"


def test_an_unknown_attribute_is_no_data_where_the_schema_is_open(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = generated(snapshotDefinition={"properties": {"version": {}}}).SnapshotDefinition()
    snapshot.verison = "1"
    assert (snapshot.verison, snapshot.to_dict()) == ("1", {})
    assert "Did you mean 'version'?" in caplog.text


def test_secrets_are_shown_neither_by_errors_nor_by_repr() -> None:
    schema = {
        "properties": {
            "password": {"type": "string", "format": "password", "pattern": "^x"},
            "supplier": {"$ref": SUPPLIER},
            "users": {"type": "array", "items": {"properties": {"pin": {"format": "password"}}}},
            "inner": {"type": "object", "properties": {"key": {"type": "string", "format": "password"}}},
        }
    }
    made = generated(linkedSourceDefinition=schema).LinkedSourceDefinition(
        password="xhunter2", supplier={"password": "hunter2"}, users=[{"pin": "hunter2"}]
    )
    made.inner = {"key": "hunter2"}
    assert "hunter2" not in repr(made) + str(made) + made.to_str() + repr(made.inner)
    with pytest.raises(Exception, match="must match the pattern") as raised:
        made.password = "hunter2"
    assert "hunter2" not in str(raised.value)
    assert made.supplier == {"password": "hunter2"}


# nested and combined schemas


def test_nested_objects_are_classes_of_their_own(repository_class: Any) -> None:
    repository = repository_class.from_dict({"installPath": "/a", "owner": {"userName": "me"}})
    assert repository.owner.user_name == "me"
    assert type(repository.owner).__name__ == "RepositoryDefinitionOwner"
    assert repository.to_dict() == {"installPath": "/a", "owner": {"userName": "me"}}
    owner = type(repository.owner)(user_name="you")
    repository.owner = owner
    assert repository.to_dict()["owner"] == {"userName": "you"}


def test_items_of_lists_stay_plain_values() -> None:
    schema = {"properties": {"users": {"type": "array", "items": {"properties": {"a": {"type": "string"}}}}}}
    made = generated(snapshotDefinition=schema).SnapshotDefinition.from_dict({"users": [{"a": "x"}]})
    assert made.users == [{"a": "x"}]


def test_combined_schemas_and_references_make_one_class() -> None:
    schema = {
        "definitions": {"port": {"type": "integer"}, "base": {"properties": {"aName": {"type": "string"}}}},
        "allOf": [
            {"$ref": "#/definitions/base"},
            {"properties": {"b": {"$ref": "#/definitions/port"}}, "required": ["b"]},
        ],
        "properties": {"c": {"allOf": [{"type": "integer"}, {"minimum": 3}]}},
    }
    found = generated(snapshotDefinition=schema).SnapshotDefinition
    assert found.attribute_map == {"a_name": "aName", "b": "b", "c": "c"}
    with pytest.raises(Exception, match="'b' must not be 'None'"):
        found(a_name="x")
    with pytest.raises(Exception, match="must be at least 3"):
        found(b=1, c=2)
    with pytest.raises(Exception, match="class 'int'"):
        found(b="1")


def test_a_schema_that_contains_itself_can_be_made() -> None:
    schema = {"properties": {"inner": {"$ref": "#"}, "name": {"type": "string"}}}
    made = generated(snapshotDefinition=schema).SnapshotDefinition.from_dict(
        {"name": "a", "inner": {"name": "b"}}
    )
    assert made.to_dict() == {"name": "a", "inner": {"name": "b"}}


def test_types_and_names_are_documented_as_plugins_expect(repository_class: Any) -> None:
    assert repository_class.swagger_types["port"] is int
    assert repository_class.swagger_types["tags"] is list
    assert repository_class.swagger_types["owner"].__name__ == "RepositoryDefinitionOwner"
    assert repository_class.attribute_map["install_path"] == "installPath"


@pytest.mark.parametrize("schema", [True, {}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}])
def test_a_property_without_one_type_takes_anything(schema: Any) -> None:
    made = generated(snapshotDefinition={"properties": {"x": schema}}).SnapshotDefinition(x=[1, "a"])
    assert made.to_dict() == {"x": [1, "a"]}


def test_a_property_of_several_types_takes_each() -> None:
    schema = {"required": ["x"], "properties": {"x": {"type": ["integer", "null"]}}}
    found = generated(snapshotDefinition=schema).SnapshotDefinition
    assert found(x=3).to_dict() == {"x": 3}
    assert found(x=None).to_dict() == {"x": None}
    with pytest.raises(Exception, match="class 'int'"):
        found(x="3")


def test_a_date_may_be_given_as_one() -> None:
    schema = {"properties": {"day": {"type": "string", "format": "date"}}}
    found = generated(snapshotDefinition=schema).SnapshotDefinition
    assert found(day=date(2026, 1, 2)).to_dict() == found(day="2026-01-02").to_dict() == {"day": "2026-01-02"}


@pytest.mark.parametrize("name", ["_values", "_set", "__class__", "to_dict", "_Model__values", "validate"])
def test_no_property_can_get_in_the_way_of_the_class(name: str) -> None:
    found = generated(snapshotDefinition={"properties": {name: {"type": "string"}}}).SnapshotDefinition
    made = found.from_dict({name: "x"})
    setattr(made, attribute_name(name), "y")
    assert made.to_dict() == {name: "y"}
    assert found.from_dict(made.to_dict()) == made


# values


def test_equality_and_hash_are_by_value(repository_class: Any) -> None:
    one, other = repository_class(install_path="/a", port=1), repository_class(install_path="/a", port=1)
    assert one == other
    assert hash(one) == hash(other)
    other.port = 2
    assert one != other
    assert one != {"installPath": "/a", "port": 1}
    assert len({one, other, repository_class(install_path="/a", port=1)}) == 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_objects_can_be_copied_and_pickled(repository_class: Any, copied: Callable[[Any], Any]) -> None:
    repository = repository_class(install_path="/a", owner={"userName": "me"})
    assert copied(repository) == repository


def test_properties_beyond_the_schema_survive_a_round_trip() -> None:
    found = generated(snapshotDefinition={"properties": {"a": {}}}).SnapshotDefinition
    assert found.from_dict({"a": 1, "later": [2]}).to_dict() == {"a": 1, "later": [2]}


def test_from_dict_takes_only_dicts(repository_class: Any, errors: Any) -> None:
    with pytest.raises(errors.GeneratedClassesError, match="made from a dict, not from list"):
        repository_class.from_dict([])


NAMES = st.sampled_from(["aName", "port", "class", "x-y", "HTTPProxy", "3d", "inner"])
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "integer": st.integers(),
    "number": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
}
Typed = tuple[dict[str, Any], st.SearchStrategy[Any]]


def array_of(item: Typed) -> Typed:
    return {"type": "array", "items": item[0]}, st.lists(item[1], max_size=3)


def object_of(properties: dict[str, Typed]) -> Typed:
    schema = {"type": "object", "properties": {name: one[0] for name, one in properties.items()}}
    values = {name: one[1] for name, one in properties.items()}
    return schema, st.fixed_dictionaries({}, optional=values)


TYPED: st.SearchStrategy[Typed] = st.recursive(
    st.sampled_from([({"type": kind}, values) for kind, values in PRIMITIVES.items()]),
    lambda inner: (
        st.builds(array_of, inner) | st.builds(object_of, st.dictionaries(NAMES, inner, max_size=3))
    ),
    max_leaves=6,
)
OBJECTS = st.builds(object_of, st.dictionaries(NAMES, TYPED, max_size=4))


@given(OBJECTS, st.data())
def test_what_fits_the_schema_survives_the_class_unchanged(typed: Typed, data: st.DataObject) -> None:
    schema, values = typed
    value = data.draw(values)
    assert PluginSchema({"snapshotDefinition": schema}).validate("snapshotDefinition", value) == []
    found = generated(snapshotDefinition=schema).SnapshotDefinition
    made = found.from_dict(value)
    assert made.to_dict() == value
    assert found.from_dict(made.to_dict()) == made
    assert hash(found.from_dict(made.to_dict())) == hash(made)
    attributes = {attribute_name(name): inner for name, inner in value.items()}
    assert found(**attributes).to_dict() == value
