from __future__ import annotations

import pytest

from acme_client.testing.wire import Endpoint, Reply, json_reply


def test_each_link_is_a_header_of_its_own() -> None:
    reply = Reply(headers={"A": "1"}, links=[("index", "https://x/d"), ("up", "https://x/u")])
    assert reply.fields() == [
        ("A", "1"),
        ("Link", '<https://x/d>;rel="index"'),
        ("Link", '<https://x/u>;rel="up"'),
    ]


def test_json_reply() -> None:
    reply = json_reply({"a": 1}, 201, headers={"X": "y"})
    assert (reply.status, reply.body) == (201, b'{"a": 1}')
    assert reply.headers == {"Content-Type": "application/json", "X": "y"}


def test_endpoints_are_named_as_in_the_directory() -> None:
    assert Endpoint("newOrder") is Endpoint.NEW_ORDER
    with pytest.raises(ValueError, match="newOrders"):
        Endpoint("newOrders")
