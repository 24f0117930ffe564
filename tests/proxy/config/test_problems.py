"""Every fault is one line with the key, the value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import AnyUrl, BaseModel, ValidationError

from proxy.config.model import Config
from proxy.config.problems import problems_of, unknown
from proxy.upstream.balance import MAX_WEIGHT

SITE = {"names": ["api.example.com"], "upstreams": ["127.0.0.1:8000"]}


def problems(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(tree)
    return problems_of(caught.value, lambda key: "--http" if key == ("http",) else None)


@pytest.mark.parametrize(
    ("tree", "problem"),
    [
        ({"wrokers": 1}, "wrokers: unknown key; did you mean 'workers'?"),
        (
            {"log": {"nonsense": 1}},
            "log.nonsense: unknown key; known are access, level",
        ),
        (
            {"limits": {"heder_count": 1}},
            "limits.heder_count: unknown key; did you mean 'header_count'?",
        ),
        (
            {"log": {"level": "loud"}},
            "log.level: 'loud' is not allowed; allowed are "
            "'critical', 'error', 'warning', 'info' or 'debug'",
        ),
        (
            {"http": "h3"},
            "http (from --http): 'h3' is not allowed; allowed are 'auto', 'h11' or 'httptools'",
        ),
        (
            {"log": {"access": "maybe"}},
            "log.access: 'maybe' is not allowed; allowed are true and false",
        ),
        ({"limits": {"header_count": "x"}}, "limits.header_count: 'x' is no whole number"),
        ({"limits": {"header_count": 1.5}}, "limits.header_count: 1.5 is no whole number"),
        ({"limits": {"stall_timeout": "x"}}, "limits.stall_timeout: 'x' is no number"),
        ({"limits": {"stall_timeout": float("inf")}}, "limits.stall_timeout: inf is no number"),
        (
            {"limits": {"header_count": 0}},
            "limits.header_count: 0 is too small; allowed is 1 or more",
        ),
        (
            {"limits": {"stall_timeout": 0}},
            "limits.stall_timeout: 0 is too small; it must be more than 0",
        ),
        ({"listen": 3}, "listen: 3 is no table; write it as key = value pairs"),
        ({"listen": {"https": []}}, "listen.https: is empty; at least one is needed"),
        (
            {"listen": {"https": "[::]:1"}},
            "listen.https: '[::]:1' is no list; write it in brackets: [ ... ]",
        ),
        ({"user": ""}, "user: is empty"),
        (
            {"sites": [{**SITE, "balancing": {"weights": [10**9]}}]},
            "sites[0].balancing.weights[0]: 1000000000 is too large; "
            f"allowed is {MAX_WEIGHT} or less",
        ),
        (
            {"sites": [{**SITE, "headers": {"request_set": 3}}]},
            "sites[0].headers.request_set: 3 is no table; write it as key = value pairs",
        ),
        ({"user": 3}, "user: 3 is not text; write it in quotes"),
        ({"storage": 3}, "storage: 3 is not text; write a store in quotes"),
        ({"sites": [{**SITE, "upstreams": ["x" * 200]}]}, None),
        ({"sites": [{**SITE, "routes": [{}]}]}, "sites[0].routes[0].path: is missing"),
    ],
)
def test_a_fault_in_words(tree: dict[str, Any], problem: str | None) -> None:
    found = problems({"sites": [SITE], **tree})
    assert len(found) == 1
    if problem is not None:
        assert found == [problem]


def test_no_site_says_what_to_do() -> None:
    (problem,) = problems({})
    assert problem.startswith("sites: none is configured; write a [[sites]] table")
    assert problems({"sites": []}) == ["sites: is empty; at least one is needed"]


def test_a_long_value_is_cut() -> None:
    (problem,) = problems({"sites": [SITE], "log": {"level": "x" * 500}})
    assert len(problem) < 250


def test_a_list_with_bad_items_is_not_called_empty() -> None:
    found = problems({"sites": [{"names": ["a b"], "upstreams": ["h:1"]}]})
    assert len(found) == 1
    assert found[0].startswith("sites[0].names[0]: 'a b' is no host name")


def test_a_kind_of_fault_without_words_of_its_own() -> None:
    class Other(BaseModel):
        url: AnyUrl

    with pytest.raises(ValidationError) as caught:
        Other.model_validate({"url": "x"})
    (problem,) = problems_of(caught.value, lambda key: None)
    assert problem.startswith("url: 'x': Input should be a valid URL")


def test_unknown_names() -> None:
    assert unknown("emial", ["email", "name"], "option") == (
        "unknown option; did you mean 'email'?"
    )
    assert unknown("x", []) == "unknown key"
