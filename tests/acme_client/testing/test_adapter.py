from __future__ import annotations

import pytest
import requests

from acme_client.testing import AcmeCA, CutBody, Delay, Pad
from tests.acme_client.testing.raw import RawClient


def test_other_hosts_are_out_of_reach(client: RawClient) -> None:
    with pytest.raises(requests.ConnectionError, match="is not at the test CA"):
        client.session.get("https://evil.example/directory", timeout=1)


def test_a_stopped_ca_refuses_connections(ca: AcmeCA, client: RawClient) -> None:
    ca.stop()
    with pytest.raises(requests.ConnectionError, match="refused"):
        client.get("/directory")


def test_late_answers_time_out_at_once(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Delay(3600), at="newOrder", times=2)
    with pytest.raises(requests.ReadTimeout):
        client.order("a.example")
    # It took effect all the same.
    assert len(ca.orders) == 1
    with pytest.raises(requests.ReadTimeout):
        client.session.post(client.url("/new-order"), timeout=(1, 5))


def test_slow_answers_come(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(Delay(0.01), at="directory")
    assert client.get("/directory").ok


def test_broken_and_huge_bodies(ca: AcmeCA, client: RawClient) -> None:
    ca.faults.add(CutBody(), at="directory")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get("/directory")
    ca.faults.add(Pad(100_000), at="directory")
    answer = client.get("/directory")
    assert len(answer.content) == int(answer.headers["Content-Length"]) > 100_000
    assert answer.json()["newNonce"]
    ca.faults.add(Pad(1 << 40), at="directory")
    endless = client.get("/directory", stream=True)
    assert next(endless.iter_content(1000))
    endless.close()


def test_links_survive(ca: AcmeCA, client: RawClient) -> None:
    answer = client.post(str(client.account_url))
    assert set(answer.links) == {"terms-of-service", "index"}
