"""Our client before the in-process CA, on one clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from acme_client.acme_issuer import AcmeIssuer
from acme_client.authority import Authority
from acme_client.issuer import Environment, IssuanceTask
from acme_client.request import CertificateRequest
from acme_client.store.interface import StoredCertificate
from acme_client.testing import AcmeCA
from acme_client.transport import Transport
from tests.acme_client.support import FakeClock


@dataclass(slots=True)
class Simulation:
    """A CA, and the environment of a client that talks with it without sockets."""

    ca: AcmeCA
    environment: Environment
    _issuer: AcmeIssuer | None = field(default=None)

    @property
    def clock(self) -> FakeClock:
        assert isinstance(self.environment.clock, FakeClock)
        return self.environment.clock

    @property
    def issuer(self) -> AcmeIssuer:
        if self._issuer is None:
            self._issuer = self.make_issuer()
        return self._issuer

    def make_issuer(self, **options: Any) -> AcmeIssuer:
        options.setdefault("email", "ops@example.com")
        return AcmeIssuer(self.ca.directory_url, adapter=self.ca.adapter(), **options)

    def authority(self) -> Authority:
        transport = Transport(now=self.clock.now, user_agent="test", adapter=self.ca.adapter())
        return Authority(self.ca.directory_url, transport)

    async def obtain(
        self,
        *names: str,
        issuer: AcmeIssuer | None = None,
        replaces: StoredCertificate | None = None,
        **options: Any,
    ) -> StoredCertificate:
        """Issue and store, as an attempt of the manager does."""
        chosen = issuer or self.issuer
        task = make_task(*names, replaces=replaces, **options)
        new = await chosen.issue(task, self.environment)
        stored = self.environment.store.save_certificate(task.certificate_id, new)
        await chosen.settle(task, self.environment)
        return stored


def make_task(
    *names: str,
    replaces: StoredCertificate | None = None,
    rehearse: bool = False,
    key_type: str = "p256",
    **options: Any,
) -> IssuanceTask:
    request = CertificateRequest(names=names, key_types=(key_type,), **options)
    return IssuanceTask(request=request, key_type=key_type, replaces=replaces, rehearse=rehearse)
