"""Every request of the corpus, through the running proxy, against a backend that records.

Each case comes from a loopback address of its own. The proxy tells it to the backend, and so what
arrived is known to be of this case and no other, though many run at once.

Three ways: whole, byte by byte, and with a canary behind it. The canary must be seen by the
backend as a request only where it is one: after a refusal nothing of it may arrive anywhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.corpus import chunks, exchanges, fields, framing, request_lines
from tests.corpus.model import HOST, Closed, Forwarded, Refused, RequestCase, Seen
from tests.e2e.backends import Received, ok, recording
from tests.e2e.fronts import Front
from tests.e2e.wire import BadBytes, EndOfStream, Response, Wire

pytestmark = pytest.mark.anyio

AT_ONCE: Final = 24

CANARY: Final = b"GET /canary HTTP/1.1\r\nHost: front.test\r\n\r\n"
CANARY_SEEN: Final = Seen(target=b"/canary")

FAMILIES: Final = {
    "framing": framing.cases,
    "chunks": chunks.cases,
    "request_lines": request_lines.cases,
    "fields": fields.cases,
    "exchanges": exchanges.cases,
}

OURS: Final = (b"x-forwarded-for", b"x-forwarded-proto")
"""What the proxy sets on every request, once."""


@dataclass(slots=True)
class Outcome:
    """What the client saw."""

    responses: list[Response] = field(default_factory=list)
    rest: bytes = b""
    """What came and is no whole response."""
    fault: str = ""


@pytest.fixture(params=["whole", "bytes", "canary"])
def way(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.mark.parametrize("family", list(FAMILIES))
async def test_each_request_gets_its_verdict(front: Front, way: str, family: str) -> None:
    cases = [case for case in FAMILIES[family]() if is_for(case, way)]
    addresses = {
        f"127.1.{number // 250}.{number % 250 + 1}": case for number, case in enumerate(cases)
    }
    context = front.pki.client_context()
    queue = list(addresses.items())
    outcomes: dict[str, Outcome] = {}

    async def work() -> None:
        while queue:
            address, case = queue.pop()
            outcomes[address] = await run(front, context, address, case, way)

    async with recording(front.backends.recording.number) as backend:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        # When this has arrived, so has all that was sent before it.
        async with await Wire.open(front.port, context, "front.test") as wire:
            assert (await wire.ask(CANARY)).status == 200
        arrived = attribute(backend.records)
    assert set(arrived) <= {*addresses, "127.0.0.1"}
    faults = [
        f"{case.name} [{way}] {case.raw[:300]!r}\n    expected {verdict(case, way)}\n    {fault}"
        for address, case in addresses.items()
        for fault in judge(case, way, outcomes[address], arrived.get(address, []))
    ]
    assert not faults, f"{len(faults)} of {len(cases)}:\n" + "\n".join(faults)


def is_for(case: RequestCase, way: str) -> bool:
    if way == "bytes":
        return not case.is_large
    # Behind a message that never ends a canary would be a part of it.
    return way == "whole" or not is_open(case)


def is_open(case: RequestCase) -> bool:
    verdict = case.verdict
    last = verdict.then if isinstance(verdict, Forwarded) else verdict
    return isinstance(last, Closed)


def verdict(case: RequestCase, way: str) -> Forwarded | Refused | Closed:
    """What must become of a case and, where it is kept alive, of the canary behind it."""
    expected = case.verdict
    if way == "canary" and isinstance(expected, Forwarded) and expected.then is None:
        least = len(expected.seen) if expected.least is None else expected.least
        return Forwarded((*expected.seen, CANARY_SEEN), least=least)
    return expected


async def run(
    front: Front, context: ssl.SSLContext, address: str, case: RequestCase, way: str
) -> Outcome:
    outcome = Outcome()
    raw = case.raw + CANARY if way == "canary" else case.raw
    async with await Wire.open(front.port, context, "front.test", source=address) as wire:
        expected = verdict(case, way)
        # Whoever still reads sees the proxy's end of the connection.
        sending = asyncio.create_task(send(wire, raw, way))
        try:
            if isinstance(expected, Forwarded):
                for seen in expected.seen:
                    outcome.responses.append(await wire.response(seen.method))
                    if outcome.responses[-1].get(b"connection") == b"close":
                        break
            elif isinstance(expected, Closed):
                await sending
            if isinstance(expected, Refused) or (
                isinstance(expected, Forwarded) and isinstance(expected.then, Refused)
            ):
                outcome.responses.append(await wire.response())
            else:
                await sending
                await wire.send_end()
            outcome.rest = await wire.read_to_end()
        except EndOfStream as end:
            outcome.fault = str(end)
            outcome.rest = end.got
        except (BadBytes, AssertionError) as error:
            outcome.fault = str(error)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return outcome


async def send(wire: Wire, raw: bytes, way: str) -> None:
    if way == "bytes":
        await wire.send_bytes(raw)
    else:
        await wire.send(raw)


def attribute(records: Iterable[Received]) -> dict[str, list[Received]]:
    """What arrived, by the address that it came from according to the proxy."""
    arrived: dict[str, list[Received]] = {}
    for received in records:
        address = received.get(b"x-forwarded-for")
        assert address is not None, f"whose is this? {received.head!r}"
        arrived.setdefault(address.decode(), []).append(received)
    return arrived


def judge(case: RequestCase, way: str, outcome: Outcome, arrived: Sequence[Received]) -> list[str]:
    """What is wrong, in words."""
    expected = verdict(case, way)
    complete = [received for received in arrived if received.complete]
    statuses = [response.status for response in outcome.responses]
    told = f"client got {statuses} {outcome.rest[:200]!r} {outcome.fault}; backend got " + str(
        [(received.head, bytes(received.body[:100]), received.complete) for received in arrived]
    )
    if isinstance(expected, Refused):
        return refusal_faults(expected, outcome.responses, outcome.rest, complete, told)
    if isinstance(expected, Closed):
        faults = [f"a complete request arrived; {told}"] if complete else []
        if outcome.rest and not outcome.rest.startswith(b"HTTP/1.1 4"):
            faults.append(f"odd bytes before the end; {told}")
        return faults
    return forwarded_faults(expected, outcome, complete, told)


def refusal_faults(
    expected: Refused,
    responses: Sequence[Response],
    rest: bytes,
    complete: Sequence[Received],
    told: str,
) -> list[str]:
    faults = []
    if complete:
        faults.append(f"a complete request arrived; {told}")
    if len(responses) != 1 or responses[0].status not in expected.statuses:
        faults.append(f"not refused as it should be; {told}")
    elif responses[0].get(b"connection") != b"close":
        faults.append(f"the refusal does not announce the end; {told}")
    if rest:
        faults.append(f"more came after the refusal; {told}")
    return faults


def forwarded_faults(
    expected: Forwarded, outcome: Outcome, complete: Sequence[Received], told: str
) -> list[str]:
    count = len(expected.seen)
    least = count if expected.least is None else expected.least
    faults = []
    if not least <= len(complete) <= count:
        faults.append(f"{len(complete)} requests arrived, not {count}; {told}")
    for seen, received in zip(expected.seen, complete, strict=False):
        faults += [f"{fault}; {told}" for fault in differences(seen, received)]
    answers, rest = outcome.responses, outcome.rest
    for received, response in zip(complete, answers, strict=False):
        wanted = b"" if received.method == b"HEAD" else received.method + b" " + received.target
        if response.status != 200 or response.body != wanted:
            faults.append(f"an answer is not its own; {told}")
    if isinstance(expected.then, Refused):
        last = answers[len(complete) :]
        faults += refusal_faults(expected.then, last, rest, (), told)
    else:
        if len(answers) < len(complete):
            faults.append(f"a request was not answered; {told}")
        if isinstance(expected.then, Closed):
            if rest and not rest.startswith(b"HTTP/1.1 4"):
                faults.append(f"odd bytes at the end; {told}")
        elif rest or (outcome.fault and len(answers) < least):
            faults.append(f"more came than was asked for, or too little; {told}")
    return faults


def differences(seen: Seen, received: Received) -> list[str]:
    """In what a request that arrived is not what it should be."""
    faults = []
    if (received.method, received.target) != (seen.method, seen.target):
        faults.append(f"{received.method!r} {received.target!r} arrived")
    if bytes(received.body) != seen.body:
        faults.append(f"the body {bytes(received.body)!r} arrived")
    names = {name for name, _ in seen.present}
    for name in names:
        wanted = [value for key, value in seen.present if key == name]
        if received.all(name) != wanted:
            faults.append(f"{name!r} arrived as {received.all(name)}")
    faults += [
        f"{name!r} arrived {len(received.all(name))} times"
        for name in (*seen.named, *OURS, b"host")
        if len(received.all(name)) != 1
    ]
    faults += [f"{name!r} arrived" for name in seen.absent if received.all(name)]
    faults += [f"{data!r} arrived" for data in seen.never if data in received.head]
    framed = len(received.all(b"content-length")) + len(received.all(b"transfer-encoding"))
    if framed > 1 or (seen.body and framed != 1):
        faults.append(f"{framed} framing fields arrived")
    return faults


def test_the_recording_backend_answers_with_what_was_asked() -> None:
    """On which the verdicts above rely."""
    received = Received(0, b"GET", b"/x", [(b"Host", HOST)], b"")
    assert ok(received).endswith(b"\r\n\r\nGET /x")
