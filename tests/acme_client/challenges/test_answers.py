"""Answers are put in place and taken away."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from acme_client.challenges.answers import (
    ANSWER_LIFETIME,
    LOCK_TRIES,
    DnsAnswer,
    clean_up,
    dns_value,
    make_answer,
)
from acme_client.errors import NotPresented
from acme_client.issuer import Environment
from tests.acme_client.support import FakeClock, make_environment, settle

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]


class RecordingSolver:
    """A DNS solver that does what it is told, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[tuple[str, str]] = []
        self.error = error

    async def present(self, domain: str, value: str) -> None:
        if self.error is not None:
            raise self.error
        self.records.append((domain, value))

    async def clean_up(self, domain: str, value: str) -> None:
        if self.error is not None:
            raise self.error
        self.records.remove((domain, value))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def environment(tmp_path: Path, clock: FakeClock) -> Environment:
    return make_environment(tmp_path, clock)


async def test_http(environment: Environment, clock: FakeClock) -> None:
    answer = make_answer("http-01", "a.example", "token", "token.thumb", None, environment)
    await answer.present()
    assert environment.store.get_challenge("http-01", "token") == "token.thumb"
    clock.clock.advance(ANSWER_LIFETIME)
    assert environment.store.get_challenge("http-01", "token") is None
    await answer.present()
    await clean_up(answer)
    await clean_up(answer)
    assert environment.store.get_challenge("http-01", "token") is None


@pytest.mark.parametrize(
    ("domain", "name"), [("a.example", "a.example"), ("192.0.2.1", "1.2.0.192.in-addr.arpa")]
)
async def test_tls_alpn(environment: Environment, domain: str, name: str) -> None:
    answer = make_answer("tls-alpn-01", domain, "token", "token.thumb", None, environment)
    await answer.present()
    pem = environment.store.get_challenge("tls-alpn-01", name)
    assert pem is not None
    assert pem.count("-----BEGIN") == 2
    await clean_up(answer)
    assert environment.store.get_challenge("tls-alpn-01", name) is None


async def test_one_tls_alpn_answer_per_name_at_a_time(
    environment: Environment, clock: FakeClock
) -> None:
    first, second = (
        make_answer("tls-alpn-01", "a.example", "token", f"token.{n}", None, environment)
        for n in range(2)
    )
    await first.present()
    before = environment.store.get_challenge("tls-alpn-01", "a.example")
    async with anyio.create_task_group() as group:
        group.start_soon(second.present)
        await settle()
        assert environment.store.get_challenge("tls-alpn-01", "a.example") == before
        await clean_up(first)
        await clock.advance(2 * (ANSWER_LIFETIME / 3600))
    assert environment.store.get_challenge("tls-alpn-01", "a.example") not in (before, None)


async def test_waiting_for_a_name_ends(environment: Environment, clock: FakeClock) -> None:
    first, second = (
        make_answer("tls-alpn-01", "a.example", "token", f"token.{n}", None, environment)
        for n in range(2)
    )
    await first.present()

    async def expect() -> None:
        with pytest.raises(NotPresented, match="another order"):
            await second.present()

    async with anyio.create_task_group() as group:
        group.start_soon(expect)
        await clock.advance(ANSWER_LIFETIME / 3600 * (LOCK_TRIES + 1))
    await clean_up(second)  # must not take the first one's answer away
    assert environment.store.get_challenge("tls-alpn-01", "a.example") is not None


async def test_dns(environment: Environment) -> None:
    solver = RecordingSolver()
    answer = make_answer("dns-01", "a.example", "token", "token.thumb", solver, environment)
    assert isinstance(answer, DnsAnswer)
    await answer.present()
    assert solver.records == [("a.example", dns_value("token.thumb"))]
    await clean_up(answer)
    assert solver.records == []


def test_the_dns_value_is_a_digest() -> None:
    assert dns_value("abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"


async def test_a_solver_that_fails(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    solver = RecordingSolver(OSError("no route to the provider"))
    answer = make_answer("dns-01", "a.example", "token", "token.thumb", solver, environment)
    with pytest.raises(NotPresented, match="no route to the provider") as caught:
        await answer.present()
    assert caught.value.names == ("a.example",)
    await clean_up(answer)
    assert "the dns-01 record of a.example, if it is in place, stays there" in caplog.text


async def test_where_it_failed_is_told_of_what_nobody_foresaw(
    environment: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    for error, is_told in ((NotPresented("refused"), False), (ZeroDivisionError(), True)):
        caplog.clear()
        solver = RecordingSolver(error)
        answer = make_answer("dns-01", "a.example", "token", "token.thumb", solver, environment)
        with pytest.raises(NotPresented):
            await answer.present()
        assert ("the DNS solver failed" in caplog.text) is is_told


async def test_cleaning_up_goes_on_under_cancellation(environment: Environment) -> None:
    answer = make_answer("http-01", "a.example", "token", "token.thumb", None, environment)
    await answer.present()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clean_up(answer)
    assert environment.store.get_challenge("http-01", "token") is None


async def test_cleaning_up_has_a_limit(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(RecordingSolver):
        async def clean_up(self, domain: str, value: str) -> None:
            await anyio.sleep_forever()

    monkeypatch.setattr("acme_client.challenges.answers.CLEAN_UP_SECONDS", 0.01)
    answer = make_answer("dns-01", "a.example", "token", "token.thumb", Slow(), environment)
    await clean_up(answer)
    assert "took too long" in caplog.text


def test_what_they_are_called(environment: Environment) -> None:
    kinds = ("http-01", "tls-alpn-01", "dns-01")
    texts = [
        str(make_answer(kind, "a.example", "t", "t.x", RecordingSolver(), environment))
        for kind in kinds
    ]
    assert [kind in text for kind, text in zip(kinds, texts, strict=True)] == [True] * 3
