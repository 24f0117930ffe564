"""Tests of proxy.http.header_rules."""

from __future__ import annotations

import pytest

from proxy.http.head import ResponseHead, interpret_response
from proxy.http.header_rules import NO_RULES, HeaderRules, header_rules
from proxy.http.headers import response_forwardable


def response(*fields: tuple[bytes, bytes]) -> ResponseHead:
    return ResponseHead(200, b"OK", 11, interpret_response(list(fields)))


def test_set_replaces_and_remove_takes_out() -> None:
    rules = HeaderRules({"Server": "vestibule", "X-New": "1"}, ["x-powered-by"])
    head = rules.apply(
        response((b"server", b"uvicorn"), (b"X-Powered-By", b"x"), (b"Content-Length", b"2"))
    )
    assert response_forwardable(head.fields) == b"Server: vestibule\r\nX-New: 1\r\n"
    assert head.fields.length == 2


def test_the_original_is_left_alone() -> None:
    original = response((b"server", b"uvicorn"))
    HeaderRules({}, ["server"]).apply(original)
    assert response_forwardable(original.fields) == b"server: uvicorn\r\n"


def test_a_header_that_was_set_is_not_nominated_away() -> None:
    rules = HeaderRules({"X-Kept": "1"}, [])
    head = rules.apply(response((b"Connection", b"x-kept"), (b"X-Kept", b"0")))
    assert response_forwardable(head.fields) == b"X-Kept: 1\r\n"


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "transfer-encoding",
        "Content-Length",
        "Host",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "Forwarded",
        "X-Real-IP",
        "Upgrade",
    ],
)
def test_what_is_the_proxys_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set or removed"):
        HeaderRules({name: "x"}, [])
    with pytest.raises(ValueError, match="cannot be set or removed"):
        HeaderRules({}, [name])


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "a\r\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no header name"):
        HeaderRules({}, [name])


@pytest.mark.parametrize("value", ["a\r\nX: y", "\0", " padded", "é"])
def test_what_is_no_value_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="no header value"):
        HeaderRules({"X": value}, [])


def test_no_rules_are_one_object() -> None:
    assert header_rules({}, []) is NO_RULES
    assert not NO_RULES
    assert header_rules({"X": "y"}, [])
