"""The certificate manager's process: the only one that talks to a CA, and it opens no port.

It gets the sites whose certificates we are to obtain, and keeps them fresh with
``acme_client.CertificateManager``. What it does is in the store; the channel only carries hints:
that something new is there, and (from the workers) that a name is wanted for which there is
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from random import Random

import anyio

from acme_client import (
    AcmeClientError,
    CertificateEvent,
    CertificateManager,
    CertificateRequest,
    Environment,
    Hook,
    InternalIssuer,
    RequestError,
    Store,
    SystemClock,
    open_store,
)
from acme_client.ask import make_ask
from acme_client.on_demand import OnDemand, OnDemandLimits
from proxy.certificate_requests import on_demand_request, on_demand_site
from proxy.certificate_settings import (
    Solvers,
    make_hooks,
    make_issuers,
    make_requests,
    prepare_imports,
)
from proxy.changes import follow_changes
from proxy.channel import ChannelEnd, Notice
from proxy.config.model import Config
from proxy.errors import ConfigError
from proxy.limits import SECONDS

logger = logging.getLogger(__name__)

FIRST_CERTIFICATES_SECONDS = 10 * SECONDS
"""How long the announcement that we serve waits for what our own CA signs."""


def run_manager(*, config: Config, channel: ChannelEnd) -> None:
    """Keep certificates fresh until SIGTERM, or until the parent is gone."""
    anyio.run(_run, config, channel)


async def _run(config: Config, channel: ChannelEnd) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    prepare_imports(config)
    work = Work(config, open_store(config.storage), channel)
    channel.attach(loop, work.on_notice, stop.set)
    async with anyio.create_task_group() as group:
        group.start_soon(work.run)
        await stop.wait()
        group.cancel_scope.cancel()
    channel.detach()


class Work:
    """The manager, and what stands around it."""

    def __init__(self, config: Config, store: Store, channel: ChannelEnd) -> None:
        self._config = config
        self._store = store
        self._channel = channel
        self._solvers = Solvers()
        self._requests = make_requests(config, self._solvers)
        self._manager = CertificateManager(
            requests=self._requests,
            issuers=make_issuers(config),
            store=store,
            on_installed=self._installed,
            hooks=[*make_hooks(config), Hook(run=self._failed, events=("failed",))],
        )
        self._on_demand = self._make_on_demand()

    def on_notice(self, notice: Notice) -> None:
        if notice.kind == "wanted" and self._on_demand is not None:
            self._on_demand.want(notice.name)

    async def run(self) -> None:
        """Until cancelled."""
        if any(issuer.is_internal for issuer in self._config.acme.issuers):
            with anyio.move_on_after(FIRST_CERTIFICATES_SECONDS):
                await self._sign_first(self._requests if self._config.acme.is_internal else ())
        async with anyio.create_task_group() as group:
            if self._on_demand is not None:
                group.start_soon(self._on_demand.run)
            group.start_soon(follow_changes, self._manager, self._store, self._look_again)
            self._channel.send(Notice("ready"))
            await self._manager.run()

    async def _sign_first(self, requests: Sequence[CertificateRequest]) -> None:
        """Our own CA answers at once, so the URL is not announced before it can be opened."""
        try:
            await InternalIssuer().publish_root(Environment(self._store, SystemClock(), Random()))
            for request in requests:
                for certificate_id in request.certificate_ids:
                    await self._manager.obtain(certificate_id)
        except AcmeClientError as error:
            # The manager comes to the same and says when it tries again.
            logger.error("%s", error)

    def _installed(self, request_id: str) -> None:
        self._channel.send(Notice("installed", request_id))
        if self._on_demand is not None:
            self._on_demand.installed(request_id)

    async def _failed(self, event: CertificateEvent) -> None:
        if self._on_demand is not None:
            self._on_demand.failed(event.names)

    async def _look_again(self) -> None:
        if self._on_demand is not None:
            await self._on_demand.load()

    def _make_on_demand(self) -> OnDemand | None:
        table = self._config.on_demand
        if table is None:
            return None
        try:
            ask = make_ask(table.ask, seconds=table.ask_timeout)
        except RequestError as error:
            raise ConfigError(f"on_demand.ask: {error}") from error
        return OnDemand(
            ask=ask,
            manager=self._manager,
            make_request=self._request_for,
            store=self._store,
            clock=SystemClock(),
            refused=lambda name: self._channel.send(Notice("refused", name)),
            withdrawn=lambda name: self._channel.send(Notice("withdrawn", name)),
            limits=OnDemandLimits(
                remember_yes=table.remember_yes,
                remember_no=table.remember_no,
                names_per_hour=table.names_per_hour,
            ),
        )

    def _request_for(self, name: str) -> CertificateRequest | None:
        site = on_demand_site(self._config, name)
        if site is None:
            return None
        request = on_demand_request(self._config, site, name)
        return self._solvers.equip(request, self._config.acme_of(site))
