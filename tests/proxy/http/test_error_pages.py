"""Error pages: small, in the form that was asked for, and silent about what is behind."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import pytest

import proxy
from proxy.http.error_pages import error_page, grpc_error, reason_phrase

STATUSES = [400, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 502, 503, 504, 505]


@pytest.mark.parametrize("status", [*STATUSES, 418, 499, 599])
def test_pages_are_small_and_leak_nothing(status: int) -> None:
    for wants_json in (False, True):
        _, body = error_page(status, wants_json)
        assert 0 < len(body) < 600
        text = body.decode().lower()
        for secret in (
            proxy.__version__,
            "vestibule",
            "python",
            "127.0.0.1",
            "traceback",
            "upstream",
        ):
            assert secret not in text


@pytest.mark.parametrize("status", STATUSES)
def test_html(status: int) -> None:
    content_type, body = error_page(status, False)
    assert content_type == b"text/html; charset=utf-8"
    text = body.decode()
    assert text.startswith("<!doctype html>")
    assert f"<title>{status} {reason_phrase(status)}</title>" in text
    assert re.search(r"<p>[A-Z].*\.</p>", text)


@pytest.mark.parametrize("status", STATUSES)
def test_json(status: int) -> None:
    content_type, body = error_page(status, True)
    assert content_type == b"application/json"
    page = json.loads(body)
    assert list(page) == ["detail"]
    assert page["detail"].endswith(".")


def test_a_detail_takes_the_place_of_the_text() -> None:
    for wants_json in (False, True):
        assert b"Come back tomorrow." in error_page(503, wants_json, "Come back tomorrow.")[1]


def test_reason_phrases() -> None:
    assert reason_phrase(404) == "Not Found"
    assert reason_phrase(499) == ""


@pytest.mark.parametrize("status", STATUSES)
def test_a_grpc_client_gets_a_status_of_its_own(status: int) -> None:
    fields = dict(grpc_error(status))
    assert list(fields) == [b"content-type", b"grpc-status", b"grpc-message"]
    assert 1 <= int(fields[b"grpc-status"]) <= 16
    page = json.loads(error_page(status, True)[1])
    assert unquote(fields[b"grpc-message"].decode("ascii")) == page["detail"]


def test_grpc_statuses() -> None:
    codes = {502: 14, 503: 14, 504: 4, 404: 12, 413: 8, 418: 2}
    assert {s: int(dict(grpc_error(s))[b"grpc-status"]) for s in codes} == codes
    assert dict(grpc_error(500, "100 % wrong"))[b"grpc-message"] == b"100 %25 wrong"
