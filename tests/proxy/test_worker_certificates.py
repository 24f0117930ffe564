"""The certificates of a worker: from the store, from files, on demand; what notices do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from acme_client import CertificateManager, InternalIssuer, Store, open_store
from acme_client.challenges.tls_alpn import challenge_pem
from proxy.certificate_requests import certificate_request, on_demand_request
from proxy.channel import ChannelEnd, Notice, make_channel
from proxy.config.model import Config
from proxy.errors import ClientHelloError
from proxy.routing import SiteRoutes
from proxy.sites import ChallengeSession, ServedSite, make_site_contexts
from proxy.tls.client_hello import ClientHello
from proxy.worker_certificates import Certificates
from tests.acme_client.support import START
from tests.proxy.commands.own_files import write_files

pytestmark = pytest.mark.anyio

SITE = {"upstreams": ["h:1"]}


def make_config(folder: Path, *sites: dict[str, Any], **more: Any) -> Config:
    storage = f"file:{folder / 'state'}"
    acme = {"directory": "internal", "key_types": ["p256", "rsa2048"]}
    return Config.model_validate(
        {"storage": storage, "acme": acme, "sites": [{**SITE, **site} for site in sites], **more}
    )


class Worker:
    """What of a worker is about certificates."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.store: Store = open_store(config.storage)
        self.parent, self._end = make_channel()
        self._tasks: set[asyncio.Task[None]] = set()
        self.certificates = Certificates(
            config,
            make_site_contexts(config),
            [SiteRoutes(site.names, []) for site in config.sites],
            self._end,
            self._spawn,
        )
        self.front = self.certificates.front()

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(coroutine))

    async def quiet(self) -> None:
        """Until what notices began is done."""
        while self._tasks:
            await asyncio.wait([self._tasks.pop()])

    async def close(self) -> None:
        self.certificates.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.parent.close()
        self._end.close()

    async def issue(self, name: str, *key_types: str) -> None:
        """As the manager would, and without a notice."""
        config = self.config
        site = next((s for s in config.sites if name in s.names), config.sites[-1])
        request = (
            on_demand_request(config, site, name)
            if site.on_demand
            else certificate_request(config, site)
        )
        manager = CertificateManager(
            requests=[request], issuers=[InternalIssuer()], store=self.store
        )
        for key_type in key_types or request.key_types:
            await manager.obtain(request.certificate_id(key_type), force=True)

    async def choose(self, name: str | None, *alpn: bytes) -> ServedSite | ChallengeSession:
        hello = ClientHello(name, alpn)
        found = self.front.choose(hello)
        return found if isinstance(found, ServedSite) else await found


@asynccontextmanager
async def working(config: Config) -> AsyncIterator[Worker]:
    worker = Worker(config)
    try:
        yield worker
    finally:
        await worker.close()


async def notice(end: ChannelEnd) -> Notice:
    async with asyncio.timeout(20):
        while not (found := end.receive()):  # noqa: ASYNC110 - the other end is in this thread
            await asyncio.sleep(0.001)
    return found[0]


async def test_both_key_types_and_the_renewal_of_one(tmp_path: Path) -> None:
    async with working(make_config(tmp_path, {"names": ["a.example"]})) as worker:
        with pytest.raises(ClientHelloError, match=r"no certificate for a\.example yet"):
            await worker.choose("a.example")
        await worker.issue("a.example")
        worker.certificates.on_notice(Notice("installed", "a.example"))
        worker.certificates.on_notice(Notice("installed", "b.example"))
        await worker.quiet()
        served = await worker.choose("a.example")
        assert isinstance(served, ServedSite)
        assert repr(served.context) == "<SiteContext ECDSA and RSA>"
        context = served.context.current
        await worker.issue("a.example", "rsa2048")
        worker.certificates.on_notice(Notice("installed", "a.example"))
        await worker.quiet()
        # The same context, so that sessions go on resuming.
        assert served.context.current is context
        assert repr(served.context) == "<SiteContext ECDSA and RSA>"


async def test_a_site_of_an_address_is_for_clients_without_a_name(tmp_path: Path) -> None:
    sites = {"names": ["a.example"]}, {"names": ["127.0.0.1"]}
    async with working(make_config(tmp_path, *sites)) as worker:
        await worker.issue("127.0.0.1")
        assert await worker.choose(None) is worker.certificates.served[1]
    async with working(make_config(tmp_path, *sites, {"names": ["::1"]})) as worker:
        with pytest.raises(ClientHelloError, match="no site for no server name"):
            await worker.choose(None)


async def test_own_files(tmp_path: Path) -> None:
    files = write_files(tmp_path, "a.example")
    own = {"names": ["a.example"], "certificate": files}
    async with working(make_config(tmp_path, own)) as worker:
        worker.certificates.load_own_files()
        served = await worker.choose("a.example")
        assert served is worker.certificates.served[0]


async def test_names_on_demand(tmp_path: Path) -> None:
    sites = {"names": ["a.example"]}, {"on_demand": True}
    config = make_config(tmp_path, *sites, on_demand={"ask": "m:f"})
    async with working(config) as worker:
        coming = asyncio.create_task(worker.choose("x.example.com"))
        assert await notice(worker.parent) == Notice("wanted", "x.example.com")
        await worker.issue("x.example.com")
        worker.certificates.on_notice(Notice("installed", "x.example.com"))
        served = await coming
        assert served.site is not None
        assert served.site.names == ("x.example.com",)
        # A site of its own: requests on another's connection find another site.
        assert worker.certificates.router.site("x.example.com") is served.site
        assert worker.certificates.router.site("y.example.com") is None
        assert await worker.choose("x.example.com") is served
        worker.certificates.on_notice(Notice("withdrawn", "x.example.com"))
        assert worker.certificates.router.site("x.example.com") is None
        with pytest.raises(ClientHelloError):
            await worker.choose("x.example.com")
        refused = asyncio.create_task(worker.choose("z.example.com"))
        assert await notice(worker.parent) == Notice("wanted", "z.example.com")
        worker.certificates.on_notice(Notice("refused", "z.example.com"))
        with pytest.raises(ClientHelloError):
            await refused
        with pytest.raises(ClientHelloError):
            await worker.choose("a_b.example.com")


async def test_challenges(tmp_path: Path) -> None:
    async with working(make_config(tmp_path, {"names": ["a.example"]})) as worker:
        expires = START + timedelta(days=36500)
        worker.store.put_challenge("http-01", "token", "answer", expires)
        assert await worker.certificates.challenge_answer("token") == "answer"
        assert await worker.certificates.challenge_answer("other") is None
        pem = challenge_pem("a.example", "token.thumbprint", START)
        worker.store.put_challenge("tls-alpn-01", "a.example", pem, expires)
        assert isinstance(await worker.choose("a.example", b"acme-tls/1"), ChallengeSession)
        with pytest.raises(ClientHelloError, match="no challenge pending"):
            await worker.choose("b.example", b"acme-tls/1")


async def test_a_store_that_fails(tmp_path: Path) -> None:
    async with working(make_config(tmp_path, {"names": ["a.example"]})) as worker:
        (tmp_path / "state" / "challenges").mkdir(parents=True)
        answers = worker.store
        answers.put_challenge("http-01", "token", "answer", START)
        for path in (tmp_path / "state" / "challenges").iterdir():
            path.write_text("no JSON")
        with pytest.raises(OSError, match=r"is damaged \(not JSON"):
            await worker.certificates.challenge_answer("token")
