from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from acme_client.testing import AcmeCA
from acme_client.testing.objects import Urls, rfc3339
from tests.acme_client.testing.raw import RawClient


def test_dates_are_utc_without_fractions() -> None:
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
    east = timezone(timedelta(hours=2))
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=east)) == "2026-01-02T01:04:05Z"


def test_urls() -> None:
    assert Urls("https://ca.example").of("order", 7) == "https://ca.example/order/7"


def test_reprs_are_one_line(ca: AcmeCA, client: RawClient) -> None:
    client.issue("*.a.example")
    authorization, order = ca.authorizations[0], ca.orders[0]
    assert repr(authorization) == f"<Authorization {authorization.id} *.a.example valid>"
    assert repr(authorization.challenges[0]).endswith("dns-01 valid>")
    assert repr(order) == f"<Order {order.id} valid for *.a.example>"
    assert "for *.a.example," in repr(ca.certificates[0])


def test_requested_is_as_the_order_named_it(ca: AcmeCA, client: RawClient) -> None:
    client.order("*.a.example", "b.example")
    requested = [authorization.requested.value for authorization in ca.authorizations]
    assert requested == ["*.a.example", "b.example"]
