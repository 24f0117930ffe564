"""What backends say, and what becomes of it: the corpus, and conversations in every state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.engine import EngineName
from proxy.limits import INFORMATIONAL_RESPONSES, Limits
from tests.corpus.model import BadGateway, Passed, ResponseCase
from tests.corpus.responses import RESPONSES
from tests.proxy.bench import ENGINES, HOWS, Bench, How

GET = b"GET / HTTP/1.1\r\nHost: front.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 5\r\n\r\nhello"


def bench_with(method: bytes = b"GET", engine: EngineName = "httptools") -> Bench:
    """A bench whose backend has a request to answer."""
    bench = Bench(engine=engine)
    bench.client(GET.replace(b"GET", method))
    return bench


def parse_response(data: bytes, method: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The final response to the client, its body decoded; whole, or the test fails."""
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        assert end
        line, *lines = head.split(b"\r\n")
        status = int(line.split(b" ")[1])
        if status >= 200:
            break
        data = rest
    fields = [(name.lower(), value) for name, _, value in (text.partition(b": ") for text in lines)]
    named = dict(fields)
    if method == b"HEAD" or status in (204, 304):
        assert rest == b""
        return status, fields, b""
    if named.get(b"transfer-encoding") == b"chunked":
        body = b""
        while True:
            digits, _, rest = rest.partition(b"\r\n")
            size = int(digits, 16)
            if not size:
                assert rest == b"\r\n"
                return status, fields, body
            body += rest[:size]
            rest = rest[size + 2 :]
    assert len(rest) == int(named[b"content-length"])
    return status, fields, rest


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", HOWS)
def test_the_corpus_has_its_verdicts(engine: EngineName, how: How) -> None:
    for case in RESPONSES:
        if not (case.is_large and how == "bytes"):
            try:
                check_case(case, engine, how)
            except AssertionError as error:
                raise AssertionError(f"case {case.name!r}: {error}") from error


def close_all(bench: Bench) -> None:
    """The backend closes; and once more, where nothing had come and the request was repeated."""
    for backend in bench.pool.backends:  # grows meanwhile
        backend.closes()


def check_case(case: ResponseCase, engine: EngineName, how: How) -> None:
    bench = bench_with(case.method, engine)
    bench.backend.says(case.raw, how)
    verdict = case.verdict
    if case.closes:
        close_all(bench)
    if isinstance(verdict, Passed):
        status, fields, body = parse_response(bench.got, case.method)
        assert (status, body) == (verdict.status, verdict.body)
        for name in {name for name, _ in verdict.present}:
            values = [value for other, value in fields if other == name]
            assert values == [value for other, value in verdict.present if other == name]
        assert not {name for name, _ in fields} & set(verdict.absent)
        assert bench.http.is_idle
        if not case.closes:
            assert bench.backend.is_open is verdict.reusable
            assert bool(bench.pool.idle) is verdict.reusable
        return
    assert bench.pool.idle == []
    if isinstance(verdict, BadGateway) or not bench.channel.aborted:
        if not bench.got:
            bench.pass_time(61)  # it waits for more
            assert b"HTTP/1.1 504 " in bench.got
            assert not case.closes
            return
        status, _, body = parse_response(bench.got, case.method)
        assert status == 502
        assert b"smuggled" not in bench.got
    assert not bench.backend.is_open or case.closes


# -- reuse -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_connection_is_used_again_after_a_complete_exchange(how: How) -> None:
    bench = bench_with()
    for _ in range(3):
        bench.backend.says(OK, how)
        bench.backend.transport.written.clear()
        bench.client(GET)
    assert len(bench.pool.backends) == 1
    assert bench.backend.connection.uses == 4


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nX",
    ],
)
def test_a_connection_in_doubt_is_closed(response: bytes) -> None:
    bench = bench_with()
    bench.backend.says(response)
    assert not bench.backend.is_open
    assert bench.channel.is_open


@pytest.mark.parametrize("how", HOWS)
def test_a_204_that_announces_a_body_is_the_last_one(how: How) -> None:
    for field in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        bench = bench_with()
        bench.backend.says(b"HTTP/1.1 204 No Content\r\nDate: then\r\n" + field + b"\r\n\r\n", how)
        assert bench.got == b"HTTP/1.1 204 No Content\r\nDate: then\r\n\r\n"
        assert not bench.backend.is_open


