from __future__ import annotations

from datetime import UTC, datetime

from acme_client.testing.records import Record, Records
from acme_client.testing.wire import Endpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _record(endpoint: Endpoint | None, *names: str) -> Record:
    return Record(at=NOW, method="POST", path="/x", endpoint=endpoint, names=names)


def test_sorted_by_endpoint_and_name() -> None:
    records = Records(10)
    order, other = _record(Endpoint.NEW_ORDER, "a.example"), _record(None)
    records.add(order)
    records.add(other)
    assert records.at("newOrder") == [order]
    assert records.about("a.example") == [order]
    assert (records.count("newOrder"), records.count("finalize"), records.total) == (1, 0, 2)
    assert records[-1] is other
    assert list(records) == [order, other]


def test_bounded_but_counted_on() -> None:
    records = Records(3)
    for _ in range(5):
        records.add(_record(Endpoint.ORDER))
    assert (len(records), records.count("order")) == (3, 5)
    records.clear()
    assert (len(records), records.total) == (0, 0)


def test_repr_is_one_line() -> None:
    record = _record(Endpoint.NEW_ORDER, "a.example")
    record.status, record.problem = 429, "rateLimited"
    assert repr(record) == "<POST newOrder a.example 429 rateLimited>"
    assert repr(_record(None)) == "<POST /x 0>"
