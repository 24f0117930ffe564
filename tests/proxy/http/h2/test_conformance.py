"""RFC 9113 and RFC 7541 section by section, on raw frames.

The first part (:mod:`tests.proxy.http.h2.h2spec_cases`) follows the public case list of h2spec; the
second adds what RFC 9113, RFC 8441 and RFC 9218 demand beyond it. Every case says what a client
sends after the handshake and what has to come of it:

======================  =========================================================================
``response N``          stream N is answered
``ping``                the connection lives: a PING sent at the end is answered
``settings``            SETTINGS are acknowledged, and the connection lives
``stream N CODE``       RST_STREAM on stream N with that code, and the connection lives
``connection CODE``     GOAWAY with that code, and the handler hears of it
======================  =========================================================================
"""

from __future__ import annotations

import pytest

from proxy.http.h2.faults import ErrorCode
from tests.proxy.http.h2.conversation import (
    END_HEADERS,
    END_STREAM,
    GET,
    PADDED,
    POST,
    PREFACE,
    PRIORITY,
    Event,
    ServerTalk,
    block,
    continuation,
    data,
    goaway,
    headers,
    padded,
    ping,
    priority_update,
    raw,
    rst_stream,
    settings,
    settings_ack,
    window_update,
)
from tests.proxy.http.h2.h2spec_cases import (
    FIRST,
    GENERIC,
    HELLO_TRAILER,
    HPACK,
    HTTP2,
    MALFORMED,
    MAX_WINDOW,
    OPEN,
    PROTOCOL,
    SIZE,
    Case,
    big_fields,
    case,
    fragmented,
    without,
)

PROBE = b"are-you?"


UPGRADED = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    *GET[1:],
    (b"sec-websocket-version", b"13"),
]