def test_bytes_that_nobody_asked_for_close_an_idle_connection() -> None:
    bench = bench_with()
    bench.backend.says(OK)
    assert bench.pool.idle
    bench.backend.says(OK)
    assert bench.backend.transport.closed
    assert bench.pool.idle == []
    assert bench.got == OK


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_an_idle_connection_that_ends_leaves_the_pool(how: str) -> None:
    bench = bench_with()
    bench.backend.says(OK)
    bench.backend.closes() if how == "closes" else bench.backend.resets()
    assert bench.pool.idle == []
    assert not bench.backend.connection.is_open
    assert "failed" not in bench.pool.calls


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_connection_that_still_holds_much_of_the_request_is_not_used_again(
    seen_before: bool,
) -> None:
    """The backend answered before it read: what is in the buffer belongs to the old request."""
    bench = Bench()
    earlier = 3 if seen_before else 0
    for _ in range(earlier):
        bench.client(GET)
        bench.backend.says(OK)
    body = b"x" * 100_000
    head = b"POST / HTTP/1.1\r\nHost: front.test\r\nContent-Length: 100000\r\n\r\n"
    bench.client(head)
    bench.backend.connection.pause_writing()
    bench.client(body)
    bench.backend.says(OK)
    assert bench.got == OK * (earlier + 1)
    assert not bench.backend.is_open


# -- framing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (OK, OK),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
            None,
        ),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: a\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None),
    ],
)
def test_framing_is_made_anew(response: bytes, expected: bytes | None, how: How) -> None:
    bench = bench_with()
    bench.backend.says(response, how)
    _, fields, body = parse_response(bench.got, b"GET")
    assert body == (b"hello" if b"hello" in response else b"")
    framing = [name for name, _ in fields if name in (b"content-length", b"transfer-encoding")]
    assert len(framing) == 1
    assert bench.pool.idle
    if expected is not None:
        assert bench.got == expected


def test_head_keeps_the_length_of_what_get_would_bring() -> None:
    bench = bench_with(b"HEAD")
    bench.backend.says(b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 5\r\n\r\n")
    assert bench.got == b"HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 5\r\n\r\n"
    bench.client(GET)
    bench.backend.says(OK)
    assert bench.got.endswith(OK), "the remembered head serves both"


@pytest.mark.parametrize("how", HOWS)
def test_a_body_until_close_becomes_chunks(how: How) -> None:
    bench = bench_with()
    bench.backend.says(b"HTTP/1.1 200 OK\r\n\r\nhel", how)
    bench.backend.says(b"lo")
    assert bench.finished == []
    bench.backend.closes()
    assert parse_response(bench.got, b"GET")[2] == b"hello"
    assert bench.channel.is_open


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
)
def test_a_response_cut_short_resets_the_client(part: bytes) -> None:
    bench = bench_with()
    bench.backend.says(part)
    bench.backend.resets()
    assert bench.channel.aborted
    assert "failed" in bench.pool.calls


def test_a_reset_tunnel_says_nothing_against_the_backend() -> None:
    """A client can provoke it with a frame that the backend does not like."""
    bench = Bench()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    bench.client(GET[:-2] + upgrade + b"\r\n")
    bench.backend.says(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n")
    bench.backend.resets()
    assert bench.backend.connection.answered
    assert "failed" not in bench.pool.calls


def test_a_body_in_pieces_is_passed_on_piece_by_piece() -> None:
    bench = bench_with()
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
    for piece in (b"ab", b"cd", b"ef"):
        bench.take()
        bench.backend.says(piece)
        assert bench.take() == piece
    assert bench.http.is_idle


# -- 1xx ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_early_hints_pass_and_100_does_not(how: How) -> None:
    bench = bench_with()
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    bench.backend.says(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK, how)
    assert bench.got == hints + OK


@pytest.mark.parametrize("count", [INFORMATIONAL_RESPONSES, INFORMATIONAL_RESPONSES + 1])
def test_1xx_are_counted_for_each_request(count: int) -> None:
    bench = bench_with()
    for _ in range(2):
        for _ in range(count):
            bench.backend.says(b"HTTP/1.1 102 Processing\r\n\r\n")
        if count > INFORMATIONAL_RESPONSES:
            assert b"HTTP/1.1 502 " in bench.got
            return
        bench.backend.says(OK)
        assert bench.take().endswith(OK)
        bench.client(GET)


def test_an_unasked_101_is_a_bad_gateway() -> None:
    bench = bench_with()
    bench.backend.says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    assert b"HTTP/1.1 502 " in bench.got


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [1000, 1001])
def test_the_limit_of_a_head_is_the_same_in_pieces(how: How, size: int) -> None:
    bench = Bench(limits=Limits(header_bytes=1000, header_line_bytes=900))
    bench.client(GET)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + b"a" * 800 + b"\r\nB: "
    head += b"b" * (size - len(head) - 4) + b"\r\n\r\n"
    assert len(head) == size
    bench.backend.says(head, how)
    assert (b" 502 " in bench.got) is (size > 1000)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    "start",
    [b"HTTP/2 200", b"\x15\x03\x03", b"ok", b"\r\n", b"HTTP/1.1 200 OK\nX: y", b"HTTP/1.1 \n"],
)
def test_what_cannot_become_a_head_is_refused_at_once(start: bytes, how: How) -> None:
    bench = bench_with()
    bench.backend.says(start, how)
    assert b" 502 " in bench.got


