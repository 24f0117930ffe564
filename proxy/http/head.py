"""What a head means: framing, host, connection options; and the memory of sections seen before.

A head is read in three steps, each in its own place: the grammar check lets bytes through, the
engine cuts them into names and values, and this module says what they mean, refusing what is
ambiguous (RFC 9112 §6.3, RFC 9110 §7.2). The result depends on nothing but the bytes, and clients
send the same head again and again, or the same section under changing targets; so it is
remembered: :class:`Memory` maps heads, and sections, to their meaning. What was seen before costs
one dictionary look-up, and what others derive from it (the head as it goes on) is kept with it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxy.errors import BadRequest, BadResponse
from proxy.http.engine import Engine, EngineRefusal, RawFields
from proxy.http.grammar import (
    field_section_fault,
    parse_request_line,
    parse_status_line,
)
from proxy.http.memory import Memory
from proxy.limits import Limits

_DIGITS = re.compile(rb"[0-9]{1,18}")

# uri-host [":" port], RFC 3986 §3.2.2 without percent-encoding, which no certificate covers.
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._\-]{1,255})(?::([0-9]{0,5}))?")

_ABSOLUTE_FORM = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)")

# Headers that we read or set ourselves. A name that some backends fold into one of these (CGI and
# WSGI turn both '-' and '_' into '_') is refused: X_Forwarded_For, Content.Length.
_OURS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"x-real-ip",
    }
)
FORWARDED_FAMILY: Final = b"x-forwarded-"
"""Backends believe more of these than we set (-Ssl, -Scheme, -User): a client's never pass."""

_ordinary: set[bytes] = set()
"""Names that were found to mean nothing to us; bounded, and right for ever once they are in."""
_MOST_ORDINARY: Final = 1024
_ORDINARY_BYTES: Final = 64

_PLAIN_NAME = re.compile(rb"[a-z0-9\-]+")
_ALIASING = re.compile(rb"[^a-z0-9\-]")

HTTP_1_0: Final = 10
HTTP_1_1: Final = 11
HTTP_2: Final = 20
VERSION_NAMES: Final = {HTTP_1_0: "HTTP/1.0", HTTP_1_1: "HTTP/1.1", HTTP_2: "HTTP/2"}

CHUNKED: Final = -1
"""A body length that is not known beforehand."""


class RequestFields:
    """What a request's field section means. Shared between requests: never changed once made.

    Attributes:
        fields: names as received and values, in order.
        lowered: the same names in lower case, position by position.
        host: the Host value, verbatim.
        host_name: its name part, lower-case, without port, brackets or final dot.
        length: body length in bytes; 0 for none; ``CHUNKED`` for chunked.
        close: ``Connection: close`` was there.
        keep_alive: ``Connection: keep-alive`` was there (matters to HTTP/1.0).
        nominated: the other names that Connection lists (RFC 9110 §7.6.1).
        expects_continue: ``Expect: 100-continue`` was there.
        websocket: a WebSocket upgrade is asked for (RFC 6455 §4.1).
        wants_json: the client prefers JSON to HTML, for error pages.
        forwardable: kept here by ``proxy.http.headers``: the end-to-end headers, joined.
    """

    __slots__ = (
        "close",
        "expects_continue",
        "fields",
        "forwardable",
        "host",
        "host_name",
        "keep_alive",
        "length",
        "lowered",
        "nominated",
        "wants_json",
        "websocket",
    )

    def __init__(self, fields: RawFields) -> None:
        self.fields = fields
        self.lowered = [name.lower() for name, _ in fields]
        self.host = b""
        self.host_name = ""
        self.length = 0
        self.close = False
        self.keep_alive = False
        self.nominated: frozenset[bytes] = frozenset()
        self.expects_continue = False
        self.websocket = False
        self.wants_json = False
        self.forwardable: bytes | None = None

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field of that lower-case name."""
        for position, lowered in enumerate(self.lowered):
            if lowered == name:
                return self.fields[position][1]
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of all fields of that lower-case name, in order."""
        return [
            value
            for lowered, (_, value) in zip(self.lowered, self.fields, strict=True)
            if lowered == name
        ]


