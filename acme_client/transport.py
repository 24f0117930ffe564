"""HTTPS to a CA that is not trusted further than needed.

The CA signs certificates; that is no reason to let it, or whoever stands in its place, lead us to
other machines, fill our memory, or hold a thread for ever:

- every URL must be https, and TLS is verified, always,
- redirects are followed for GET and HEAD only, and only within the origin,
- a body ends at 64 KiB, is not decompressed, and must arrive before a deadline,
- nothing that is sent is ever logged: JWS carry account proofs, and CSRs carry names.

``requests`` sessions are not safe to share between threads, so a request borrows one.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import requests.utils
import urllib3.exceptions
from requests.adapters import BaseAdapter

from acme_client.backoff import MAX_RETRY_AFTER
from acme_client.errors import (
    IssuerError,
    IssuerUnreachable,
    ProtocolViolation,
    RequestError,
    innermost,
)

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
READ_SECONDS = 20.0
"""Between two reads; a CA may think this long about an order."""
BODY_SECONDS = 30.0
MAX_BODY_BYTES = 64 * 1024
MAX_URL_LENGTH = 2048
MAX_REDIRECTS = 3
MAX_HOSTS = 16
"""Whose proxies are remembered: a CA is on one or two, but what it answers names them."""

CLOCK_SKEW_ALLOWED = timedelta(minutes=5)
CLOCK_WARNING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a CA answered: the whole of it, within the caps."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    """Names are looked up case-insensitively; repeated fields are joined by commas."""
    body: bytes
    retry_after: timedelta | None


class Transport:
    """Requests to one CA."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        user_agent: str,
        ca_certificates: str | Path | None = None,
        adapter: BaseAdapter | None = None,
    ) -> None:
        if ca_certificates is not None and not Path(ca_certificates).is_file():
            raise RequestError(f"ca_certificates: there is no file {ca_certificates}")
        self.now = now
        # What requests would look up anew, with .netrc, at every request.
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._verify: str | bool = str(ca_certificates or bundle or "") or True
        self._proxies: dict[str, dict[str, str]] = {}
        self._headers = {
            "User-Agent": user_agent,
            "Accept-Encoding": "identity",
            "Accept-Language": "en",
        }
        self._adapter = adapter
        self._idle: queue.LifoQueue[requests.Session] = queue.LifoQueue()
        self._warned_at: float | None = None
        self.clock_skew = timedelta(0)
        """How far the CA's clock was ahead of ours in its last answer."""

    def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; whatever the status, the answer is returned."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._send(method, url, data, {**self._headers, **(headers or {})})
            location = answer.headers.get("Location")
            if answer.status not in (301, 302, 303, 307, 308) or method == "POST" or not location:
                return answer
            target = urljoin(url, location)
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                raise ProtocolViolation(f"the CA redirects {url} to another origin: {target!r}")
            url = target
        raise ProtocolViolation(f"the CA redirects more than {MAX_REDIRECTS} times, last to {url}")

    def _send(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        check_url(url)
        session = self._borrow()
        try:
            answer = self._exchange(session, method, url, data, headers)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            session.close()
            raise _unreachable(url, error) from error
        except IssuerError:
            session.close()
            raise
        self._idle.put(session)
        logger.debug("%s %s: %d", method, url, answer.status)
        self._note_date(answer.headers.get("Date"))
        return answer

    def _exchange(
        self,
        session: requests.Session,
        method: str,
        url: str,
        data: bytes | None,
        headers: dict[str, str],
    ) -> Answer:
        with session.request(
            method,
            url,
            data=data,
            headers=headers,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            verify=self._verify,
            proxies=self._proxies_for(url),
            allow_redirects=False,
            stream=True,
        ) as response:
            return Answer(
                method=method,
                url=url,
                status=response.status_code,
                headers=response.headers,
                body=_read_body(response, url),
                retry_after=parse_retry_after(
                    response.headers.get("Retry-After"), response.headers.get("Date"), self.now()
                ),
            )

    def _borrow(self) -> requests.Session:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            session = requests.Session()
            session.trust_env = False
            if self._adapter is not None:
                session.mount("https://", self._adapter)
            return session

    def _proxies_for(self, url: str) -> dict[str, str]:
        """HTTPS_PROXY and NO_PROXY, looked up once for each host."""
        host = urlsplit(url).netloc
        if host not in self._proxies:
            if len(self._proxies) >= MAX_HOSTS:
                self._proxies.clear()
            self._proxies[host] = dict(requests.utils.get_environ_proxies(url))
        return self._proxies[host]

    def _note_date(self, date: str | None) -> None:
        """Compare clocks: a wrong one here makes every date we decide by wrong."""
        then = _parse_date(date)
        if then is None:
            return
        self.clock_skew = then - self.now()
        now = time.monotonic()
        recent = self._warned_at is not None and now - self._warned_at < CLOCK_WARNING_SECONDS
        if abs(self.clock_skew) > CLOCK_SKEW_ALLOWED and not recent:
            self._warned_at = now
            logger.warning(
                "this machine's clock differs from the CA's by %d s: it shows %s, the CA's %s",
                abs(self.clock_skew.total_seconds()),
                f"{self.now():%Y-%m-%d %H:%M:%S} UTC",
                f"{then:%Y-%m-%d %H:%M:%S} UTC",
            )


def check_url(url: str) -> None:
    """RFC 8555 §6.1: ACME is spoken over HTTPS only."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
    except ValueError:
        fine = False
    if not fine or len(url) > MAX_URL_LENGTH or not url.isprintable():
        raise ProtocolViolation(f"{url[:200]!r} is no https URL")


def parse_retry_after(value: str | None, date: str | None, now: datetime) -> timedelta | None:
    """Retry-After (RFC 9110 §10.2.3) as a wait from now, within bounds.

    A date is read against the sender's own Date, so that a clock that is wrong, theirs or ours,
    does not turn a minute into a year.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        # A number of a thousand digits is no reason for an OverflowError.
        wait = MAX_RETRY_AFTER if len(text) > 9 else timedelta(seconds=int(text))
    elif (then := _parse_date(text)) is not None:
        wait = then - (_parse_date(date) or now)
    else:
        return None
    return max(timedelta(0), min(wait, MAX_RETRY_AFTER))


def _parse_date(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_body(response: requests.Response, url: str) -> bytes:
    deadline = time.monotonic() + BODY_SECONDS
    body = io.BytesIO()
    # read1 returns what has arrived, so that a body that drips is measured against the deadline.
    while chunk := response.raw.read1(16 * 1024, decode_content=False):
        body.write(chunk)
        if body.tell() > MAX_BODY_BYTES:
            raise ProtocolViolation(f"{url} answers with more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise IssuerUnreachable(f"{url} did not finish its answer in {BODY_SECONDS:.0f} s")
    return body.getvalue()


def _unreachable(url: str, error: Exception) -> IssuerUnreachable:
    host = urlsplit(url).netloc
    cause = error.args[0] if error.args else error
    reason = getattr(cause, "reason", None) or cause
    connected = not isinstance(
        reason,
        (
            urllib3.exceptions.NewConnectionError,
            urllib3.exceptions.ConnectTimeoutError,
            urllib3.exceptions.ProxyError,
            urllib3.exceptions.SSLError,
        ),
    )
    if isinstance(reason, urllib3.exceptions.SSLError):
        text = f"TLS fails ({reason}); ca_certificates names the CA of a private directory"
    elif isinstance(reason, urllib3.exceptions.NewConnectionError):
        text = innermost(reason)
    elif isinstance(reason, urllib3.exceptions.ConnectTimeoutError):
        text = f"no connection within {CONNECT_SECONDS:.0f} s"
    elif isinstance(reason, urllib3.exceptions.ReadTimeoutError):
        text = f"no answer within {READ_SECONDS:.0f} s"
    else:
        text = str(reason)
    return IssuerUnreachable(f"{host} cannot be reached: {text}", connected=connected)
