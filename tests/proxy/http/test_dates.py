"""Tests of proxy.http.dates."""

from __future__ import annotations

from proxy.http.dates import http_date


def test_imf_fixdate() -> None:
    assert http_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
