"""What the fields of a request or a response mean together (RFC 9113 §8).

HTTP/2 carries names and values as lengths and octets, so it can carry what HTTP/1.1 could not
survive: a CR LF in a value, a space in a path, a Transfer-Encoding, a second Content-Length.
Forwarded as HTTP/1.1, each of them is another request. Whatever could become one is *malformed*
here (RFC 9113 §8.1.1, §10.3), a stream error of type PROTOCOL_ERROR, and never repaired. What
merely asks too much is answered: 431 for too many or too long fields, 414 for a long path.

The result depends on nothing but the field list, so it is made once per remembered block and
shared by all requests that repeat it; callers keep what they derive from it in ``extension``.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import BadRequest
from proxy.http.h2.faults import malformed
from proxy.http.h2.header_blocks import Block, Field, is_sound
from proxy.http.h2.priority import Priority, parse_priority
from proxy.limits import Limits

COLON: Final = 0x3A

COOKIE_CRUMBS: Final = 256
"""Cookie fields that one request may be cut into (RFC 9113 §8.2.3), beside the count of the other
fields. Chrome keeps 180 cookies per site. A crumb costs the sender one octet, so they have to be
counted (CVE-2026-49975); their bytes count as those of all fields do."""

_DIGITS = re.compile(rb"[0-9]{1,18}")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
# As in HTTP/1.1 targets: visible ASCII without '#' and '\'; and no "%00".
_PATH = re.compile(rb"/[!\"$-\[\]-~]*")
# Visible ASCII without what ends an authority or begins another part of a URI, and without '@':
# userinfo is banned by RFC 9113 §8.3.1. Whether it is a host is for the router to say.
_AUTHORITY = re.compile(rb"[!$-.0->A-\[\]-~]+")
_STATUS = re.compile(rb"[1-9][0-9]{2}")

# RFC 9113 §8.2.2; HTTP2-Settings belongs to the upgrade that RFC 9113 has removed.
_CONNECTION_SPECIFIC: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Framing and routing that comes too late (RFC 9110 §6.5.1).
_NOT_IN_TRAILERS: Final = _CONNECTION_SPECIFIC | {b"content-length", b"host", b"te", b"trailer"}

_REQUEST_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_LOOKED_AT: Final = (
    _CONNECTION_SPECIFIC
    | _REQUEST_PSEUDO
    | {b"content-length", b"cookie", b"host", b"priority", b"te"}
)
_SCHEMES: Final = frozenset({b"http", b"https"})


class DecodedRequest:
    """What a request's field section means. Shared between requests: never changed once made.

    Attributes:
        method: a token, case-sensitive.
        scheme: ``b"https"`` or ``b"http"``; empty for a plain CONNECT.
        authority: from ``:authority``, else from Host; never empty.
        path: path and query, or ``b"*"``; empty for a plain CONNECT.
        protocol: of an extended CONNECT (RFC 8441), such as ``b"websocket"``.
        fields: the regular fields in order, names in lower case; without Host, cookies joined.
        content_length: as declared, or None.
        priority: of a Priority field, or None.
        extension: the caller's; lives as long as the block is remembered.
    """

    __slots__ = (
        "authority",
        "content_length",
        "extension",
        "fields",
        "method",
        "path",
        "priority",
        "protocol",
        "scheme",
    )

    def __init__(
        self,
        method: bytes,
        scheme: bytes,
        authority: bytes,
        path: bytes,
        protocol: bytes | None,
        fields: tuple[Field, ...],
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.authority = authority
        self.path = path
        self.protocol = protocol
        self.fields = fields
        self.content_length: int | None = None
        self.priority: Priority | None = None
        self.extension: object | None = None

    def __repr__(self) -> str:
        return f"<DecodedRequest {self.method!r} {self.authority!r} {self.path!r}>"


class DecodedResponse:
    """What a response's field section means. Shared between responses: never changed once made.

    Attributes:
        status: 100 to 999.
        fields: the regular fields in order, names in lower case.
        content_length: as declared, or None.
        extension: the caller's; lives as long as the block is remembered.
    """

    __slots__ = ("content_length", "extension", "fields", "status")

    def __init__(self, status: int, fields: tuple[Field, ...], content_length: int | None) -> None:
        self.status = status
        self.fields = fields
        self.content_length = content_length
        self.extension: object | None = None

    def __repr__(self) -> str:
        return f"<DecodedResponse {self.status}>"


def read_request(block: Block, limits: Limits, *, extended_connect: bool) -> DecodedRequest:
    """The meaning of a request's field section.

    Args:
        block: as decoded.
        limits: ``header_count`` and ``header_line_bytes`` are looked at.
        extended_connect: SETTINGS_ENABLE_CONNECT_PROTOCOL was sent.

    Raises:
        StreamFault: malformed.
        BadRequest: 414 or 431.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: list[Field] = []
    cookies: list[bytes] = []
    cookies_at = 0
    host: bytes | None = None
    length: int | None = None
    priority: Priority | None = None
    if not block.sound:
        _check_characters(block)
    for field in block.fields:
        name, value = field
        if name in _LOOKED_AT:
            if name in _REQUEST_PSEUDO:
                # RFC 9113 §8.3: before all regular fields, and none twice
                if regular or cookies or host is not None or name in pseudo:
                    raise malformed("a pseudo-header field that comes late or twice")
                pseudo[name] = value
            elif name == b"cookie":
                if not cookies:
                    cookies_at = len(regular)
                cookies.append(value)
            elif name == b"host":
                if host is not None:
                    raise malformed("more than one Host field")
                host = value
            elif name == b"content-length":
                if length is not None:
                    raise malformed("more than one Content-Length field")
                length = _length(value)
                regular.append(field)
            elif name == b"te":
                # RFC 9113 §8.2.2
                if value.lower() != b"trailers":
                    raise malformed("a TE field other than 'trailers'")
                regular.append(field)
            elif name == b"priority":
                priority = parse_priority(value)
                regular.append(field)
            else:
                raise malformed("a connection-specific field")
        elif name[0] == COLON:
            raise malformed("an unknown pseudo-header field")
        else:
            regular.append(field)
    if cookies:
        # RFC 9113 §8.2.3; an empty crumb would leave a blank at an end.
        regular.insert(cookies_at, (b"cookie", b"; ".join(filter(None, cookies))))
    request = _with_pseudo(pseudo, host, tuple(regular), extended_connect)
    if length is not None and request.method == b"CONNECT":
        # RFC 9110 §9.3.6: what follows is the tunnel's, and has no length.
        raise malformed("CONNECT with a Content-Length")
    request.content_length = length
    request.priority = priority
    if len(regular) > limits.header_count or len(cookies) > COOKIE_CRUMBS:
        raise BadRequest(f"more than {limits.header_count} header fields", 431)
    if block.size > limits.header_line_bytes:
        _check_lines(request, limits.header_line_bytes)
    return request


