from __future__ import annotations

from typing import Any

import pytest

from acme_client.testing.identifiers import (
    Identifier,
    last_two_labels,
    parse_identifier,
    parse_identifiers,
)
from acme_client.testing.problems import Problem


@pytest.mark.parametrize(
    ("kind", "value", "parsed"),
    [
        ("dns", "a.example", "a.example"),
        ("dns", "A.Example", "a.example"),
        ("dns", "*.a.example", "*.a.example"),
        ("dns", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ip", "192.0.2.1", "192.0.2.1"),
        ("ip", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_accepted(kind: str, value: str, parsed: str) -> None:
    assert parse_identifier(kind, value) == Identifier(kind, parsed)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("dns", "", "rejectedIdentifier"),
        ("dns", "localhost", "rejectedIdentifier"),
        ("dns", "a..example", "rejectedIdentifier"),
        ("dns", "a.example.", "rejectedIdentifier"),
        ("dns", "-a.example", "rejectedIdentifier"),
        ("dns", "bücher.example", "rejectedIdentifier"),
        ("dns", "a.*.example", "rejectedIdentifier"),
        ("dns", "192.0.2.1", "rejectedIdentifier"),
        ("dns", "a" * 64 + ".example", "rejectedIdentifier"),
        ("dns", ".".join(["a" * 60] * 5), "rejectedIdentifier"),
        ("dns", "a.example\n", "rejectedIdentifier"),
        ("ip", "a.example", "rejectedIdentifier"),
        ("ip", "2001:DB8::1", "rejectedIdentifier"),
        ("ip", "2001:db8:0::1", "rejectedIdentifier"),
        ("email", "a@b.example", "unsupportedIdentifier"),
    ],
)
def test_refused(kind: str, value: str, problem: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_identifier(kind, value)
    assert caught.value.kind == problem


def _dns(*names: str) -> list[dict[str, str]]:
    return [{"type": "dns", "value": name} for name in names]


def test_doubles_are_dropped_and_the_order_kept() -> None:
    parsed = parse_identifiers(_dns("b.example", "a.example", "B.example"))
    assert [identifier.value for identifier in parsed] == ["b.example", "a.example"]


@pytest.mark.parametrize(
    "raw", [None, [], {}, ["a.example"], [{"type": "dns"}], [{"type": 1, "value": "a.example"}]]
)
def test_shapes_that_are_malformed(raw: Any) -> None:
    with pytest.raises(Problem) as caught:
        parse_identifiers(raw)
    assert caught.value.kind == "malformed"


def test_no_more_than_a_hundred() -> None:
    with pytest.raises(Problem, match="100 identifiers, not 101"):
        parse_identifiers(_dns(*(f"n{i}.example" for i in range(101))))


def test_one_fault_is_told_by_itself_and_several_as_subproblems() -> None:
    with pytest.raises(Problem) as caught:
        parse_identifiers(_dns("good.example", "bad"))
    assert caught.value.kind == "rejectedIdentifier"
    assert caught.value.identifier == {"type": "dns", "value": "bad"}
    with pytest.raises(Problem) as caught:
        parse_identifiers([*_dns("good.example", "bad"), {"type": "email", "value": "x"}])
    assert caught.value.kind == "compound"
    assert [problem.kind for problem in caught.value.subproblems] == [
        "rejectedIdentifier",
        "unsupportedIdentifier",
    ]
    with pytest.raises(Problem) as caught:
        parse_identifiers(_dns("bad", "worse"))
    assert caught.value.kind == "rejectedIdentifier"


def test_wildcards_are_authorized_by_their_base() -> None:
    wildcard = Identifier("dns", "*.a.example")
    assert wildcard.wildcard
    assert wildcard.base == Identifier("dns", "a.example")
    assert not wildcard.base.wildcard
    assert wildcard.base.base == wildcard.base


def test_last_two_labels() -> None:
    assert last_two_labels("*.a.b.example") == "b.example"