class RequestHead:
    """One request's head.

    Attributes:
        method: case-sensitive, as received.
        target: in origin-form (or ``*``), its bytes as received.
        version: ``HTTP_1_0``, ``HTTP_1_1`` or ``HTTP_2``.
        fields: what the field section means.
        plan: kept here by whoever decides where the request goes: what it decided for this head.
    """

    __slots__ = ("fields", "method", "plan", "target", "version")

    def __init__(self, method: bytes, target: bytes, version: int, fields: RequestFields) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.plan: Any = None

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r} {VERSION_NAMES[self.version]}>"


class ResponseFields:
    """What a response's field section means. Shared between responses: never changed once made.

    Attributes:
        fields, lowered, close, keep_alive, nominated: as in :class:`RequestFields`.
        length: the Content-Length, ``CHUNKED``, or None when neither was there.
        upgrade: the Upgrade value, lower-case.
        dated: there is a Date.
        forwardable: kept here by ``proxy.http.headers``: the end-to-end headers, joined.
    """

    __slots__ = (
        "close",
        "dated",
        "fields",
        "forwardable",
        "keep_alive",
        "length",
        "lowered",
        "nominated",
        "upgrade",
    )

    def __init__(self, fields: RawFields) -> None:
        self.fields = fields
        self.lowered = [name.lower() for name, _ in fields]
        self.dated = b"date" in self.lowered
        self.length: int | None = None
        self.close = False
        self.keep_alive = False
        self.nominated: frozenset[bytes] = frozenset()
        self.upgrade = b""
        self.forwardable: bytes | None = None


class ResponseHead:
    """One response's head; ``version`` as in :class:`RequestHead`.

    ``wire`` and ``block`` are kept here by the client's side: the head as most HTTP/1.1 clients
    get it, and encoded for HTTP/2.

    ``plain_length`` is the length of the body of an ordinary response: final, with a body of known
    length behind it, on a connection that stays; -1 for all others.
    """

    __slots__ = ("block", "fields", "plain_length", "reason", "status", "version", "wire")

    def __init__(self, status: int, reason: bytes, version: int, fields: ResponseFields) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.fields = fields
        self.wire: bytes | None = None
        self.block: bytes | None = None
        length = fields.length
        ordinary = status >= 200 and status not in (204, 304) and version == HTTP_1_1
        self.plain_length = length if ordinary and length is not None and not fields.close else -1

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