def _with_pseudo(
    pseudo: dict[bytes, bytes], host: bytes | None, fields: tuple[Field, ...], extended: bool
) -> DecodedRequest:
    """RFC 9113 §8.3.1, §8.5; RFC 8441 §4."""
    method = pseudo.get(b":method")
    if method is None or _METHOD.fullmatch(method) is None:
        raise malformed("no :method, or one that is no token")
    authority = pseudo.get(b":authority")
    if authority is None:
        authority = host
    elif host is not None and host.lower() != authority.lower():
        raise malformed("Host differs from :authority")
    # RFC 9113 §8.3.1: http and https need one, and it may not be empty.
    if authority is None or _AUTHORITY.fullmatch(authority) is None:
        raise malformed("no authority, or one with a character that is not allowed there")
    protocol = pseudo.get(b":protocol")
    if method == b"CONNECT" and protocol is None:
        if b":scheme" in pseudo or b":path" in pseudo:
            raise malformed("CONNECT with :scheme or :path")
        return DecodedRequest(method, b"", authority, b"", None, fields)
    if protocol is not None and not (
        extended and method == b"CONNECT" and _METHOD.fullmatch(protocol)
    ):
        raise malformed(":protocol where it has no place")
    scheme = pseudo.get(b":scheme")
    if scheme not in _SCHEMES:
        raise malformed("no :scheme, or one other than http and https")
    path = pseudo.get(b":path")
    if path is None or (
        _PATH.fullmatch(path) is None and not (path == b"*" and method == b"OPTIONS")
    ):
        raise malformed("no :path, or one with a character that is not allowed there")
    if b"%00" in path:
        raise malformed("an encoded NUL in :path")
    return DecodedRequest(method, scheme, authority, path, protocol, fields)


def _check_lines(request: DecodedRequest, most: int) -> None:
    """What would be one line of HTTP/1.1 is not longer than a line may be."""
    if len(request.path) > most:
        raise BadRequest(f"a path of {len(request.path)} bytes; at most {most}", 414)
    for name, value in request.fields:
        if len(name) + len(value) > most:
            raise BadRequest(f"a header field of more than {most} bytes", 431)


def read_response(block: Block, limits: Limits) -> DecodedResponse:
    """The meaning of a response's field section, final or informational.

    Raises:
        StreamFault: malformed, or more fields than ``limits.header_count``.
    """
    status = 0
    regular: list[Field] = []
    length: int | None = None
    if not block.sound:
        _check_characters(block)
    for field in block.fields:
        name, value = field
        if name[0] == COLON:
            # RFC 9113 §8.3.2
            if regular or status or name != b":status" or _STATUS.fullmatch(value) is None:
                raise malformed("a pseudo-header field other than one :status in front")
            status = int(value)
            continue
        if name in _CONNECTION_SPECIFIC:
            raise malformed("a connection-specific field")
        if name == b"content-length":
            if length is not None:
                raise malformed("more than one Content-Length field")
            length = _length(value)
        regular.append(field)
    # RFC 9113 §8.6: 101 has no meaning in HTTP/2.
    if status in (0, 101):
        raise malformed("no :status, or 101")
    if len(regular) > limits.header_count:
        raise malformed(f"more than {limits.header_count} header fields")
    return DecodedResponse(status, tuple(regular), length)


def read_trailers(block: Block, limits: Limits) -> tuple[Field, ...]:
    """The fields of a trailer section, which may hold no framing (RFC 9113 §8.1).

    Raises:
        StreamFault: malformed, or more fields than ``limits.header_count``.
    """
    if not block.sound:
        _check_characters(block)
    if len(block.fields) > limits.header_count:
        raise malformed(f"more than {limits.header_count} trailer fields")
    for name, _ in block.fields:
        if name[0] == COLON or name in _NOT_IN_TRAILERS:
            raise malformed("a field that has no place among the trailers")
    return block.fields


def _check_characters(block: Block) -> None:
    if not all(map(is_sound, block.fields)):
        raise malformed("a field name or value with a character that is not allowed there")


def _length(value: bytes) -> int:
    if _DIGITS.fullmatch(value) is None:
        raise malformed("a Content-Length that is not 1 to 18 digits")
    return int(value)
