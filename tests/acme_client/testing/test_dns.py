"""TXT look-ups at a DNS server made of bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.rrset
import pytest

from acme_client.testing.dns import ask_server

Zone = Callable[[dns.message.Message], dns.message.Message]


@contextmanager
def _server(answer: Zone) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, peer = listener.recvfrom(4096)
                if not data:
                    return
                listener.sendto(answer(dns.message.from_wire(data)).to_wire(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.sendto(b"", listener.getsockname())
        thread.join()


def _answers(*lines: tuple[str, str, str], code: int = dns.rcode.NOERROR) -> Zone:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.Rcode(code))
        asked = str(query.question[0].name)
        for name, kind, value in lines:
            if name == asked or name == "*":
                rrset = dns.rrset.from_text(asked if name == "*" else name, 1, "IN", kind, value)
                response.answer.append(rrset)
        return response

    return answer


def test_texts_are_joined_from_their_strings() -> None:
    with _server(_answers(("a.example.", "TXT", '"one" "two"'))) as port:
        assert ask_server("127.0.0.1", port)("a.example") == ["onetwo"]


def test_aliases_are_followed() -> None:
    zone = _answers(("a.example.", "CNAME", "b.example."), ("b.example.", "TXT", '"x"'))
    with _server(zone) as port:
        assert ask_server("127.0.0.1", port)("a.example") == ["x"]


def test_aliases_without_end() -> None:
    with (
        _server(_answers(("*", "CNAME", "again.example."))) as port,
        pytest.raises(LookupError, match="aliases"),
    ):
        ask_server("127.0.0.1", port)("a.example")


def test_nothing_there() -> None:
    with _server(_answers()) as port:
        assert ask_server("127.0.0.1", port)("a.example") == []
    with _server(_answers(code=dns.rcode.NXDOMAIN)) as port:
        assert ask_server("127.0.0.1", port)("a.example") == []


def test_failures() -> None:
    with (
        _server(_answers(code=dns.rcode.SERVFAIL)) as port,
        pytest.raises(LookupError, match="SERVFAIL"),
    ):
        ask_server("127.0.0.1", port)("a.example")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(LookupError, match="did not answer"):
            ask_server("127.0.0.1", port, timeout=0.05)("a.example")
