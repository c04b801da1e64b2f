"""Comparing what was found with what was known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.workflows.reconcile import (
    DuplicateIdentity,
    Found,
    Known,
    Match,
    canonical,
    digest,
    reconcile,
)

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = BEFORE + timedelta(hours=1)
AFTER = STARTED + timedelta(hours=1)


def found(identity: Any, name: str = "name", **parameters: Any) -> Found:
    return Found(name, {"id": identity}, {"id": identity, **parameters})


def known(identity: Any, *, present: bool = True, manual: bool = False, **parameters: Any) -> Known:
    return Known(
        f"R-{identity}",
        "name",
        {"id": identity},
        {"id": identity, **parameters},
        present,
        manual,
        BEFORE,
    )


def changes(matches: list[Match]) -> list[tuple[str, Any]]:
    return [
        (match.change, (match.found or match.known).identity["id"])  # type: ignore[union-attr]
        for match in matches
    ]


def test_each_object_gets_the_change_that_it_went_through() -> None:
    matches = reconcile(
        [
            known("same"),
            known("other", port=1),
            known("lost"),
            known("back", present=False),
            known("long gone", present=False),
            known("by hand", manual=True),
            known("by hand, found too", manual=True),
        ],
        [found("fresh"), found("back"), found("other", port=2), found("same"), found("by hand, found too")],
        STARTED,
    )
    assert changes(matches) == [
        ("new", "fresh"),
        ("returned", "back"),
        ("changed", "other"),
        ("unchanged", "same"),
        ("manual", "by hand, found too"),
        ("gone", "lost"),
        ("manual", "by hand"),
    ]


def test_another_name_is_a_change() -> None:
    assert changes(reconcile([known("a")], [found("a", name="renamed")], STARTED)) == [("changed", "a")]


def test_what_another_discovery_saw_since_this_one_began_is_not_gone() -> None:
    entry = Known("R-1", "name", {"id": 1}, {"id": 1}, True, False, AFTER)
    assert changes(reconcile([entry], [], STARTED)) == [("unchanged", 1)]


def test_two_objects_of_one_identity_are_refused_with_both_names() -> None:
    with pytest.raises(
        DuplicateIdentity, match=r"two repositories with one identity, 'one' and 'two'"
    ) as caught:
        reconcile([], [found("a", name="one"), found("a", name="two")], STARTED, "repositories")
    assert "identityFields" in caught.value.action


def test_numbers_that_json_takes_as_equal_are_one_identity() -> None:
    assert digest({"port": 5432}) == digest({"port": 5432.0})
    assert digest({"port": True}) != digest({"port": 1})
    assert digest({"port": "1"}) != digest({"port": 1})


def test_the_order_of_keys_does_not_matter() -> None:
    assert canonical({"a": 1, "b": [{"c": 2, "d": 3}]}) == canonical({"b": [{"d": 3, "c": 2}], "a": 1})


IDENTITIES = st.one_of(st.integers(-3, 3), st.text("ab\x00é", max_size=2), st.none())


@given(
    before=st.lists(st.tuples(IDENTITIES, st.booleans(), st.booleans()), unique_by=lambda one: one[0]),
    now=st.lists(IDENTITIES, unique=True),
)
def test_nothing_is_lost_or_doubled(before: list[tuple[Any, bool, bool]], now: list[Any]) -> None:
    entries = [known(identity, present=present, manual=manual) for identity, present, manual in before]
    matches = reconcile(entries, [found(identity) for identity in now], STARTED)
    # everything found is reported once, in its order and first
    assert [match.found.identity["id"] for match in matches if match.found] == now
    assert [match.found is not None for match in matches] == sorted(
        (match.found is not None for match in matches), reverse=True
    )
    # everything known is matched at most once; only what had been gone already is left out
    matched = [match.known.reference for match in matches if match.known]
    assert len(matched) == len(set(matched))
    left_out = [entry for entry in entries if entry.reference not in matched]
    assert all(not entry.present and not entry.manual for entry in left_out)
    for match in matches:
        expected = {
            (False, True): {"new"},
            (True, True): {"unchanged", "changed", "returned", "manual"},
            (True, False): {"gone", "manual"},
        }
        assert match.change in expected[match.known is not None, match.found is not None]
        if match.known is not None and match.known.manual:
            assert match.change == "manual"
        if match.change == "new":
            assert match.new is match.found


def test_what_was_not_found_cannot_be_new() -> None:
    with pytest.raises(ValueError, match="only what was found"):
        _ = Match("gone", known(1), None).new


@given(now=st.lists(IDENTITIES, unique=True))
def test_discovering_the_same_again_changes_nothing(now: list[Any]) -> None:
    everything = [found(identity) for identity in now]
    after = [known(identity) for identity in now]
    assert {match.change for match in reconcile(after, everything, STARTED)} <= {"unchanged"}