BEYOND = [
    case(
        "9113/3.4", "the first frame is no SETTINGS", expected=PROTOCOL, greeting=PREFACE + ping()
    ),
    case(
        "9113/3.4",
        "the first frame is an acknowledgement",
        expected=PROTOCOL,
        greeting=PREFACE + settings_ack(),
    ),
    case(
        "9113/4.1",
        "an unknown frame on a stream",
        headers(1, POST, OPEN),
        raw(0x42, 0xFF, 1, b"?"),
        data(1, b"", END_STREAM),
        expected="response 1",
    ),
    case(
        "9113/5.1",
        "RST_STREAM on a stream that is closed",
        headers(1),
        rst_stream(1),
        expected="ping",
    ),
    case(
        "9113/5.1",
        "WINDOW_UPDATE on a stream that is closed",
        headers(1),
        window_update(1, 5),
        expected="ping",
    ),
    case(
        "9113/5.1",
        "DATA with END_STREAM twice",
        headers(1, POST, OPEN),
        data(1, b"", END_STREAM),
        data(1, b"", END_STREAM),
        expected="stream 1 STREAM_CLOSED",
        answer=False,
    ),
    case("9113/5.1", "RST_STREAM on an even stream", rst_stream(2), expected=PROTOCOL),
    case("9113/5.1", "WINDOW_UPDATE on an even stream", window_update(2, 1), expected=PROTOCOL),
    case("9113/5.1", "DATA on an even stream", data(2, b"x"), expected=PROTOCOL),
    case(
        "9113/5.1.1",
        "HEADERS on an even stream below the last",
        headers(5),
        headers(4),
        expected=PROTOCOL,
    ),
    case("9113/5.1.1", "DATA on a skipped stream", headers(5), data(3), expected=PROTOCOL),
    case(
        "9113/6.1",
        "PADDED DATA without a pad length",
        headers(1, POST, OPEN),
        raw(0, PADDED, 1),
        expected=SIZE,
    ),
    case(
        "9113/6.1",
        "DATA that is all padding",
        headers(1, POST, OPEN),
        padded(0, END_STREAM, 1, b"", 255),
        expected="response 1",
    ),
    case(
        "9113/6.2",
        "HEADERS too short for its priority",
        headers(1, b"\x00\x00", END_HEADERS | PRIORITY),
        expected=SIZE,
    ),
    case(
        "9113/6.2",
        "HEADERS with padding and priority",
        padded(1, END_HEADERS | END_STREAM | PRIORITY, 1, bytes(5) + block(GET), 9),
        expected="response 1",
    ),
    case("9113/6.2", "an empty field block", headers(1, b""), expected=MALFORMED),
    case(
        "9113/6.4",
        "RST_STREAM of 5 octets",
        headers(1, POST, OPEN),
        raw(3, 0, 1, bytes(5)),
        expected=SIZE,
    ),
    case(
        "9113/6.5",
        "SETTINGS with too many entries",
        settings(*[(0xF0, 1)] * 65),
        expected="connection ENHANCE_YOUR_CALM",
    ),
    case(
        "9113/6.5.2", "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", settings((8, 2)), expected=PROTOCOL
    ),
    case(
        "8441/3",
        "SETTINGS_ENABLE_CONNECT_PROTOCOL taken back",
        settings((8, 1)),
        settings((8, 0)),
        expected=PROTOCOL,
    ),
    case("9218/2.1", "SETTINGS_NO_RFC7540_PRIORITIES of 2", settings((9, 2)), expected=PROTOCOL),
    case("9113/6.8", "GOAWAY of 4 octets", raw(7, 0, 0, bytes(4)), expected=SIZE),
    case(
        "9113/6.8",
        "GOAWAY with debug data, then a request",
        goaway(0, 0, b"bye"),
        headers(1),
        expected="response 1",
    ),
    case(
        "9113/6.9.2",
        "an initial window that makes a window too large",
        headers(1, POST, OPEN),
        window_update(1, MAX_WINDOW - 65535),
        settings((4, 65536)),
        expected="connection FLOW_CONTROL_ERROR",
    ),
    case(
        "9113/6.10",
        "CONTINUATION for ever",
        headers(1, FIRST, 0),
        *[continuation(1, b"", 0)] * 40,
        expected="connection ENHANCE_YOUR_CALM",
    ),
    case(
        "9113/8.1",
        "trailers after DATA",
        headers(1, POST, OPEN),
        data(1, b"x"),
        headers(1, HELLO_TRAILER),
        expected="response 1",
    ),
    case(
        "9113/8.1",
        "trailers before the whole Content-Length",
        headers(1, [*POST, (b"content-length", b"9")], OPEN),
        data(1, b"x"),
        headers(1, HELLO_TRAILER),
        expected=MALFORMED,
    ),
    case(
        "9113/8.1",
        "Content-Length and END_STREAM at once",
        headers(1, [*POST, (b"content-length", b"9")]),
        expected=MALFORMED,
    ),
    case(
        "9113/8.1",
        "Content-Length of 0 and END_STREAM at once",
        headers(1, [*POST, (b"content-length", b"0")]),
        expected="response 1",
    ),
    case(
        "9113/8.5",
        "CONNECT reaches the handler",
        headers(1, [(b":method", b"CONNECT"), (b":authority", b"example.com:443")]),
        expected="response 1",
    ),
    case(
        "9113/8.5",
        "CONNECT with :path",
        headers(
            1, [(b":method", b"CONNECT"), (b":authority", b"example.com:443"), (b":path", b"/")]
        ),
        expected=MALFORMED,
    ),
    case(
        "9113/8.5",
        "trailers in a tunnel",
        headers(1, UPGRADED, OPEN),
        headers(1, HELLO_TRAILER),
        expected=MALFORMED,
    ),
    case(
        "8441/4",
        "extended CONNECT",
        headers(1, UPGRADED, OPEN),
        data(1, b"", END_STREAM),
        expected="response 1",
    ),
    case(
        "8441/4",
        ":protocol without CONNECT",
        headers(1, [*GET, (b":protocol", b"websocket")]),
        expected=MALFORMED,
    ),
    case(
        "9218/7.1",
        "PRIORITY_UPDATE for an idle stream",
        priority_update(1, b"u=1"),
        headers(1),
        expected="response 1",
    ),
    case("9218/7.1", "PRIORITY_UPDATE on a stream", raw(0x10, 0, 1, bytes(4)), expected=PROTOCOL),
    case("9218/7.1", "PRIORITY_UPDATE for stream 0", priority_update(0, b"u=1"), expected=PROTOCOL),
    case("9218/7.1", "PRIORITY_UPDATE for a push", priority_update(2, b"u=1"), expected=PROTOCOL),
    case("9218/7.1", "PRIORITY_UPDATE of 3 octets", raw(0x10, 0, 0, bytes(3)), expected=SIZE),
    case(
        "9218/7.1",
        "PRIORITY_UPDATE that is no dictionary",
        priority_update(1, b"\xff="),
        headers(1),
        expected="response 1",
    ),
    case(
        "9110/5",
        "fields beyond the limit",
        *fragmented(1, block(big_fields(9))),
        expected="refused 1 431",
    ),
    case(
        "9110/5",
        "fields far beyond the limit",
        *fragmented(1, bytes([0x40]) + block([(b"x" * 9, b"y" * 4000)])[1:] + b"\xbe" * 20),
        expected="connection ENHANCE_YOUR_CALM",
    ),
    case(
        "9110/5",
        "a field block far beyond the limit",
        *fragmented(1, block(big_fields(17))),
        expected="connection ENHANCE_YOUR_CALM",
    ),
    case(
        "9110/15",
        "a path beyond the line limit",
        headers(1, [*without(b":path"), (b":path", b"/" + b"p" * 9000)]),
        expected="refused 1 414",
    ),
]