def test_an_error_leaks_nothing_of_the_backend() -> None:
    bench = bench_with()
    bench.backend.says(b"secret internal banner\r\n\r\n")
    assert b"secret" not in bench.got
    assert b"backend:80" not in bench.got


# -- pausing -----------------------------------------------------------------------------------


def test_a_paused_connection_is_resumed_when_it_goes_back() -> None:
    bench = bench_with()
    bench.backend.says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    bench.client_stops_reading()
    assert bench.backend.transport.is_paused()
    bench.backend.says(b"hello")  # was on its way already
    assert not bench.backend.transport.is_paused()
    assert bench.pool.idle


def test_pausing_twice_or_after_the_end_does_no_harm() -> None:
    bench = bench_with()
    connection = bench.backend.connection
    for _ in range(2):
        connection.pause_reading()
    for _ in range(2):
        connection.resume_reading()
    connection.discard()
    connection.pause_reading()
    connection.resume_reading()
    connection.pause_writing()
    connection.resume_writing()
    connection.discard()
    connection.close_idle()
    assert not bench.backend.transport.is_paused()


def test_repr_names_the_state() -> None:
    bench = bench_with()
    text = repr(bench.backend.connection)
    assert text == "<UpstreamConnection backend:80 head uses=1>"


# -- any split ---------------------------------------------------------------------------------

_SCRAPS = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 103 Hints\r\n\r\n", b"HTTP/1.0 200\r\n", b"\r\n", b"\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"hello", b"5\r\nhello\r\n"),
    *(b"0\r\n\r\n", b"Connection: close\r\n", b"X: y\r\n", b"\x00", OK, b"HTTP/1.1 204 No\r\n\r\n"),
]


def outcome(bench: Bench) -> tuple[object, ...]:
    """What the client can tell: pieces of a body may be cut differently into chunks."""
    head, mark, rest = bench.got.partition(b"Transfer-Encoding: chunked\r\n\r\n")
    body = b""
    ended = False
    while mark and rest and not ended:
        digits, _, rest = rest.partition(b"\r\n")
        size = int(digits, 16)
        body, rest, ended = body + rest[:size], rest[size + 2 :], not size
    data = () if bench.channel.aborted else (head, body, rest, ended)
    return data, bench.channel.is_open, bench.http.is_idle, bool(bench.pool.idle)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(_SCRAPS), max_size=7), st.data())
def test_any_split_gives_the_same_outcome(scraps: list[bytes], data: st.DataObject) -> None:
    raw = b"".join([b"HTTP/1.1 200 OK\r\n" if data.draw(st.booleans()) else b"", *scraps])
    closes = data.draw(st.booleans())
    whole = bench_with()
    whole.backend.says(raw)
    other = bench_with(engine=data.draw(st.sampled_from(ENGINES)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    backend = other.backend
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        if end > start:
            backend.says(raw[start:end])
    if closes:
        close_all(whole)
        close_all(other)
    assert outcome(other) == outcome(whole)


def test_a_connection_that_is_half_closed_is_not_used_again() -> None:
    bench = bench_with()
    bench.backend.connection.send_eof()
    bench.backend.says(OK)
    assert not bench.backend.is_open
    assert not bench.pool.idle
