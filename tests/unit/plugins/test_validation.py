from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.plugins.schema import PluginSchema

SUPPLIERS = "https://delphix.com/platform/api#/definitions/"
SECRET = "hunter2-and-more"


def messages(schema: dict[str, Any], value: Any) -> list[str]:
    return PluginSchema({"snapshotDefinition": schema}).validate("snapshotDefinition", value)


def of_property(schema: Any, value: Any) -> list[str]:
    return messages({"type": "object", "properties": {"one": schema}}, {"one": value})


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, "3", '$.one: expected a whole number, but found the text "3".'),
        ({"type": "integer"}, True, "$.one: expected a whole number, but found the truth value true."),
        ({"type": ["string", "null"]}, 3, "$.one: expected a text or null, but found the number 3."),
        ({"type": "string"}, None, "$.one: expected a text, but found null."),
        ({"type": "string"}, {"a": 1}, "$.one: expected a text, but found an object."),
        ({"enum": ["a", "b"]}, "c", '$.one: expected one of "a", "b", but found the text "c".'),
        ({"const": 3}, 4, "$.one: expected 3, but found the number 4."),
        ({"multipleOf": 5}, 7, "$.one: expected a multiple of 5, but found the number 7."),
        ({"minItems": 2}, [1], "$.one: expected at least 2 items, but found a list of 1 items."),
        ({"uniqueItems": True}, [1, 1], "expected items that differ from each other"),
        ({"pattern": "^/"}, "a", 'expected a text that matches the pattern `^/`, but found the text "a".'),
        ({"format": "date"}, "soon", 'expected a text in the format `date`, but found the text "soon".'),
        ({"format": "ipv4"}, "300.1.1.1", "expected a text in the format `ipv4`"),
        ({"required": ["a"]}, {}, "$.one: the property `a` is missing."),
        ({"properties": {"port": {}}, "additionalProperties": False}, {"prot": 1}, "did you mean `port`?"),
        ({"items": {"type": "string"}}, ["a", 3], "$.one[1]: expected a text, but found the number 3."),
        ({"anyOf": [{"type": "integer"}, {"minLength": 9}]}, "abc", "fits none of the alternatives"),
        ({"not": {"type": "string"}}, "abc", "the schema's `not` does not allow"),
        (False, 1, "nothing may stand here"),
        ({"maxLength": 9}, "x" * 500, "…"),
        ({"type": "integer"}, {1, 2}, "a value that JSON does not have (set)"),
    ],
)
def test_a_violation_says_where_what_was_expected_and_what_came(
    schema: Any, value: Any, message: str
) -> None:
    found = of_property(schema, value)
    assert len(found) == 1
    assert message in "".join(found)
    assert len("".join(found)) < 300


def test_a_good_value_has_no_violations() -> None:
    assert of_property({"type": "integer", "minimum": 1}, 1) == []


def test_every_violation_is_reported() -> None:
    schema = {"required": ["a", "b"], "properties": {"c": {"type": "string"}}}
    assert sorted(messages(schema, {"c": 1})) == [
        "$.c: expected a text, but found the number 1.",
        "$: the property `a` is missing.",
        "$: the property `b` is missing.",
    ]


SECRET_PLACES: list[tuple[dict[str, Any], Any]] = [
    ({"format": "password", "maxLength": 3}, SECRET),
    ({"type": "string", "format": "password", "pattern": "^x"}, SECRET),
    ({"type": "string", "format": "password", "enum": ["a"]}, SECRET),
    ({"items": {"format": "password", "maxLength": 3}}, [SECRET]),
    ({"additionalProperties": {"format": "password", "maxLength": 3}}, {"any": SECRET}),
    ({"patternProperties": {"^a": {"format": "password", "maxLength": 3}}}, {"any": SECRET}),
    ({"anyOf": [{"format": "password", "maxLength": 3}, {"type": "integer"}]}, SECRET),
    ({"properties": {"two": {"format": "password"}}, "not": {"required": ["two"]}}, {"two": SECRET}),
    ({"$ref": f"{SUPPLIERS}passwordCredentialsSupplier"}, {"type": "x", "password": SECRET}),
    ({"$ref": f"{SUPPLIERS}credentialsSupplier"}, SECRET),
    (
        {"$ref": f"{SUPPLIERS}keyCredentialsSupplier"},
        {"type": "NamedKeyPairCredential", "privateKey": 3, "publicKey": SECRET},
    ),
    ({"$ref": "#/definitions/secret"}, SECRET),
]


