"""The manager: every certificate fresh, whatever happens to the others."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from acme_client.errors import (
    IssuerUnreachable,
    LockHeld,
    RequestError,
    StoreError,
    ValidationFailed,
)
from acme_client.failover import AttemptFailed
from acme_client.issuer import IssuanceTask, RenewalInfo
from acme_client.plan import Action
from acme_client.renewal import RenewalWindow
from acme_client.store.files import FileStore
from acme_client.store.interface import NewCertificate
from tests.acme_client.managed import Managed, request
from tests.acme_client.support import (
    DAY,
    HOUR,
    MINUTE,
    START,
    FakeClock,
    ScriptedIssuer,
    in_turn,
    make_new,
    settle,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("inline_threads", "quick_disk")]

WRONG = ValidationFailed("the CA could not connect")
DOWN = IssuerUnreachable("no route", connected=False)


# Issuing.


async def test_what_is_asked_for_is_issued_at_once(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request("a.example", "www.a.example"), request("b.example"))
    async with managed.running():
        assert sorted(managed.installed) == ["a.example", "b.example"]
        assert managed.kinds() == ["issued", "issued"]
        stored = managed.store.load_certificate("a.example")
        assert stored is not None
        assert stored.names == ("a.example", "www.a.example")
        assert sorted(managed.issuer.settled) == ["a.example", "b.example"]


async def test_a_certificate_per_key_type(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request(key_types=("p256", "rsa2048")))
    async with managed.running():
        assert managed.store.certificate_ids() == ["a.example", "a.example+rsa2048"]
        assert managed.installed == ["a.example", "a.example"]
        for certificate_id, key_type in (("a.example", "p256"), ("a.example+rsa2048", "rsa2048")):
            stored = managed.store.load_certificate(certificate_id)
            assert stored is not None
            assert stored.key_type == key_type


async def test_a_restart_orders_nothing(tmp_path: Path) -> None:
    first = Managed(tmp_path, request())
    async with first.running():
        assert len(first.issuer.tasks) == 1
    second = Managed(tmp_path, request(), clock=first.clock)
    async with second.running():
        await second.clock.advance(DAY)
        assert second.issuer.tasks == []
        assert second.installed == []


async def test_orders_at_a_time_are_limited(tmp_path: Path) -> None:
    managed = Managed(tmp_path, *(request(f"n{n}.example") for n in range(20)), concurrency=3)
    at_work = most = 0

    async def count(task: IssuanceTask) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await managed.clock.sleep(5)
        at_work -= 1

    managed.issuer.before_issue = count
    async with managed.running():
        await managed.clock.advance(HOUR)
        assert len(managed.store.certificate_ids()) == 20
        assert most == 3


async def test_the_same_first_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"first name a\.example"):
        Managed(tmp_path, request("a.example"), request("a.example", "b.example"))


async def test_an_unknown_issuer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="issuer 'other': allowed are scripted"):
        Managed(tmp_path, request(issuers=("other",)))


# Renewing.


async def test_renewal_at_a_third_for_a_year(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    async with managed.running():
        for _ in range(365):
            await managed.clock.advance(DAY)
            stored = managed.store.load_certificate("a.example")
            assert stored is not None
            assert stored.not_after - managed.clock.now() >= 29 * DAY
        first, *others = managed.kinds()
        assert (first, set(others)) == ("issued", {"renewed"})
        # The first one comes at random from a third of the lifetime on.
        assert 6 <= len(others) <= 8
        assert all(task.replaces for task in managed.issuer.tasks[1:])


@pytest.mark.parametrize("lifetime", [12 * HOUR, 160 * HOUR, 45 * DAY])
async def test_other_lifetimes_behave_as_well(tmp_path: Path, lifetime: timedelta) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.lifetime = lifetime
    async with managed.running():
        for _ in range(40):
            await managed.clock.advance(lifetime / 20)
            stored = managed.store.load_certificate("a.example")
            assert stored is not None
            assert stored.not_after - managed.clock.now() > lifetime / 6
        assert 3 <= len(managed.issuer.tasks) <= 6


async def test_the_window_of_the_ca_advances_a_renewal(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    ordinary = RenewalWindow(START + 60 * DAY, START + 62 * DAY)
    managed.issuer.info = RenewalInfo(ordinary, START + 6 * HOUR)
    async with managed.running():
        window = RenewalWindow(START - HOUR, START - MINUTE, "https://ca.example/incident")
        managed.issuer.info = RenewalInfo(window, START + 12 * HOUR)
        managed.issuer.script = in_turn(lambda task: forget_window(managed, task))
        await managed.clock.advance(5 * HOUR)
        assert managed.kinds() == ["issued"]
        await managed.clock.advance(2 * HOUR)
        assert managed.kinds() == ["issued", "renewed"]


def forget_window(managed: Managed, task: IssuanceTask) -> NewCertificate:
    managed.issuer.info = None
    return managed.issuer.deliver(task)


async def test_windows_that_always_lie_in_the_past_make_no_storm(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    past = RenewalWindow(START - DAY, START - HOUR)
    managed.issuer.info = RenewalInfo(past, START + 10 * DAY)
    async with managed.running():
        await managed.clock.advance(10 * DAY)
        assert 5 < len(managed.issuer.tasks) <= 13


async def test_a_window_is_asked_for_as_often_as_wished(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    far = RenewalWindow(START + 70 * DAY, START + 71 * DAY)
    managed.issuer.info = RenewalInfo(far, START + 3 * HOUR)
    async with managed.running():
        for asked in range(1, 8):
            assert managed.issuer.asked == asked
            managed.issuer.info = RenewalInfo(far, managed.clock.now() + 6 * HOUR)
            await managed.clock.advance(3 * HOUR)
        assert managed.status().state.window == far


async def test_an_error_when_asking_changes_nothing(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.info = IssuerUnreachable("down")
    async with managed.running():
        await managed.clock.advance(DAY)
        assert managed.kinds() == ["issued"]
        assert 4 <= managed.issuer.asked <= 6
        plan = managed.status().plan
        assert plan.action is Action.RENEW
        assert plan.reason.startswith("1/3 to 2/3 of the lifetime left")


# Failing.


async def test_failures_wait_1_10_100_minutes_then_days(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.script = lambda task: WRONG
    dates: list[timedelta] = []

    async def note(task: IssuanceTask) -> None:
        dates.append(managed.clock.now() - START)

    managed.issuer.before_issue = note
    async with managed.running():
        await managed.clock.advance(4 * DAY)
    waits = [(b - a) / MINUTE for a, b in pairwise(dates)]
    for wait, step in zip(waits, (1, 10, 100, 1440, 1440), strict=False):
        assert 0.9 * step <= wait <= 1.1 * step
    assert len(waits) >= 5
    assert set(managed.kinds()) == {"failed"}
    assert managed.events[0].retry_at == START + dates[1]


async def test_one_names_failure_never_harms_another(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request("bad.example"), request("good.example"))
    managed.issuer.script = lambda task: (
        WRONG if task.certificate_id == "bad.example" else managed.issuer.deliver(task)
    )
    async with managed.running():
        await managed.clock.advance(80 * DAY)
        assert managed.store.certificate_ids() == ["good.example"]
        assert managed.kinds().count("renewed") == 1


async def test_a_back_off_outlives_a_restart(tmp_path: Path) -> None:
    first = Managed(tmp_path, request())
    first.issuer.script = lambda task: WRONG
    async with first.running():
        await first.clock.advance(HOUR)
        assert len(first.issuer.tasks) == 3
    second = Managed(tmp_path, request(), clock=first.clock)
    async with second.running():
        await second.clock.advance(30 * MINUTE)
        assert second.issuer.tasks == []
        assert second.status().state.failures == 3
        await second.clock.advance(HOUR)
        assert len(second.issuer.tasks) == 1
        assert second.status().state.failures == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 512, b"[]", b"{}", b'{"failures": "3"', b'{"failures": null, "window": null}'],
)
async def test_a_damaged_record_keeps_no_certificate_from_renewal(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first = Managed(tmp_path, request())
    async with first.running():
        pass
    path = tmp_path / "documents" / "certificates" / "a.example.json"
    path.write_bytes(content)
    second = Managed(tmp_path, request(), clock=first.clock)
    (seen,) = await second.manager.look()  # by a command that only looks
    assert (seen.stored is not None, path.read_bytes()) == (True, content)
    async with second.running():
        assert f"{path} is damaged" in caplog.text
        assert path.with_name("a.example.json.damaged").read_bytes() == content
        assert second.issuer.tasks == []  # what is stored is as good as it was
        await second.clock.advance(70 * DAY)
        assert second.kinds() == ["renewed"]
        assert second.status().state.failures == 0


async def test_what_the_ca_said_is_remembered(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.script = lambda task: WRONG
    async with managed.running():
        failure = managed.status().state.last_failure
        assert failure is not None
        assert (failure.kind, failure.issuer) == ("validation", "scripted")
        assert failure.message == "the CA could not connect"
        await managed.clock.advance(2 * MINUTE)
        assert managed.issuer.tasks[0].rehearse is False
        assert managed.issuer.tasks[1].rehearse is True


async def test_the_wish_of_the_ca_is_obeyed(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    refusal = ValidationFailed("later", retry_at=START + 5 * HOUR)
    managed.issuer.script = in_turn(refusal, managed.issuer.deliver)
    async with managed.running():
        await managed.clock.advance(4 * HOUR)
        assert len(managed.issuer.tasks) == 1
        await managed.clock.advance(2 * HOUR)
        assert managed.kinds() == ["failed", "issued"]


async def test_an_outage_is_probed_and_counts_for_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    managed = Managed(tmp_path, *(request(f"n{n}.example") for n in range(20)))
    managed.issuer.script = lambda task: DOWN
    async with managed.running():
        before = len(managed.issuer.tasks)
        assert before <= 8
        await managed.clock.advance(DAY)
        # One probe for all: seconds at first, every ten minutes in the end.
        assert len(managed.issuer.tasks) - before < 160
        assert all(s.state.failures == 0 for s in managed.manager.status())
        assert managed.events == []
        assert len(caplog.records) < 12
        managed.issuer.script = None
        await managed.clock.advance(12 * MINUTE)
        assert len(managed.store.certificate_ids()) == 20


async def test_a_ca_that_comes_up_is_used_within_seconds(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.script = in_turn(DOWN, DOWN, managed.issuer.deliver)
    async with managed.running():
        await managed.clock.advance(timedelta(seconds=20))
        assert managed.kinds() == ["issued"]


async def test_an_outage_of_a_week_is_survived(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    async with managed.running():
        due = managed.status().plan.at
        await managed.clock.advance(due - DAY - managed.clock.now())
        managed.issuer.script = lambda task: IssuerUnreachable("500")
        await managed.clock.advance(8 * DAY)
        managed.issuer.script = None
        await managed.clock.advance(4 * DAY)
        stored = managed.store.load_certificate("a.example")
        assert stored is not None
        assert stored.not_after - managed.clock.now() > 80 * DAY


@pytest.mark.parametrize("error", [IssuerUnreachable("500"), DOWN])
async def test_a_ca_that_is_down_beyond_the_end_is_tried_on(
    tmp_path: Path, error: Exception
) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.lifetime = 160 * HOUR
    async with managed.running():
        first = managed.store.load_certificate("a.example")
        managed.issuer.script = lambda task: error
        await managed.clock.advance(119 * HOUR)
        assert "expiring" not in managed.kinds()
        await managed.clock.advance(45 * HOUR)
        # It is served for as long as there is nothing better, and somebody was told in time.
        assert managed.store.load_certificate("a.example") == first
        assert managed.kinds().count("expiring") == 1
        [event] = [event for event in managed.events if event.kind == "expiring"]
        assert f"last failure: {error}" in event.message
        tried = len(managed.issuer.tasks)
        await managed.clock.advance(2 * DAY)
        assert len(managed.issuer.tasks) >= tried + 1
        managed.issuer.script = None
        await managed.clock.advance(7 * HOUR)
        stored = managed.store.load_certificate("a.example")
        assert stored is not None
        assert stored.not_after > managed.clock.now()


async def test_a_second_ca_takes_over_and_the_first_comes_back(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = (ScriptedIssuer(clock, name=name) for name in ("first", "second"))
    first.script = lambda task: IssuerUnreachable("500")
    managed = Managed(tmp_path, request(), clock=clock, issuers=[first, second])
    async with managed.running():
        stored = managed.store.load_certificate("a.example")
        assert stored is not None
        assert stored.directory == "second"
        first.script = None
        await clock.advance(70 * DAY)
        stored = managed.store.load_certificate("a.example")
        assert stored is not None
        assert stored.directory == "first"


async def test_a_request_may_name_its_issuers(tmp_path: Path) -> None:
    clock = FakeClock()
    issuers = [ScriptedIssuer(clock, name=name) for name in ("first", "second")]
    managed = Managed(tmp_path, request(issuers=("second",)), clock=clock, issuers=issuers)
    async with managed.running():
        assert not issuers[0].tasks
        assert len(issuers[1].tasks) == 1


async def test_a_bad_certificate_is_not_installed(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.script = in_turn(make_new(["evil.example"]), managed.issuer.deliver)
    async with managed.running():
        assert managed.installed == []
        assert managed.store.certificate_ids() == []
        assert managed.issuer.settled == ["a.example"]  # the order is not resumed
        failure = managed.status().state.last_failure
        assert failure is not None
        assert failure.kind == "bad-certificate"
        assert "not for exactly a.example" in failure.message
        await managed.clock.advance(2 * MINUTE)
        assert managed.installed == ["a.example"]


async def test_a_renewal_that_goes_wrong_leaves_the_old_one(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    async with managed.running():
        old = managed.store.load_certificate("a.example")
        expired = make_new(["a.example"], not_before=START - 100 * DAY)
        managed.issuer.script = lambda task: expired
        await managed.clock.advance(63 * DAY)
        assert managed.store.load_certificate("a.example") == old
        assert "failed" in managed.kinds()


async def test_before_the_end_somebody_is_woken_once(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    async with managed.running():
        managed.issuer.script = lambda task: WRONG
        await managed.clock.advance(67 * DAY)
        assert "expiring" not in managed.kinds()
        await managed.clock.advance(10 * DAY)
        assert managed.kinds().count("expiring") == 1
        [event] = [event for event in managed.events if event.kind == "expiring"]
        assert "last failure: the CA could not connect" in event.message
    again = Managed(tmp_path, request(), clock=managed.clock)
    again.issuer.script = lambda task: WRONG
    async with again.running():
        await again.clock.advance(DAY)
        assert "expiring" not in again.kinds()


# Clocks.


@pytest.mark.parametrize("jump", [90 * DAY, -DAY])
async def test_a_clock_jump_makes_no_storm(tmp_path: Path, jump: timedelta) -> None:
    managed = Managed(tmp_path, *(request(f"n{n}.example") for n in range(10)))
    async with managed.running():
        assert len(managed.issuer.tasks) == 10
        managed.clock.clock.advance(jump)
        await managed.clock.advance(HOUR)
        assert len(managed.issuer.tasks) == (20 if jump > timedelta(0) else 10)
        await managed.clock.advance(DAY)
        assert len(managed.issuer.tasks) <= 20


# Stores that fail.


async def test_a_full_disk_orders_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    managed = Managed(tmp_path, request())

    def full(self: FileStore) -> None:
        raise StoreError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "check_writable", full)
        async with managed.running():
            await managed.clock.advance(HOUR)
            assert managed.issuer.tasks == []
    async with Managed(tmp_path, request(), clock=managed.clock).running():
        assert managed.store.load_certificate("a.example") is not None


async def test_a_store_that_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    managed = Managed(tmp_path, request())
    calls = 0
    real = FileStore.load_certificate

    def flaky(self: FileStore, certificate_id: str) -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise StoreError("stale file handle")
        return real(self, certificate_id)

    monkeypatch.setattr(FileStore, "load_certificate", flaky)
    monkeypatch.setattr(FileStore, "clean_up", lambda self: flaky(self, "x"))
    async with managed.running():
        await managed.clock.advance(10 * MINUTE)
        assert managed.kinds() == ["issued"]


async def test_a_key_that_others_may_read_stops_everything_for_that_name(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    async with managed.running():
        stored = managed.store.load_certificate("a.example")
    assert stored is not None
    assert stored.location is not None
    (stored.location / "key.pem").chmod(0o644)
    again = Managed(tmp_path, request(), request("b.example"), clock=managed.clock)
    async with again.running():
        await again.clock.advance(HOUR)
        assert [task.certificate_id for task in again.issuer.tasks] == ["b.example"]


# Crashes and other processes.


async def test_a_crash_loop_places_few_orders(tmp_path: Path) -> None:
    clock, orders = FakeClock(), 0
    for _ in range(300):  # a process every ten seconds, killed in mid-order
        managed = Managed(tmp_path, request(), clock=clock)

        async def hang(task: IssuanceTask) -> None:
            await anyio.sleep_forever()

        managed.issuer.before_issue = hang
        async with managed.running():
            await clock.advance(timedelta(seconds=10))
            orders += len(managed.issuer.tasks)
    assert 2 < orders <= 5


async def test_one_interruption_is_made_good_at_once(tmp_path: Path) -> None:
    first = Managed(tmp_path, request())

    async def hang(task: IssuanceTask) -> None:
        await anyio.sleep_forever()

    first.issuer.before_issue = hang
    async with first.running():
        assert len(first.issuer.tasks) == 1
    second = Managed(tmp_path, request(), clock=first.clock)
    async with second.running():
        assert second.kinds() == ["issued"]
        assert second.status().state.interruptions == 0


async def test_two_processes_never_order_twice(tmp_path: Path) -> None:
    clock = FakeClock()
    both = [Managed(tmp_path, request(), clock=clock) for _ in range(2)]

    async def slow(task: IssuanceTask) -> None:
        await clock.sleep(30)

    for managed in both:
        managed.issuer.before_issue = slow
    async with both[0].running(), both[1].running():
        await clock.advance(HOUR)
        assert sum(len(managed.issuer.tasks) for managed in both) == 1
        # Both tell their servers.
        assert [managed.installed for managed in both] == [["a.example"], ["a.example"]]
        await clock.advance(65 * DAY)
        assert sum(len(managed.issuer.tasks) for managed in both) == 2


# Changes of the configuration.


async def test_new_requests_begin_and_old_ones_end(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request("a.example"))
    async with managed.running():
        managed.manager.replace_requests([request("b.example")])
        await managed.clock.advance(timedelta(0))
        assert managed.installed == ["a.example", "b.example"]
        await managed.clock.advance(80 * DAY)
        assert "a.example" not in managed.installed[2:]
        assert managed.installed.count("b.example") == 2


async def test_changed_names_are_issued_and_the_old_certificate_stays_till_then(
    tmp_path: Path,
) -> None:
    managed = Managed(tmp_path, request("a.example"))
    async with managed.running():
        old = managed.store.load_certificate("a.example")
        managed.issuer.script = lambda task: WRONG
        managed.manager.replace_requests([request("a.example", "b.example")])
        await managed.clock.advance(timedelta(0))
        assert managed.store.load_certificate("a.example") == old
        assert managed.issuer.tasks[-1].replaces is None
        managed.issuer.script = None
        await managed.clock.advance(2 * MINUTE)
        new = managed.store.load_certificate("a.example")
        assert new is not None
        assert new.names == ("a.example", "b.example")


async def test_an_unchanged_request_orders_nothing(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request("a.example"))
    async with managed.running():
        managed.manager.replace_requests([request("a.example")])
        await managed.clock.advance(HOUR)
        assert len(managed.issuer.tasks) == 1


async def test_another_ca_means_a_fresh_issuance(tmp_path: Path) -> None:
    first = Managed(tmp_path, request())
    async with first.running():
        pass
    other = ScriptedIssuer(first.clock, name="other")
    other.script = in_turn(WRONG, other.deliver)
    second = Managed(tmp_path, request(), clock=first.clock, issuers=[other])
    async with second.running():
        stored = second.store.load_certificate("a.example")
        assert stored is not None
        assert stored.directory == "scripted"
        await second.clock.advance(2 * MINUTE)
        stored = second.store.load_certificate("a.example")
        assert stored is not None
        assert stored.directory == "other"


async def test_requests_may_change_before_it_runs(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request("a.example"))
    managed.manager.replace_requests([request("b.example")])
    async with managed.running():
        assert managed.installed == ["b.example"]


# Orders from people.


async def test_obtain_issues_once_and_then_only_by_force(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    first = await managed.manager.obtain("a.example")
    assert await managed.manager.obtain("a.example") == first
    forced = await managed.manager.obtain("a.example", force=True)
    assert forced.generation == 2
    assert len(managed.issuer.tasks) == 2
    assert managed.kinds() == ["issued", "renewed"]


async def test_obtain_does_not_wait_for_a_back_off(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    managed.issuer.script = lambda task: WRONG
    for _ in range(3):
        with pytest.raises(AttemptFailed, match="could not connect"):
            await managed.manager.obtain("a.example")
    assert len(managed.issuer.tasks) == 3


async def test_obtain_works_beside_a_running_manager(tmp_path: Path) -> None:
    running = Managed(tmp_path, request())
    async with running.running():
        command = Managed(tmp_path, request(), clock=running.clock)
        forced = await command.manager.obtain("a.example", force=True)
        await running.clock.advance(DAY)
        assert len(running.issuer.tasks) == 1
        await running.clock.advance(65 * DAY)
        assert len(running.issuer.tasks) == 2
        assert running.issuer.tasks[1].replaces == forced


async def test_obtain_waits_for_another_process_and_not_for_ever(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request())
    lock = managed.store.lock("a.example")
    results: list[object] = []

    async def obtain() -> None:
        try:
            results.append(await managed.manager.obtain("a.example"))
        except LockHeld as error:
            results.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(obtain)
        await managed.clock.advance(MINUTE)
        assert results == []
        lock.release()
        await managed.clock.advance(MINUTE)
        assert len(results) == 1
        with managed.store.lock("a.example"):
            group.start_soon(obtain)
            await managed.clock.advance(HOUR)
    assert isinstance(results[1], LockHeld)


async def test_an_unknown_certificate_is_named(tmp_path: Path) -> None:
    managed = Managed(tmp_path, request("a.example"))
    with pytest.raises(RequestError, match=r"no certificate 'b\.example'; there are a\.example"):
        await managed.manager.obtain("b.example")


async def test_looking_without_running(tmp_path: Path) -> None:
    async with Managed(tmp_path, request()).running():
        pass
    [status] = await Managed(tmp_path, request()).manager.look()
    assert status.stored is not None
    assert status.plan.action is Action.RENEW
    [status] = await Managed(tmp_path, request("b.example")).manager.look()
    assert (status.stored, status.plan.action) == (None, Action.ISSUE)


async def test_it_ends_when_it_is_cancelled_at_any_moment(tmp_path: Path) -> None:
    for steps in range(40):
        managed = Managed(tmp_path / str(steps), request())
        async with anyio.create_task_group() as group:
            group.start_soon(managed.manager.run)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        managed.store.lock("a.example").release()  # nothing holds it any more
    await settle()


async def test_hundreds_of_names(tmp_path: Path) -> None:
    clock = FakeClock()
    certificate = partial(make_new, number=1, directory="scripted")
    managed = Managed(tmp_path, *(request(f"n{n}.example") for n in range(200)), clock=clock)
    managed.issuer.script = lambda task: certificate(task.request.names)
    async with managed.running():
        await clock.advance(MINUTE)
        assert len(managed.store.certificate_ids()) == 200
