"""The strict check of HTTP/1.1 bytes: what is ambiguous is refused here, before any engine.

Request smuggling lives on bytes that two parsers read differently. So nothing is repaired or
tolerated: a head is either inside this grammar, on which all parsers agree, or it is refused.
Both engines, both directions and trailers go through these few expressions; there is no second
place that decides what a well-formed line is.

What may follow each other in these expressions differs in its first byte, so matching takes linear
time on every input. (Possessive repeats would say the same, but Python 3.11.2 gets them wrong.)

Sources: RFC 9112 §2-5 (message grammar), RFC 9110 §5 (field syntax). Stricter than the RFC:
bare LF as line end (§2.2 allows a recipient to accept it), obs-fold (§5.2) and whitespace before
the colon (§5.1) are refused, and so are ``#``, ``\\``, controls and bytes above 0x7E in a target.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from proxy.errors import BadRequest, BadResponse
from proxy.limits import Limits

HEAD_END = b"\r\n\r\n"

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"

_REQUEST_LINE = re.compile(
    rb"(" + TOKEN + rb"{1,32}) "  # method, RFC 9110 §9.1
    rb"([!\"$-\[\]-~]+) "  # target: visible ASCII without '#' and '\'
    rb"HTTP/1\.([01])"
)

_STATUS_LINE = re.compile(
    # RFC 9112 §4; a status outside of 100 to 599 has no class (RFC 9110 §15).
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?"
)

# A field section: field lines, then the empty line. Values may hold obs-text (RFC 9110 §5.5),
# which passes through unchanged; controls other than HTAB are never legal.
_FIELD_SECTION = re.compile(rb"(?:" + TOKEN + rb"+:[\t -~\x80-\xff]*\r\n)*\r\n")

_FIELD_LINE = re.compile(TOKEN + rb"+:[\t -~\x80-\xff]*")


class RequestLine(NamedTuple):
    """The parts of a request line (RFC 9112 §3); version is 10 or 11."""

    method: bytes
    target: bytes
    version: int


class StatusLine(NamedTuple):
    """The parts of a status line (RFC 9112 §4); version is 10 or 11."""

    status: int
    reason: bytes
    version: int


def parse_request_line(line: bytes) -> RequestLine:
    """The parts of a request line without its CRLF.

    Raises:
        BadRequest: 400, or 505 for another HTTP version (RFC 9110 §15.6.6).
    """
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise _request_line_fault(line)
    method, target, minor = match.groups()
    if b"%00" in target:
        raise BadRequest("the target holds an encoded NUL")
    return RequestLine(method, target, 11 if minor == b"1" else 10)


def _request_line_fault(line: bytes) -> BadRequest:
    parts = line.split(b" ")
    if len(parts) == 3 and re.fullmatch(rb"HTTP/[0-9]\.[0-9]", parts[2]):
        if not parts[2].startswith(b"HTTP/1.") or parts[2] > b"HTTP/1.1":
            return BadRequest("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
        return BadRequest("the method or the target holds a byte that is not allowed")
    return BadRequest("the request line is not 'METHOD target HTTP/1.1'")


def parse_status_line(line: bytes) -> StatusLine:
    """The parts of a status line without its CRLF.

    Raises:
        BadResponse: it is not one of HTTP/1.0 or HTTP/1.1.
    """
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadResponse("the upstream's status line is malformed")
    minor, status, reason = match.groups()
    return StatusLine(int(status), reason or b"", 11 if minor == b"1" else 10)


def field_section_fault(section: bytes, limits: Limits) -> tuple[int, str] | None:
    """What is wrong with a field section, as status and reason, or None when it is sound.

    Args:
        section: field lines with their CRLFs and the empty line that ends them.
        limits: ``header_count`` and ``header_line_bytes`` are looked at (431, RFC 6585 §5).
    """
    if _FIELD_SECTION.fullmatch(section) is None:
        return 400, _name_fault(section)
    if section.count(b"\r\n") - 1 > limits.header_count:
        return 431, f"more than {limits.header_count} header fields"
    if len(section) > limits.header_line_bytes:
        longest = max(map(len, section.split(b"\r\n")))
        if longest > limits.header_line_bytes:
            return 431, f"a header line of {longest} bytes; at most {limits.header_line_bytes}"
    return None


def _name_fault(section: bytes) -> str:
    """The first broken line's kind, never its bytes: a message must not echo an attack."""
    for line in section.removesuffix(HEAD_END).split(b"\r\n"):
        if _FIELD_LINE.fullmatch(line):
            continue
        if line[:1] in (b" ", b"\t"):
            return "a folded header line"
        if b"\n" in line or b"\r" in line or b"\0" in line:
            return "a bare CR, LF or NUL in a header line"
        name, colon, _ = line.partition(b":")
        if not colon:
            return "a header line without a colon"
        if not re.fullmatch(TOKEN + rb"+", name):
            return "a header name that is no token"
        return "a control character in a header value"
    return "a malformed header section"
