"""Every response of the corpus, through the running proxy, from a scripted backend.

A request's path names the case that the backend answers with. What the client gets, and what
becomes of the connection to the backend afterwards, must be as the verdict says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.corpus.model import BadGateway, Passed, ResponseCase, Truncated
from tests.corpus.responses import RESPONSES
from tests.e2e.backends import Backend, Peer, scripted
from tests.e2e.fronts import Front
from tests.e2e.wire import BadBytes, EndOfStream, Response, Wire

pytestmark = pytest.mark.anyio

AT_ONCE: Final = 16


@dataclass(slots=True)
class Outcome:
    """What the client saw, and how often the backend's connection was used after the case."""

    response: Response | None = None
    fault: str = ""
    is_whole: bool = False
    got: bytes = b""


@dataclass(slots=True)
class Stage:
    """The backend's side: which case stands at which connection last, and what followed."""

    last: dict[int, ResponseCase] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    """The connection of each request, in order."""


@pytest.fixture(params=["whole", "bytes"])
def way(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@asynccontextmanager
async def stage(
    front: Front, cases: Sequence[ResponseCase], way: str
) -> AsyncIterator[tuple[Backend, Stage]]:
    state = Stage()

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            state.asked.append(peer.number)
            before = state.last.get(peer.number)
            if before is not None and not is_reusable(before):
                state.reused.append(before.name)
            case = cases[int(request.target[1:])]
            state.last[peer.number] = case
            for piece in pieces(case.raw, way):
                await peer.send(piece)
            if case.closes:
                return

    async with scripted(front.backends.scripted.number, script) as backend:
        yield backend, state


def pieces(raw: bytes, way: str) -> Sequence[bytes]:
    if way == "whole":
        return [raw]
    return [raw[at : at + 1] for at in range(len(raw))]


def is_reusable(case: ResponseCase) -> bool:
    return isinstance(case.verdict, Passed) and case.verdict.reusable


async def ask(front: Front, number: int, case: ResponseCase) -> Outcome:
    outcome = Outcome()
    context = front.pki.client_context()
    async with await Wire.open(front.port, context, "script.test") as wire:
        await wire.send(b"%b /%d HTTP/1.1\r\nHost: script.test\r\n\r\n" % (case.method, number))
        try:
            outcome.response = await wire.response(case.method)
            outcome.is_whole = True
            if outcome.response.get(b"connection") == b"close":
                outcome.got = await wire.read_to_end()
        except EndOfStream as end:
            outcome.fault, outcome.got = str(end), end.got
        except (BadBytes, ValueError, AssertionError) as error:
            outcome.fault = f"{type(error).__name__}: {error}"
    return outcome


@pytest.mark.parametrize("part", range(4))
async def test_each_response_gets_its_verdict(front: Front, way: str, part: int) -> None:
    cases = [case for case in RESPONSES if way == "whole" or not case.is_large][part::4]
    queue = list(enumerate(cases))
    outcomes: dict[int, Outcome] = {}

    async with stage(front, cases, way) as (_, state):

        async def work() -> None:
            while queue:
                number, case = queue.pop()
                outcomes[number] = await ask(front, number, case)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    faults = [
        f"{case.name} [{way}] {case.raw[:200]!r}\n    expected {case.verdict}\n    {fault}"
        for number, case in enumerate(cases)
        for fault in judge(case, outcomes[number])
    ]
    faults += [f"{name}: its connection was used again" for name in state.reused]
    assert not faults, f"{len(faults)} of {len(cases)}:\n" + "\n".join(faults)


def judge(case: ResponseCase, outcome: Outcome) -> list[str]:
    verdict, response = case.verdict, outcome.response
    told = f"client got {response} {outcome.got[:200]!r} {outcome.fault}"
    if isinstance(verdict, Truncated):
        is_told = not outcome.is_whole or (response is not None and response.status == 502)
        return [] if is_told else [f"the client took it for whole; {told}"]
    if response is None or not outcome.is_whole:
        return [f"no whole response; {told}"]
    if outcome.got:
        return [f"more than a response; {told}"]
    if isinstance(verdict, BadGateway):
        if response.status != 502 or b"could not be reached or gave no valid" not in response.body:
            return [f"no 502 page; {told}"]
        return [f"a field of the backend's; {told}"] if response.all(b"x") else []
    return passed_faults(verdict, response, told)


def passed_faults(verdict: Passed, response: Response, told: str) -> list[str]:
    faults = []
    if (response.status, response.body) != (verdict.status, verdict.body):
        faults.append(f"another status or body; {told}")
    for name in {name for name, _ in verdict.present}:
        wanted = [value for key, value in verdict.present if key == name]
        if response.all(name) != wanted:
            faults.append(f"{name!r} is {response.all(name)}; {told}")
    faults += [f"{name!r} is there; {told}" for name in verdict.absent if response.all(name)]
    return faults


async def test_a_clean_connection_is_used_again(front: Front) -> None:
    """One after the other, all good answers come over one connection."""
    cases = [case for case in RESPONSES if is_reusable(case) and not case.closes]
    assert len(cases) > 20
    async with stage(front, cases, "whole") as (_, state):
        for number, case in enumerate(cases):
            outcome = await ask(front, number, case)
            assert judge(case, outcome) == [], case.name
            if len(set(state.asked)) > 1:
                pytest.fail(f"not used again after {cases[number - 1].name}")