class HeadReader:
    """Reads heads with one engine under one set of limits; one per worker."""

    __slots__ = (
        "_engine",
        "_fields",
        "_limits",
        "_requests",
        "_responses",
        "engine",
        "recall",
        "recall_response",
    )

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine = engine
        self._engine = engine
        self._limits = limits
        self._fields: Memory[RequestFields] = Memory()
        self._requests: Memory[RequestHead] = Memory()
        self._responses: Memory[ResponseHead] = Memory()
        self.recall = self._requests.recall
        """The meaning of a request head that was seen before; None says nothing."""
        self.recall_response = self._responses.recall
        """The same for response heads."""

    def request(self, block: bytes) -> RequestHead:
        """The meaning of a complete request head, from request line to empty line.

        Raises:
            BadRequest: with the status to answer.
        """
        head = self._requests.get(block)
        if head is None:
            head = self._read_request(block)
            self._requests.put(block, head)
        return head

    def _read_request(self, block: bytes) -> RequestHead:
        end = block.find(b"\r\n")
        if end > self._limits.header_line_bytes:
            raise BadRequest(
                f"a request line of {end} bytes; at most {self._limits.header_line_bytes}", 414
            )
        method, target, version = parse_request_line(block[:end])
        section = block[end + 2 :]
        fields = self._fields.get(section)
        if fields is None:
            fields = self._read_request_fields(section)
            self._fields.put(section, fields)
        if target[0] != 0x2F:  # "/"
            target = _origin_form(method, target, fields)
        if version == HTTP_1_0 and fields.length == CHUNKED:
            raise BadRequest("Transfer-Encoding in an HTTP/1.0 request")
        return RequestHead(method, target, version, fields)

    def response(self, block: bytes) -> ResponseHead:
        """The meaning of a complete response head, from status line to empty line.

        Raises:
            BadResponse: it cannot be passed on.
        """
        head = self._responses.get(block)
        if head is None:
            head = self._read_response(block)
            self._responses.put(block, head)
        return head

    def _read_response(self, block: bytes) -> ResponseHead:
        end = block.find(b"\r\n")
        status, reason, version = parse_status_line(block[:end])
        fields = self._read_response_fields(block[end + 2 :])
        if version == HTTP_1_0 and fields.length == CHUNKED:
            raise BadResponse("Transfer-Encoding in an HTTP/1.0 response")
        return ResponseHead(status, reason, version, fields)

    def _read_request_fields(self, section: bytes) -> RequestFields:
        fault = field_section_fault(section, self._limits)
        if fault is not None:
            raise BadRequest(fault[1], fault[0])
        try:
            raw = self._engine.read_request_fields(section)
        except EngineRefusal as refusal:
            raise BadRequest(f"malformed header section ({refusal})") from refusal
        return interpret_request(raw)

    def _read_response_fields(self, section: bytes) -> ResponseFields:
        fault = field_section_fault(section, self._limits)
        if fault is not None:
            raise BadResponse(f"the upstream sent {fault[1]}")
        try:
            raw = self._engine.read_response_fields(section)
        except EngineRefusal as refusal:
            raise BadResponse(
                f"malformed header section from the upstream ({refusal})"
            ) from refusal
        return interpret_response(raw)


def interpret_request(raw: RawFields) -> RequestFields:
    """What a request's fields mean together (RFC 9112 §3.2, §6; RFC 9110 §7.6, §10.1.1).

    Raises:
        BadRequest: ambiguous or unsupported.
    """
    meaning = RequestFields([(name, value.strip(b" \t")) for name, value in raw])
    host: bytes | None = None
    length: bytes | None = None
    transfer_encoding: bytes | None = None
    options: list[bytes] = []
    upgrade = b""
    for lowered, (_, value) in zip(meaning.lowered, meaning.fields, strict=True):
        if lowered in _ordinary:
            continue
        if lowered == b"host":
            if host is not None:
                raise BadRequest("more than one Host header")
            host = value
        elif lowered == b"content-length":
            if length is not None:
                raise BadRequest("more than one Content-Length header")
            length = value
        elif lowered == b"transfer-encoding":
            if transfer_encoding is not None:
                raise BadRequest("more than one Transfer-Encoding header")
            transfer_encoding = value
        elif lowered == b"connection":
            options += _tokens(value)
        elif lowered == b"expect":
            if value.lower() != b"100-continue":
                raise BadRequest("an expectation other than 100-continue", 417)
            meaning.expects_continue = True
        elif lowered == b"upgrade":
            upgrade = value.lower() if not upgrade else b"several"
        elif lowered == b"accept":
            meaning.wants_json = _prefers_json(value)
        elif _PLAIN_NAME.fullmatch(lowered) is None and _is_ours(_ALIASING.sub(b"-", lowered)):
            raise BadRequest("a header name that imitates one of the proxy's own")
        elif len(_ordinary) < _MOST_ORDINARY and len(lowered) <= _ORDINARY_BYTES:
            _ordinary.add(lowered)
    if host is None:
        raise BadRequest("no Host header")
    meaning.host = host
    meaning.host_name = parse_host(host)
    meaning.length = _body_length(length, transfer_encoding, BadRequest)
    _apply_options(meaning, options)
    meaning.websocket = (
        upgrade == b"websocket" and b"upgrade" in meaning.nominated and meaning.length == 0
    )
    return meaning


