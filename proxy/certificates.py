"""The certificate manager's process: the only one that talks to a CA, and it opens no port.

It gets the sites whose certificates we are to obtain, and keeps them fresh with
``acme_client.CertificateManager``. What it does is in the store; the channel only carries the
hint that something new is there.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import anyio

from acme_client import (
    AcmeClientError,
    CertificateManager,
    CertificateRequest,
    Environment,
    InternalIssuer,
    Issuer,
    RequestError,
    Store,
    SystemClock,
    make_issuer,
    open_store,
)
from acme_client.internal import ROOT_FILE
from proxy.channel import ChannelEnd, Notice
from proxy.config.model import Config
from proxy.errors import ConfigError, StartupError
from proxy.limits import SECONDS
from proxy.server import certificate_request

logger = logging.getLogger(__name__)

FIRST_CERTIFICATES_SECONDS = 10 * SECONDS
"""How long the announcement that we serve waits for what our own CA signs."""


def certificate_requests(config: Config) -> list[CertificateRequest]:
    """What is to be obtained: one certificate for each site that does not bring its own."""
    try:
        return [
            replace(certificate_request(site), challenges=config.usable_challenges)
            for site in config.sites
            if site.certificate is None
        ]
    except RequestError as error:
        raise ConfigError(f"sites: {error}") from error


def make_issuers(config: Config) -> list[Issuer]:
    acme = config.acme
    return [make_issuer(acme.directory, email=acme.email, ca_certificates=acme.ca_certificates)]


def try_ca_certificates(config: Config) -> None:
    """Refuse to start with trust for the CA that cannot be used."""
    path = config.acme.ca_certificates
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        message = f"acme.ca_certificates: {path} holds no certificate in PEM form"
        raise StartupError(message) from error
    except OSError as error:
        message = f"acme.ca_certificates: {path} cannot be read: {error.strerror}"
        raise StartupError(message) from error


def root_file(config: Config) -> Path:
    """Where the embedded CA's certificate is, for clients to trust."""
    return config.state_dir / ROOT_FILE


def run_manager(*, config: Config, channel: ChannelEnd) -> None:
    """Keep certificates fresh until SIGTERM, or until the parent is gone."""
    anyio.run(_run, config, channel)


async def _run(config: Config, channel: ChannelEnd) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    channel.attach(loop, lambda notice: None, stop.set)
    store = open_store(config.storage)
    manager = CertificateManager(
        requests=certificate_requests(config),
        issuers=make_issuers(config),
        store=store,
        on_installed=lambda name: channel.send(Notice("installed", name)),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(_serve, manager, config, store, channel)
        await stop.wait()
        group.cancel_scope.cancel()
    channel.detach()


async def _serve(
    manager: CertificateManager, config: Config, store: Store, channel: ChannelEnd
) -> None:
    if config.acme.is_internal:
        with anyio.move_on_after(FIRST_CERTIFICATES_SECONDS):
            await _sign_first(manager, certificate_requests(config), store)
    channel.send(Notice("ready"))
    await manager.run()


async def _sign_first(
    manager: CertificateManager, requests: Sequence[CertificateRequest], store: Store
) -> None:
    """Our own CA answers at once, so the URL is not announced before it can be opened."""
    try:
        await InternalIssuer().publish_root(Environment(store, SystemClock(), Random()))
        for request in requests:
            for certificate_id in request.certificate_ids:
                await manager.obtain(certificate_id)
    except AcmeClientError as error:
        # The manager comes to the same and says when it tries again.
        logger.error("%s", error)
