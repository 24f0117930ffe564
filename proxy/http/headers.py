"""What of a head goes on to the other side (RFC 9110 §7.6, RFC 9112 §7).

Hop-by-hop headers go out first, then everything that only we may say; framing and forwarded
headers are made anew. The order matters: a client that sends ``Connection: X-Forwarded-For`` must
not be able to strip what we set.

The end-to-end part depends on the section alone, so it is joined once and kept with the section's
meaning; what differs between requests (client address, length) is appended per request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from proxy.http.head import (
    CHUNKED,
    FORWARDED_FAMILY,
    HTTP_1_0,
    HTTP_1_1,
    HTTP_2,
    RequestFields,
    RequestHead,
    ResponseFields,
    ResponseHead,
)

Field: TypeAlias = tuple[bytes, bytes]
Trailers: TypeAlias = Sequence[Field]
"""Fields behind a body (RFC 9110 §6.5), with lower-case names; they pass between HTTP/2 sides."""

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_REPLACED: Final = frozenset(
    {
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"x-real-ip",
    }
)
_NOT_TO_UPSTREAM: Final = HOP_BY_HOP | _REPLACED
_NOT_TO_CLIENT: Final = HOP_BY_HOP | {b"content-length"}

_VIA: Final[dict[int, Field]] = {
    HTTP_1_0: (b"Via", b"1.0 vestibule"),
    HTTP_1_1: (b"Via", b"1.1 vestibule"),
    HTTP_2: (b"Via", b"2 vestibule"),
}

UPGRADE_WEBSOCKET: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
END: Final = b"\r\n"
CHUNKED_FIELD: Final = b"Transfer-Encoding: chunked\r\n"


def request_forwardable(fields: RequestFields) -> bytes:
    """What goes on of the client's section, as lines; remembered in ``fields.forwardable``.

    The end-to-end headers, and Host and X-Forwarded-Host, which is the Host once more.
    """
    known = fields.forwardable
    if known is None:
        known = fields.forwardable = request_lines(fields, frozenset())
    return known


def request_lines(fields: RequestFields, dropped: frozenset[bytes]) -> bytes:
    """As :func:`request_forwardable`, without the headers whose lower-case names are given."""
    return b"Host: %b\r\n%b" % (fields.host, field_lines(_request_fields(fields, dropped)))


def _request_fields(fields: RequestFields, dropped: frozenset[bytes]) -> list[Field]:
    skipped = _NOT_TO_UPSTREAM
    if fields.nominated or dropped:
        skipped = skipped | fields.nominated | dropped
    return [
        field
        for lowered, field in zip(fields.lowered, fields.fields, strict=True)
        if lowered not in skipped and not lowered.startswith(FORWARDED_FAMILY)
    ] + [(b"X-Forwarded-Host", fields.host)]


def via(version: int) -> Field:
    """What a gateway adds to a request that it received with that version (RFC 9110 §7.6.3)."""
    return _VIA[version]


def http2_request_fields(
    head: RequestHead, dropped: frozenset[bytes], added: Iterable[Field]
) -> list[Field]:
    """What goes on of a request to a backend that speaks HTTP/2, without pseudo-header fields.

    The names are in any case; the encoder lowers them.

    Args:
        head: the client's.
        dropped: lower-case names that the route takes out.
        added: what the route puts in.
    """
    fields = head.fields
    kept = [*_request_fields(fields, dropped), via(head.version), *added]
    if head.version == HTTP_2 and fields.get(b"te") is not None:
        # RFC 9113 §8.2.2: nothing but "trailers", and not nominated by any Connection field.
        kept.append((b"te", b"trailers"))
    if fields.length > 0:
        kept.append((b"content-length", b"%d" % fields.length))
    return kept


def field_lines(fields: Iterable[Field]) -> bytes:
    """Fields as lines of HTTP/1.1."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def response_forwardable(fields: ResponseFields) -> bytes:
    """The end-to-end headers, as lines; remembered in ``fields.forwardable``."""
    known = fields.forwardable
    if known is None:
        nominated = fields.nominated
        known = fields.forwardable = field_lines(
            field
            for lowered, field in zip(fields.lowered, fields.fields, strict=True)
            if lowered not in _NOT_TO_CLIENT and lowered not in nominated
        )
    return known


def response_fields(fields: ResponseFields) -> list[tuple[bytes, bytes]]:
    """The end-to-end headers with their names in lower case, for HTTP/2 (RFC 9113 §8.2)."""
    nominated = fields.nominated
    return [
        (lowered, value)
        for lowered, (_, value) in zip(fields.lowered, fields.fields, strict=True)
        if lowered not in _NOT_TO_CLIENT and lowered not in nominated
    ]


def with_date(head: ResponseHead, date: bytes) -> ResponseHead:
    """The head of a backend that has no clock, or does not say (RFC 9110 §6.6.1)."""
    return with_fields(head, [*head.fields.fields, (b"Date", date)])


def with_fields(
    head: ResponseHead, changed: list[Field], dropped: frozenset[bytes] = frozenset()
) -> ResponseHead:
    """The head with other fields, of which those ``dropped`` are no longer nominated."""
    old = head.fields
    fields = ResponseFields(changed)
    fields.length = old.length
    fields.close = old.close
    fields.keep_alive = old.keep_alive
    fields.nominated = old.nominated - dropped
    fields.upgrade = old.upgrade
    return ResponseHead(head.status, head.reason, head.version, fields)


def framing_field(length: int | None) -> bytes:
    """The one framing header of a message that we send; nothing for None."""
    if length is None:
        return b""
    if length == CHUNKED:
        return CHUNKED_FIELD
    return b"Content-Length: %d\r\n" % length


def request_framing(method: bytes, length: int) -> bytes:
    """The framing header of a forwarded request; methods without a body need none when empty."""
    if length:
        return framing_field(length)
    # RFC 9110 §8.6: a method that anticipates content says so even when it is empty.
    return b"Content-Length: 0\r\n" if method in (b"POST", b"PUT", b"PATCH") else b""


def connection_fields(*, client: str, scheme: str, port: int) -> list[Field]:
    """The forwarded headers that stay the same for all requests of a connection.

    Args:
        client: the client's address, one bare IP.
        scheme: exactly ``https`` or ``http`` (Uvicorn compares the whole value).
        port: where the client connected to.
    """
    address = client.encode("ascii")
    return [
        (b"X-Forwarded-For", address),
        (b"X-Real-IP", address),
        (b"X-Forwarded-Proto", scheme.encode("ascii")),
        (b"X-Forwarded-Port", b"%d" % port),
    ]


def response_has_no_body(method: bytes, status: int) -> bool:
    """True when the response ends with its head whatever its framing says (RFC 9112 §6.3)."""
    return method == b"HEAD" or status == 304 or status == 204 or 100 <= status < 200


def response_wire(head: ResponseHead, length: int) -> bytes:
    """The whole head for an HTTP/1.1 client that keeps the connection, with a known length.

    Remembered in ``head.wire``: for one head the length is always the same.
    """
    wire = head.wire
    if wire is None:
        wire = head.wire = b"%b%bContent-Length: %d\r\n\r\n" % (
            status_line(head),
            response_forwardable(head.fields),
            length,
        )
    return wire


def status_line(head: ResponseHead) -> bytes:
    """The status line sent to an HTTP/1.1 client."""
    return b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)