def interpret_response(raw: RawFields) -> ResponseFields:
    """What a response's fields mean together (RFC 9112 §6).

    Raises:
        BadResponse: ambiguous framing.
    """
    meaning = ResponseFields([(name, value.strip(b" \t")) for name, value in raw])
    length: bytes | None = None
    transfer_encoding: bytes | None = None
    options: list[bytes] = []
    for lowered, (_, value) in zip(meaning.lowered, meaning.fields, strict=True):
        if lowered == b"content-length":
            if length is not None:
                raise BadResponse("the upstream sent more than one Content-Length")
            length = value
        elif lowered == b"transfer-encoding":
            if transfer_encoding is not None:
                raise BadResponse("the upstream sent more than one Transfer-Encoding")
            transfer_encoding = value
        elif lowered == b"connection":
            options += _tokens(value)
        elif lowered == b"upgrade":
            meaning.upgrade = value.lower()
    if length is not None or transfer_encoding is not None:
        meaning.length = _body_length(length, transfer_encoding, BadResponse)
    _apply_options(meaning, options)
    return meaning


def parse_host(host: bytes) -> str:
    """The lower-case name part of a Host value (RFC 9110 §7.2), without port, brackets, final dot.

    Raises:
        BadRequest: it is no host with an optional port.
    """
    match = _HOST.fullmatch(host)
    if match is None or (match[2] and int(match[2]) > 65535):
        raise BadRequest("an invalid Host header")
    name = match[1].decode("ascii").lower().strip("[]")
    name = name.removesuffix(".")
    if not name:
        raise BadRequest("an invalid Host header")
    return name


def _body_length(
    length: bytes | None,
    transfer_encoding: bytes | None,
    error: type[BadRequest] | type[BadResponse],
) -> int:
    # RFC 9112 §6.3: both together is how smuggling starts, so it is never repaired.
    if transfer_encoding is not None:
        if length is not None:
            raise error("both Content-Length and Transfer-Encoding")
        if transfer_encoding.lower() != b"chunked":
            raise error("a Transfer-Encoding other than chunked")
        return CHUNKED
    if length is None:
        return 0
    if _DIGITS.fullmatch(length) is None:
        raise error("a Content-Length that is not 1 to 18 digits")
    return int(length)


def _is_ours(name: bytes) -> bool:
    return name in _OURS or name.startswith(FORWARDED_FAMILY)


def _tokens(value: bytes) -> list[bytes]:
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def _apply_options(meaning: RequestFields | ResponseFields, options: list[bytes]) -> None:
    if options:
        meaning.close = b"close" in options
        meaning.keep_alive = b"keep-alive" in options
        meaning.nominated = frozenset(options)


def _prefers_json(accept: bytes) -> bool:
    # Not full negotiation (RFC 9110 §12.5.1): whichever of the two is named first.
    lowered = accept.lower()
    json_at = lowered.find(b"json")
    html_at = lowered.find(b"text/html")
    return json_at >= 0 and (html_at < 0 or json_at < html_at)


def _origin_form(method: bytes, target: bytes, fields: RequestFields) -> bytes:
    """The origin-form of a target that does not start with a slash (RFC 9112 §3.2)."""
    if target == b"*":
        if method != b"OPTIONS":
            raise BadRequest("the target * belongs to OPTIONS only")
        return target
    if method == b"CONNECT":
        raise BadRequest("CONNECT is not spoken here", 405)
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise BadRequest("a target that starts neither with / nor with http(s)://")
    authority, path = match.groups()
    # RFC 9112 §3.2.2 lets the target win over Host; two names for one request are an ambiguity.
    if authority.lower() != fields.host.lower():
        raise BadRequest("the target's authority differs from the Host header")
    if not path and method == b"OPTIONS":
        return b"*"  # RFC 9112 §3.2.4: it asks about the server, not about "/"
    return path if path.startswith(b"/") else b"/" + path
