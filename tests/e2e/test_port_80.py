"""The plain port: a redirect that keeps everything, and challenge answers at their exact path."""

from __future__ import annotations

import pytest

from tests.e2e.fronts import Front
from tests.e2e.wire import Response, Wire

pytestmark = pytest.mark.anyio

TOKEN = b"a-token_of_ours-0123456789"
PREFIX = b"/.well-known/acme-challenge/"


async def ask(front: Front, target: bytes, host: bytes = b"front.test", **more: bytes) -> Response:
    method = more.get("method", b"GET")
    async with await Wire.open(front.http_port) as wire:
        raw = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
            method,
            target,
            host,
            more.get("lines", b""),
        )
        return await wire.ask(raw, method)


@pytest.mark.parametrize(
    "target",
    [b"/", b"/a/b?c=d&e=%20", b"/%7E//..;x", b"/?", b"/a?https://evil.test/", b"//evil.test/x"],
)
async def test_it_redirects_with_path_and_query(front: Front, target: bytes) -> None:
    response = await ask(front, target)
    assert response.status == 308
    assert response.get(b"location") == b"https://front.test:%d%b" % (front.port, target)


@pytest.mark.parametrize("host", [b"front.test", b"front.test:80", b"FRONT.test.", b"x.wild.test"])
async def test_it_keeps_the_host_with_the_https_port(front: Front, host: bytes) -> None:
    response = await ask(front, b"/x", host)
    name = host.lower().removesuffix(b":80").removesuffix(b".")
    assert response.get(b"location") == b"https://%b:%d/x" % (name, front.port)


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS"])
async def test_the_method_is_kept(front: Front, method: bytes) -> None:
    response = await ask(front, b"/x", method=method, lines=b"Content-Length: 0\r\n")
    assert response.status == 308


async def test_an_absolute_target_is_taken_apart(front: Front) -> None:
    response = await ask(front, b"http://front.test/x?y")
    assert response.get(b"location") == b"https://front.test:%d/x?y" % front.port


@pytest.mark.parametrize("host", [b"evil.test", b"127.0.0.1", b"wild.test", b"a.b.wild.test"])
async def test_it_redirects_to_no_host_of_others(front: Front, host: bytes) -> None:
    response = await ask(front, b"/", host)
    assert response.status == 421
    assert response.get(b"location") is None
    assert host not in response.body


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,  # well-formed, but nobody's
        b"",
        b"short",
        b"../../../etc/passwd",
        b"..%2F..%2Fetc%2Fpasswd",
        TOKEN + b"/",
        TOKEN + b"?x",
        TOKEN + b"%00",
        TOKEN + b".pem",
        b"x" * 129,
    ],
)
async def test_a_challenge_path_is_answered_here_and_never_redirected(
    front: Front, token: bytes
) -> None:
    response = await ask(front, PREFIX + token, b"anything.test")
    assert response.status in (400, 404)
    assert response.get(b"location") is None
    if token:
        assert token not in response.body


@pytest.mark.parametrize(
    "target",
    [
        b"/.well-known/acme-challenge",
        b"/.well-known/acme-challengeX/" + TOKEN,
        b"/.well-known//acme-challenge/" + TOKEN,
        b"/x/.well-known/acme-challenge/" + TOKEN,
        b"/.WELL-KNOWN/acme-challenge/" + TOKEN,
        b"/%2Ewell-known/acme-challenge/" + TOKEN,
    ],
)
async def test_what_only_resembles_it_is_redirected(front: Front, target: bytes) -> None:
    assert (await ask(front, target)).status == 308


async def test_a_challenge_is_read_only(front: Front) -> None:
    response = await ask(front, PREFIX + TOKEN, method=b"POST", lines=b"Content-Length: 0\r\n")
    assert response.status == 405


async def test_tls_on_the_plain_port_is_refused(front: Front) -> None:
    async with await Wire.open(front.http_port) as wire:
        await wire.send(b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + b"\0" * 100)
        await wire.send_end()
        assert not (await wire.read_to_end()).startswith(b"HTTP/1.1 2")
