"""One certificate in the manager's care."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acme_client.request import CertificateRequest
from acme_client.state import CertificateState, Failure, document_name
from acme_client.store.files import FileStore
from acme_client.tended import Tended, after_interruption
from tests.acme_client.support import DAY, MINUTE, START, make_new

pytestmark = pytest.mark.usefixtures("inline_threads", "quick_disk")

REQUEST = CertificateRequest(names=("a.example", "b.example"), key_types=("p256", "rsa2048"))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path, lambda: START)


@pytest.mark.anyio
async def test_loading_tells_when_another_process_stored_something(store: FileStore) -> None:
    item = Tended(REQUEST, "p256")
    assert not await item.load(store)
    store.save_certificate(item.id, make_new(REQUEST.names))
    assert await item.load(store)
    assert item.stored is not None
    assert item.lifetime == 90 * DAY
    assert not await item.load(store)
    # At the first look everything is as it should be: servers loaded it themselves.
    assert not await Tended(REQUEST, "p256").load(store)


@pytest.mark.anyio
async def test_what_is_remembered_is_kept(store: FileStore) -> None:
    item = Tended(REQUEST, "rsa2048")
    await item.remember(store, CertificateState(failures=3))
    other = Tended(REQUEST, "rsa2048")
    await other.load(store)
    assert other.state.failures == 3
    first = Tended(REQUEST, "p256")
    await first.load(store)
    assert first.state.failures == 0


@pytest.mark.anyio
async def test_a_damaged_state_is_begun_anew(store: FileStore) -> None:
    name = document_name("a.example")
    store.save_document(name, {"failures": 1})
    item = Tended(REQUEST, "p256")
    await item.load(store, only_look=True)
    assert (item.state, item.loaded) == (CertificateState(), False)
    assert store.load_document(name) is not None
    await item.load(store)
    assert (item.state, item.loaded) == (CertificateState(), True)
    assert store.load_document(name) is None


def test_tasks(store: FileStore) -> None:
    item = Tended(REQUEST, "p256")
    assert item.task().replaces is None
    assert not item.task().rehearse
    item.stored = store.save_certificate(item.id, make_new(["b.example", "a.example"]))
    assert item.task().replaces is item.stored
    item.stored = store.save_certificate(item.id, make_new(["a.example"]))
    assert item.task().replaces is None
    for kind, rehearse in (("validation", True), ("unreachable", False)):
        failure = Failure(at=START, issuer="ca", kind=kind, message="no")
        item.state = CertificateState(last_failure=failure)
        assert item.task().rehearse is rehearse


def test_one_interruption_is_an_accident() -> None:
    state = after_interruption(CertificateState(attempt_started=START), None, 0.5)
    assert (state.interruptions, state.retry_at, state.attempt_started) == (1, None, None)


def test_a_crash_loop_backs_off() -> None:
    state, waits = CertificateState(), []
    for _ in range(5):
        state = after_interruption(replace(state, attempt_started=START), None, 0.5)
        waits.append(state.retry_at and state.retry_at - START)
        state = replace(state, retry_at=None)
    assert waits == [None, MINUTE, 10 * MINUTE, 100 * MINUTE, DAY]


def test_an_earlier_back_off_is_not_shortened() -> None:
    state = CertificateState(attempt_started=START, interruptions=1, retry_at=START + DAY)
    assert after_interruption(state, None, 0.5).retry_at == START + DAY