CASES = GENERIC + HPACK + HTTP2 + BEYOND


def test_the_public_list_is_covered() -> None:
    assert len(GENERIC) + len(HPACK) + len(HTTP2) == 147


@pytest.mark.parametrize("wanted", CASES, ids=[f"{one.section}: {one.name}"[:100] for one in CASES])
@pytest.mark.parametrize("split", [0, 1], ids=["whole", "byte by byte"])
def test_case(wanted: Case, split: int) -> None:
    talk = ServerTalk(answer=wanted.answer, greet=False)
    talk.sent()
    received = wanted.greeting or PREFACE + settings() + settings_ack()
    told: list[Event] = []
    if wanted.greeting is None:
        told += talk.hear(received)[1:]
        received = b""
    received += b"".join(wanted.frames) + ping(PROBE)
    if split:
        for position in range(len(received)):
            told += talk.hear(received[position : position + 1])
    else:
        told += talk.hear(received)
    assert outcome_of(told, talk, wanted.expected) == wanted.expected


def outcome_of(told: list[Event], talk: ServerTalk, expected: str) -> str:
    """What happened, in the words of the table."""
    events = talk.handler.events
    ends = [event for event in told if event[0] == "GOAWAY"]
    if ends:
        heard = [event for event in events if event[0] == "error"]
        assert [ErrorCode(code).name for _, code, _ in heard] == [ends[0][2]]
        assert talk.connection.closed
        return f"connection {ends[0][2]}"
    assert ("PING", PROBE, True) in told, "the connection does not answer any more"
    assert not talk.connection.closed
    resets = [event for event in told if event[0] == "RST_STREAM"]
    if resets:
        return f"stream {resets[0][1]} {resets[0][2]}"
    match expected.split():
        case ["data", number, _]:
            pieces = [event[2] for event in told if event[:2] == ("DATA", int(number))]
            return f"data {number} {b''.join(pieces).decode()}"
        case ["response", number]:
            heads = [event for event in told if event[:2] == ("HEADERS", int(number))]
            assert [event[2][0] for event in heads] == [(b":status", b"200")]
            return f"response {number}"
        case ["refused", number, _]:
            heads = [event for event in told if event[:2] == ("HEADERS", int(number))]
            return f"refused {number} {heads[0][2][0][1].decode()}"
        case ["settings"]:
            assert ("SETTINGS", {}, True) in told
            return "settings"
        case _:
            return "ping"
