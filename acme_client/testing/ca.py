"""The CA as a test holds it: start, stop, look at, and make misbehave."""

from __future__ import annotations

import random
import shutil
import socket
import ssl
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from cryptography import x509

from acme_client.testing import certificates
from acme_client.testing.adapter import InProcessAdapter
from acme_client.testing.clock import Clock
from acme_client.testing.faults import Faults
from acme_client.testing.objects import Account, Authorization, Certificate, Challenge, Order
from acme_client.testing.pki import server_identity
from acme_client.testing.problems import Problem
from acme_client.testing.records import Records
from acme_client.testing.responder import Responder
from acme_client.testing.server import Server
from acme_client.testing.settings import Settings
from acme_client.testing.state import State
from acme_client.testing.validation import validate
from acme_client.testing.wire import Reply, Request


class AcmeCA:
    """An ACME CA on loopback, in this process.

    ::

        with AcmeCA() as ca:
            ca.settings.http_port = my_server_port
            ca.directory_url      # https://127.0.0.1:43211/directory
            ca.trust_file         # PEM: the root of the CA's own HTTPS
            ca.clock.advance(days=40)
            ca.faults.add(rate_limited(retry_after=120), at="newOrder")
            ca.orders, ca.certificates, ca.requests

    A context manager; ``start`` and ``stop`` do the same by hand. A stopped CA can be started
    again: on the same port, and with all it knew.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        directory: Path | None = None,
        seed: int | None = None,
    ) -> None:
        """``seed`` repeats tokens, nonces and chance; without it, two CAs never share a nonce."""
        self.clock = clock or Clock()
        self._host, self._port = host, port
        self._own_directory = directory is None
        self._directory = directory
        self._server: Server | None = None
        self._responder: Responder | None = None
        self._settings = settings or Settings()
        self._seed = seed

    # -- life

    def __enter__(self) -> AcmeCA:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._responder is None:
            return "<AcmeCA, never started>"
        state = "running" if self.running else "stopped"
        return (
            f"<AcmeCA {self.base_url}, {state}, {len(self.accounts)} accounts, "
            f"{len(self.orders)} orders, {len(self.certificates)} certificates>"
        )

    def start(self) -> None:
        if self.running:
            raise RuntimeError("the CA runs already")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=256)
        try:
            if self._responder is None:
                self._port = listener.getsockname()[1]
                self._responder = Responder(self._make_state())
                self._write_files()
            server = Server(listener, self._context(), self._responder.respond)
            server.start()
        except BaseException:
            listener.close()
            raise
        self._server = server

    def stop(self) -> None:
        """Refuse connections from now on; what the CA knows stays."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def close(self) -> None:
        """Stop for good, and remove the files."""
        try:
            self.stop()
        finally:
            if self._own_directory and self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def running(self) -> bool:
        return self._server is not None

    # -- where and whom to trust

    @property
    def base_url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"https://{host}:{self._port}"

    @property
    def directory_url(self) -> str:
        return f"{self.base_url}/directory"

    @property
    def trust_file(self) -> Path:
        """PEM of the root that the CA's own HTTPS certificate leads to."""
        return self._files / "https-root.pem"

    @property
    def roots_file(self) -> Path:
        """PEM of the two roots that issued certificates lead to."""
        return self._files / "roots.pem"

    @property
    def roots(self) -> tuple[x509.Certificate, ...]:
        return self._state.pki.roots

    def adapter(self) -> InProcessAdapter:
        """For ``requests``: the same CA without sockets, for tests of many thousand requests."""
        return InProcessAdapter(self.base_url, self.respond, lambda: self.running)

    def respond(self, request: Request) -> Reply:
        return self._live.respond(request)

    # -- what it does

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def faults(self) -> Faults:
        return self._state.faults

    def forget_accounts(self) -> None:
        with self._live.changed:
            self._state.forget_accounts()

    def certificate(self, data: bytes | str | x509.Certificate) -> Certificate:
        """The CA's record of a certificate: PEM (the first one counts) or parsed."""
        return certificates.load(data, self._state)

    def revoke(self, certificate: Certificate, reason: int = 4) -> None:
        """As in an incident: revoked by the CA, so that renewal information says renew now."""
        with self._live.changed:
            self._state.revoke(certificate, reason)

    def set_renewal_window(
        self,
        certificate: Certificate,
        start: datetime,
        end: datetime,
        explanation: str | None = None,
    ) -> None:
        """What renewal information (RFC 9773) suggests for it from now on, however odd."""
        with self._live.changed:
            certificate.window = (start, end)
            certificate.explanation = explanation

    # -- what it has seen

    @property
    def requests(self) -> Records:
        return self._live.records

    @property
    def accounts(self) -> list[Account]:
        return list(self._state.accounts.values())

    @property
    def orders(self) -> list[Order]:
        with self._live.changed:
            orders = list(self._state.orders.values())
            for order in orders:
                self._state.settle(order)
        return orders

    @property
    def authorizations(self) -> list[Authorization]:
        return list(self._state.authorizations.values())

    @property
    def certificates(self) -> list[Certificate]:
        return list(self._state.certificates.values())

    def certificates_for(self, name: str) -> list[Certificate]:
        """Those that hold the name, oldest first."""
        return [certificate for certificate in self.certificates if name in certificate.names]

    def wait_for(self, condition: Callable[[AcmeCA], bool], timeout: float = 10.0) -> None:
        """Block until the condition holds; it is looked at after each request and validation."""
        with self._live.changed:
            if not self._live.changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(f"not so within {timeout:g} s; {self!r}")

    # -- inside

    @property
    def _live(self) -> Responder:
        if self._responder is None:
            raise RuntimeError("the CA has not been started")
        return self._responder

    @property
    def _state(self) -> State:
        return self._live.state

    @property
    def _files(self) -> Path:
        if self._directory is None:
            raise RuntimeError("the CA has not been started")
        return self._directory

    def _make_state(self) -> State:
        state = State(
            settings=self._settings,
            clock=self.clock,
            rng=random.Random(self._seed),
            base_url=self.base_url,
        )
        state.start_validation = self._start_validation
        return state

    def _write_files(self) -> None:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="acme-ca-"))
        # Its own HTTPS lives in real time, whatever the clock of its certificates says.
        hosts = tuple(dict.fromkeys((self._host, "localhost", "127.0.0.1", "::1")))
        root, chain, key = server_identity(hosts, datetime.now(UTC))
        self.trust_file.write_bytes(root)
        self.roots_file.write_bytes(self._state.pki.roots_pem)
        (self._directory / "https-chain.pem").write_bytes(chain)
        (self._directory / "https-key.pem").write_bytes(key)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._files / "https-chain.pem", self._files / "https-key.pem")
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _start_validation(self, challenge: Challenge) -> None:
        server = self._server
        if server is None:
            raise RuntimeError("the CA does not run")
        server.spawn(lambda: self._validate(challenge))

    async def _validate(self, challenge: Challenge) -> None:
        state = self._state
        problem: Problem | None = await validate(
            challenge, self._settings, state.urls, self.clock.now()
        )
        with self._live.changed:
            state.decide(challenge, problem)
            self._live.changed.notify_all()
