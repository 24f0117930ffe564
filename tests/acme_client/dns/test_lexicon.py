"""dns-lexicon: its own machinery, with a service of ours and with a real BIND 9 on port 53."""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lexicon.client
import lexicon.exceptions
import pytest
import tldextract

from acme_client.dns import Credentials, Dns01Solver, ServerAddress
from acme_client.dns.lexicon import LexiconProvider, _services, check_service
from acme_client.dns.lookup import AuthoritativeServer, Lookup
from acme_client.errors import NotPresented, RequestError
from tests.acme_client.dns.servers import KEY_NAME, NAMED, SECRET, Bind, Relay, free_port, running

pytestmark = pytest.mark.anyio

TOKEN = "hunter2-hunter2"
ADDRESS = "127.0.53.1"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lexicon would fetch the Public Suffix List; its snapshot does for tests."""
    offline = functools.partial(tldextract.TLDExtract, suffix_list_urls=())
    monkeypatch.setattr(tldextract, "TLDExtract", offline)
    monkeypatch.setenv("LEXICON_TLDEXTRACT_CACHE_PATH", str(tmp_path))


class Service:
    """A service as lexicon's providers are made."""

    seen: dict[str, Any]
    error: Exception | None = None
    done: bool = True

    def __init__(self, config: Any) -> None:
        Service.seen = {
            key: config.resolve(f"lexicon:{key}")
            for key in ("domain", "ttl", "ours:auth_token", "ours:zone_id")
        }

    def authenticate(self) -> None:
        if self.error is not None:
            raise self.error

    def cleanup(self) -> None:
        pass

    def create_record(self, *arguments: str) -> bool:
        Service.seen["call"] = ("create", *arguments)
        return self.done

    def delete_record(self, *arguments: str | None) -> bool:
        Service.seen["call"] = ("delete", *arguments)
        return self.done


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    class Module:
        Provider = Service

    monkeypatch.setattr(lexicon.client.Client, "_validate_provider", lambda self: None)
    monkeypatch.setattr(lexicon.client, "_load_provider_module", lambda name: Module)
    monkeypatch.setattr(Service, "error", None)
    monkeypatch.setattr(Service, "done", True)
    return Service


def _provider(zone: str = "sub.example.com") -> LexiconProvider:
    credentials = Credentials({"auth_token": "env:TOKEN"}, environment={"TOKEN": TOKEN})
    return LexiconProvider("ours", credentials, options={"zone_id": "7"}, zone=zone)


async def test_what_reaches_the_service(service: type[Service]) -> None:
    name = "_acme-challenge.a.sub.example.com"
    await _provider().present(name, "value")
    assert service.seen == {
        "domain": "sub.example.com",
        "ttl": 120,
        "ours:auth_token": TOKEN,
        "ours:zone_id": "7",
        "call": ("create", "TXT", name, "value"),
    }
    await _provider().clean_up(name, "value")
    assert service.seen["call"] == ("delete", None, "TXT", name, "value")


@pytest.mark.parametrize("zone", ["example.co.uk", "a.b.example.com", "acme.test", "x.acme.test"])
async def test_the_zone_is_ours_to_name(service: type[Service], zone: str) -> None:
    await _provider(zone).present(f"_acme-challenge.{zone}", "value")
    assert service.seen["domain"] == zone


async def test_errors_tell_no_secrets(
    service: type[Service], caplog: pytest.LogCaptureFixture
) -> None:
    service.error = lexicon.exceptions.AuthenticationError(f"token {TOKEN} is no good")
    with caplog.at_level(logging.DEBUG), pytest.raises(NotPresented) as caught:
        await _provider().present("n.sub.example.com", "value")
    assert str(caught.value) == "<lexicon ours>: AuthenticationError: token *** is no good"
    assert caught.value.__cause__ is None
    assert TOKEN not in caplog.text + repr(_provider())


async def test_a_service_that_says_no(service: type[Service]) -> None:
    service.done = False
    with pytest.raises(NotPresented, match="says that it did not do it"):
        await _provider().present("n.sub.example.com", "value")


async def test_a_service_whose_packages_are_missing(service: type[Service]) -> None:
    service.error = lexicon.exceptions.ProviderNotAvailableError("needs boto3")
    with pytest.raises(RequestError, match="needs boto3"):
        await _provider().present("n.sub.example.com", "value")


async def test_a_service_that_there_is_not() -> None:
    with pytest.raises(RequestError, match="atlantis"):
        await LexiconProvider("atlantis", zone="example.com").present("a.example.com", "x")


# -- lexicon's ddns service, which knows port 53 only


@pytest.fixture
def bind(tmp_path: Path) -> Iterator[Bind]:
    if NAMED is None:
        pytest.skip("needs BIND 9: apt-get install bind9")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ADDRESS, 53))
    except PermissionError:
        pytest.skip(f"user {os.getuid()} may not use port 53, the only one lexicon's ddns knows")
    server = Bind(tmp_path / "bind", free_port("127.0.0.1"))
    server.primary("acme.test", policy=f"grant {KEY_NAME} zonesub TXT;")
    with running(server), Relay(ADDRESS, 53, server.port):
        yield server


async def test_a_record_through_lexicon_to_bind(bind: Bind) -> None:
    lookup = Lookup(
        [ServerAddress(ADDRESS)], authoritative=[ServerAddress(ADDRESS)], query_seconds=1
    )
    token = f"hmac-sha256:{KEY_NAME}:{SECRET}"
    credentials = Credentials({"auth_token": "env:T"}, environment={"T": token})
    provider = LexiconProvider("ddns", credentials, options={"ddns_server": ADDRESS}, lookup=lookup)
    solver = Dns01Solver(provider, lookup)
    await solver.present("acme.test", "value")
    server = AuthoritativeServer("bind", ServerAddress(ADDRESS))
    assert await lookup.texts_at(server, "_acme-challenge.acme.test") == ("value",)
    await solver.clean_up("acme.test", "value")


async def test_services_are_looked_up_in_lexicons_list(monkeypatch: pytest.MonkeyPatch) -> None:
    check_service("cloudflare")
    with pytest.raises(RequestError, match=r"has no 'cloudflar'; did you mean 'cloudflare'\?"):
        check_service("cloudflar")
    with pytest.raises(RequestError, match=r"has no 'qqqqqq'; it has .*gandi.*hetzner"):
        check_service("qqqqqq")
    monkeypatch.setattr("acme_client.dns.lexicon._services", lambda: {"route53": False})
    with pytest.raises(RequestError, match=r"pip install 'dns-lexicon\[route53\]'"):
        check_service("route53")
    # A lexicon to come may keep its list elsewhere: then it tells at the first record.
    monkeypatch.setattr("acme_client.dns.lexicon._services", lambda: None)
    check_service("qqqqqq")


async def test_a_list_that_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nowhere(name: str) -> None:
        asked.append(name)
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("acme_client.dns.lexicon.importlib.import_module", nowhere)
    assert _services() is None
    assert asked == ["lexicon._private.discovery", "lexicon.discovery"]
