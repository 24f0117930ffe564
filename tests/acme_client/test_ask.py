"""Asking whether a name is ours: a URL or a function, and what is no answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from acme_client.ask import AskFailed, ask_function, ask_url, make_ask
from acme_client.errors import RequestError

pytestmark = pytest.mark.anyio


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        (name,) = query["domain"]
        if name.startswith("slow"):
            self.server.hold.wait(10)  # type: ignore[attr-defined]
        statuses = {"yes": 200, "no": 404, "moved": 302, "broken": 500, "made": 204}
        self.send_response(statuses.get(name.partition(".")[0], 200))
        if name.startswith("moved"):
            self.send_header("Location", "/yes")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hold = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/ask?shop=1"
    server.hold.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


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
