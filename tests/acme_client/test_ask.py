"""Asking whether a name is ours: a URL or a function, and what is no answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from acme_client.ask import AskFailed, ask_function, ask_url, make_ask
from acme_client.errors import RequestError
from tests.http_server import Answer, http_server

pytestmark = pytest.mark.anyio


STATUSES = {"yes": 200, "no": 404, "moved": 302, "broken": 500, "made": 204}


@pytest.fixture
def url() -> Iterator[str]:
    ended = threading.Event()

    def answer(host: str, target: str) -> Answer:
        (name,) = parse_qs(urlsplit(target).query)["domain"]
        if name.startswith("slow"):
            ended.wait(10)
        status = STATUSES.get(name.partition(".")[0], 200)
        return status, {"Location": "/yes"} if status == 302 else {}, b""

    with http_server(answer) as port:
        yield f"http://127.0.0.1:{port}/ask?shop=1"
        ended.set()


async def test_only_200_is_yes(url: str) -> None:
    ask = make_ask(url, seconds=5)
    assert await ask("yes.example")
    for name in ("no.example", "moved.example", "made.example"):
        assert not await ask(name)


async def test_what_is_no_answer(url: str) -> None:
    with pytest.raises(AskFailed, match="answers 500"):
        await ask_url(url, seconds=5)("broken.example")
    with pytest.raises(AskFailed, match=r"did not answer within|does not answer"):
        await ask_url(url, seconds=0.05)("slow.example")
    with pytest.raises(AskFailed, match=r"1/ does not answer: Connection refused$"):
        await ask_url("http://127.0.0.1:1/", seconds=5)("yes.example")


async def test_functions_of_both_kinds() -> None:
    async def later(name: str) -> object:
        return name == "yes.example"

    def at_once(name: str) -> object:
        return "some" if name == "yes.example" else None

    for function in (later, at_once, lambda name: later(name)):
        ask = ask_function(function, seconds=5)
        assert await ask("yes.example") is True
        assert await ask("no.example") is False


async def test_a_function_that_fails_or_hangs() -> None:
    def fail(name: str) -> bool:
        raise KeyError(name)

    async def hang(name: str) -> bool:
        await anyio.sleep_forever()
        return True

    async def time_out(name: str) -> bool:
        raise TimeoutError("the database")

    with pytest.raises(AskFailed, match="KeyError"):
        await ask_function(fail, seconds=5)("a.example")
    with pytest.raises(AskFailed, match=r"hang did not answer within 0.01 s"):
        await ask_function(hang, seconds=0.01)("a.example")
    with pytest.raises(AskFailed):
        await ask_function(time_out, seconds=5)("a.example")


async def test_a_function_that_is_not_there() -> None:
    with pytest.raises(RequestError, match="cannot be imported"):
        make_ask("no_such_module:ask", seconds=5)
