"""Every format of Draft 7 is checked, with one good and one bad value of each at least."""

from __future__ import annotations

import pytest

from dlpx_remote.plugins.formats import format_checker

# JSON Schema Validation (Draft 7), section 7.3
EXAMPLES = {
    "date-time": ("2026-02-28T23:59:59.5+01:00", "2026-02-28 soon"),
    "date": ("2026-02-28", "2026-02-30"),
    "time": ("23:59:59Z", "25:00:00Z"),
    "email": ("somebody@example.com", "somebody"),
    "idn-email": ("jemand@exämple.com", "jemand"),
    "hostname": ("db1.example.com", "-db1-.example.com"),
    "idn-hostname": ("bücher.example.com", "〮bücher"),
    "ipv4": ("192.0.2.1", "192.0.2.300"),
    "ipv6": ("2001:db8::1", "2001:db8::1::1"),
    "uri": ("https://example.com/a?b#c", "//example.com/a"),
    "uri-reference": ("../a?b#c", "\\\\server\\share"),
    "iri": ("https://exämple.com/ä?ö#ü", "//exämple.com/ä"),
    "iri-reference": ("../ä?ö#ü", "\\\\sërver\\share"),
    "uri-template": ("https://example.com/{name}", "https://example.com/{name"),
    "json-pointer": ("/a/0/~0~1", "a/0"),
    "relative-json-pointer": ("1/a", "/a"),
    "regex": ("^(a|b)+$", "^(a|b"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_format_takes_what_is_good_and_refuses_what_is_bad(name: str) -> None:
    good, bad = EXAMPLES[name]
    assert format_checker().conforms(good, name)
    assert not format_checker().conforms(bad, name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_format_says_nothing_of_what_is_no_text(name: str) -> None:
    assert format_checker().conforms(3, name)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("http://☃.net/", True),
        ("http://ƒøø.ßår/?∂éœ=πîx#πîüx", True),
        ("urn:ä", True),
        ("http://example.com/%C3%A4ä", True),
        ("http://example.com/?\ue000", True),  # for private use: in a query only
        ("http://example.com/\ue000", False),
        ("http://example.com/#\ue000", False),
        ("http://example.com/\ufffe", False),
        ("http://example.com/\ud800", False),
        ("http://example.com:８０/", False),
        ("häme://example.com/", False),
        ("http://example.com/a b", False),
        ("http://example.com/%zz", False),
        ("http://example.com/ä\n", False),
        ("ä", False),
        ("", False),
    ],
)
def test_an_iri_is_a_uri_with_some_characters_beyond_ascii(value: str, good: bool) -> None:
    assert format_checker().conforms(value, "iri") is good


def test_an_iri_reference_may_be_empty_but_not_look_like_a_strange_scheme() -> None:
    assert format_checker().conforms("", "iri-reference")
    assert not format_checker().conforms("ä:b", "iri-reference")