@pytest.mark.parametrize(("schema", "value"), SECRET_PLACES)
def test_a_violation_never_shows_a_secret(schema: dict[str, Any], value: Any) -> None:
    definition = {
        "definitions": {"secret": {"format": "password", "maxLength": 3}},
        "properties": {"one": schema},
    }
    found = messages(definition, {"one": value})
    assert found
    assert SECRET not in "".join(found)


@pytest.mark.parametrize(("schema", "value"), SECRET_PLACES)
def test_a_masked_value_holds_no_secret(schema: dict[str, Any], value: Any) -> None:
    definition = {
        "definitions": {"secret": {"format": "password", "maxLength": 3}},
        "properties": {"one": schema, "plain": {"type": "string"}},
    }
    plugin_schema = PluginSchema({"snapshotDefinition": definition})
    shown = plugin_schema.masked("snapshotDefinition", {"one": value, "plain": "seen"})
    assert SECRET not in repr(shown)
    if "patternProperties" not in schema:
        assert shown["plain"] == "seen"


@pytest.mark.parametrize(
    ("supplier", "value", "good"),
    [
        ("credentialsSupplier", {"type": "NamedPasswordCredential", "password": "p"}, True),
        (
            "credentialsSupplier",
            {"type": "NamedKeyPairCredential", "username": "u", "privateKey": "k"},
            True,
        ),
        (
            "credentialsSupplier",
            {"type": "CyberArkVaultCredential", "vault": "V-1", "queryString": "q"},
            True,
        ),
        ("passwordCredentialsSupplier", {"type": "NamedPasswordCredential", "password": "p"}, True),
        ("passwordCredentialsSupplier", {"type": "NamedKeyPairCredential", "privateKey": "k"}, False),
        ("keyCredentialsSupplier", {"type": "NamedPasswordCredential", "password": "p"}, False),
        ("keyCredentialsSupplier", {"type": "NamedKeyPairCredential", "privateKey": "k"}, True),
        ("credentialsSupplier", {"type": "NamedPasswordCredential"}, False),
    ],
)
@pytest.mark.parametrize("form", ["#/definitions/", "#"])
def test_credentials_suppliers_are_known_without_a_network(
    supplier: str, value: Any, good: bool, form: str
) -> None:
    found = of_property({"$ref": f"https://delphix.com/platform/api{form}{supplier}"}, value)
    assert (found == []) is good


def test_a_schema_that_refers_to_itself_without_end_is_an_error_and_no_crash() -> None:
    schema = {"allOf": [{"$ref": "#"}]}
    assert "without end" in messages(schema, {"a": 1})[0]


def test_endless_violations_are_cut_short() -> None:
    found = of_property({"items": {"type": "string"}}, list(range(10_000)))
    assert len(found) == 51
    assert "more violations" in found[-1]


@pytest.mark.parametrize("value", [1e400, 10**400])
def test_numbers_beyond_measure_are_judged(value: float) -> None:
    assert of_property({"multipleOf": 0.01, "maximum": 5}, value)


def test_values_may_contain_themselves_as_often_as_they_like() -> None:
    schema = {"type": "object", "properties": {"inner": {"$ref": "#"}}, "additionalProperties": False}
    assert messages(schema, {"inner": {"inner": {}}}) == []
    assert "`x` is unknown" in messages(schema, {"inner": {"inner": {"x": 1}}})[0]


def test_identity_and_name_of_an_object() -> None:
    schema = PluginSchema(
        {
            "repositoryDefinition": {"identityFields": ["path", "version"], "nameField": ["title"]},
            "sourceConfigDefinition": {"identityFields": ["path"], "nameField": "path"},
        }
    )
    value = {"path": "/a", "title": "A", "other": 1}
    assert schema.identity("repositoryDefinition", value) == {"path": "/a", "version": None}
    assert schema.name("repositoryDefinition", value) == "A"
    assert schema.name("repositoryDefinition", {"path": "/a", "version": 3}) == "/a, 3"
    assert schema.name("sourceConfigDefinition", value) == "/a"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_any_json_value_is_judged_in_words(value: Any) -> None:
    for message in messages({"type": "object", "required": ["one"], "maxProperties": 1}, value):
        assert message.startswith("$")
        assert message.endswith(".")
