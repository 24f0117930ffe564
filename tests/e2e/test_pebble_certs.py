"""Certificates of every kind from a real Pebble, through a running Vestibule and its commands.

What Pebble shows here: TLS-ALPN-01 through the proxy's own port 443, DNS-01 through a DNS server
that Pebble asks, wildcards, external account binding, both key types, names on demand, and the
commands beside a running server and without one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.e2e.certificates import (
    ISSUING,
    acme,
    certs,
    command,
    names_of,
    orders,
    served,
    site,
    until_served,
    verified,
)
from tests.e2e.clients import s_client
from tests.e2e.conftest import Ports, StartVestibule
from tests.e2e.programs import ROOT
from tests.e2e.proxy_process import COMMAND, Value, to_toml
from tests.e2e.waiting import wait_until
from tests.http_server import Answer, http_server
from tests.pebble import Pebble, PebbleFactory

pytestmark = [pytest.mark.pebble]

EAB: Final = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}


def dns_command(server: Pebble, folder: Path) -> dict[str, Value]:
    """A script that has Pebble's DNS server hold the record."""
    script = folder / "dns.py"
    script.write_text(
        f"""
import json, os, sys, urllib.request
action, name, value = sys.argv[1:]
path = "/set-txt" if action == "present" else "/clear-txt"
body = {{"host": name + ".", "value": value}} if action == "present" else {{"host": name + "."}}
urllib.request.urlopen({server.dns_management!r} + path, data=json.dumps(body).encode())
"""
    )
    options: dict[str, Value] = {"command": [sys.executable, str(script)]}
    # The challenge test server has neither SOA nor NS records to look for the propagation with.
    return {"provider": "command", "options": options, "propagation_seconds": 0}


def test_tls_alpn_01_through_port_443_beside_ordinary_clients(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number, sleep=True, authz_reuse=0)
    settings: dict[str, Value] = {
        "acme": acme(server, challenges=["tls-alpn-01"]),
        "sites": [site("a.example.com")],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    first = until_served(proxy, "a.example.com")
    renewing = subprocess.Popen(
        [*COMMAND, "certs", "renew", "--force", "a.example.com", "--config", proxy.config_file],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        # A challenge is pending while its answer lies in the store.
        answers = proxy.state / "challenges"
        wait_until(lambda: list(answers.glob("*.json")), "the answer to a challenge", ISSUING)
        shown = s_client(proxy.https, "-servername", "a.example.com", "-alpn", "acme-tls/1")
        ordinary = served(proxy.https, "a.example.com")
        assert "ALPN protocol: acme-tls/1" in shown
        assert "CN = ACME challenge" in shown
        assert ordinary == first
        output, _ = renewing.communicate(timeout=ISSUING)
    finally:
        renewing.kill()
    assert renewing.returncode == 0, output
    # The running manager notices what the command did, and its workers serve it.
    wait_until(lambda: served(proxy.https, "a.example.com") != first, "the new certificate")
    assert verified(server, proxy.https, "a.example.com")
    # RFC 8737 §3: with nothing pending that protocol is refused.
    after = s_client(proxy.https, "-servername", "a.example.com", "-alpn", "acme-tls/1")
    assert "no application protocol" in after


def test_a_wildcard_with_both_key_types_over_dns_01(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, tmp_path: Path
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    settings: dict[str, Value] = {
        "acme": acme(server, key_types=["p256", "rsa2048"], dns=dns_command(server, tmp_path)),
        "sites": [site("*.example.com", "example.com")],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    wait_until(lambda: proxy.log.count("issued: from") == 2, lambda: proxy.told("both"), ISSUING)
    ecdsa = until_served(proxy, "any.example.com")
    other = wait_until(
        lambda: served(proxy.https, "any.example.com", algorithms="RSA-PSS+SHA256"),
        lambda: proxy.told("the RSA certificate"),
    )
    assert other is not None
    assert isinstance(ecdsa.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(other.public_key(), rsa.RSAPublicKey)
    assert names_of(ecdsa) == names_of(other) == ["*.example.com", "example.com"]
    assert verified(server, proxy.https, "any.example.com")
    # The renewal of one keeps the other.
    done = certs(proxy, "renew", "--force", "_.example.com+rsa2048")
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(
        lambda: served(proxy.https, "any.example.com", algorithms="RSA-PSS+SHA256") != other,
        lambda: proxy.told("the new RSA certificate"),
    )
    assert served(proxy.https, "any.example.com") == ecdsa


def test_external_account_binding(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number, eab=EAB)
    eab: dict[str, Value] = {"key_id": "kid-1", "hmac_key": "env:EAB_HMAC"}
    settings: dict[str, Value] = {"acme": acme(server, eab=eab), "sites": [site("a.example.com")]}
    environ = {"EAB_HMAC": EAB["kid-1"]}
    proxy = start_vestibule(settings, ports=ports, environ=environ).until_ready()
    until_served(proxy, "a.example.com")
    assert verified(server, proxy.https, "a.example.com")
    assert EAB["kid-1"] not in proxy.log
    unset = certs(proxy, "renew", "a.example.com")
    assert unset.returncode == 2
    assert "acme.eab: " in unset.stderr
    assert "EAB_HMAC is not set" in unset.stderr


class Voucher:
    """An application that is asked whether names are ours."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    def answer(self, host: str, target: str) -> Answer:
        (name,) = parse_qs(urlsplit(target).query)["domain"]
        self.asked.append(name)
        return 200 if name.endswith(".ours.example.com") else 404, {}, b""


@pytest.fixture
def voucher() -> Iterator[Voucher]:
    made = Voucher()
    with http_server(made.answer) as port:
        made.url = f"http://127.0.0.1:{port}/ask"
        yield made


def test_names_on_demand_by_url(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, voucher: Voucher
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    settings: dict[str, Value] = {
        "acme": acme(server),
        "on_demand": {"ask": voucher.url},
        "sites": [{"on_demand": True, "upstreams": ["127.0.0.1:9"]}],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    # The first handshake waits for its certificate.
    first = served(proxy.https, "a.ours.example.com")
    assert first is not None, proxy.told("the first handshake failed")
    assert names_of(first) == ["a.ours.example.com"]
    assert verified(server, proxy.https, "a.ours.example.com")
    assert orders(server) == 1
    # A flood of others: a question each, and nothing for the CA.
    for number in range(20):
        assert served(proxy.https, f"n{number}.theirs.example.com") is None
        assert served(proxy.https, f"n{number}.theirs.example.com") is None
    assert sorted(voucher.asked) == sorted(set(voucher.asked))
    assert len(voucher.asked) == 21
    assert orders(server) == 1
    assert served(proxy.https, "a.ours.example.com") == first
    # A restart finds it in the store, without a question.
    proxy.stop()
    again = start_vestibule(settings, ports=ports).until_ready()
    assert served(again.https, "a.ours.example.com") == first
    assert (orders(server), len(voucher.asked)) == (1, 21)


def test_names_on_demand_by_function(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports, tmp_path: Path
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    (tmp_path / "shop.py").write_text(
        "async def is_customer(name):\n    return name == 'a.shop.example.com'\n"
    )
    settings: dict[str, Value] = {
        "acme": acme(server),
        "on_demand": {"ask": "shop:is_customer"},
        "python_path": str(tmp_path),
        "sites": [site("*.shop.example.com", on_demand=True), site("b.example.com")],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    assert served(proxy.https, "a.shop.example.com") is not None
    assert served(proxy.https, "b.shop.example.com") is None
    assert served(proxy.https, "a.other.example.com") is None
    until_served(proxy, "b.example.com")
    assert orders(server) == 2


def test_commands_without_a_server(pebble: PebbleFactory, ports: Ports, tmp_path: Path) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number, authz_reuse=0)
    file = write_config(tmp_path, ports, acme(server), site("a.example.com"))
    issued = command("certs", "issue", "--config", file)
    assert issued.returncode == 0, issued.stdout + issued.stderr
    assert "a.example.com: valid until " in issued.stdout
    again = command("certs", "renew", "--config", file)
    assert again.returncode == 0
    assert "a.example.com: not due until " in again.stdout
    assert orders(server) == 1
    wrong = command("certs", "issue", "b.example.com", "--config", file)
    assert wrong.returncode == 2
    assert "there are a.example.com" in wrong.stderr


def test_revoking_beside_a_running_server(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    settings: dict[str, Value] = {"acme": acme(server), "sites": [site("a.example.com")]}
    proxy = start_vestibule(settings, ports=ports).until_ready()
    first = until_served(proxy, "a.example.com")
    done = certs(proxy, "revoke", "a.example.com", "--reason", "keyCompromise")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a.example.com: revoked (keyCompromise)" in done.stdout
    wait_until(lambda: served(proxy.https, "a.example.com") != first, "the successor")
    after = served(proxy.https, "a.example.com")
    assert after is not None
    assert after.public_key() != first.public_key()
    wrong = certs(proxy, "revoke", "a.example.com", "--reason", "boredom")
    assert wrong.returncode == 2
    assert "allowed are unspecified, keyCompromise" in wrong.stderr


def test_revoking_what_is_no_longer_configured(
    pebble: PebbleFactory, ports: Ports, tmp_path: Path
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    sites = (site("a.example.com"), site("b.example.com"))
    file = write_config(tmp_path, ports, acme(server), *sites)
    issued = command("certs", "issue", "--config", file)
    assert issued.returncode == 0, issued.stdout + issued.stderr
    write_config(tmp_path, ports, acme(server), sites[1])
    told = command("certs", "explain", "a.example.com", "--json", "--config", file)
    assert told.returncode == 0, told.stdout + told.stderr
    (found,) = json.loads(told.stdout)
    assert found["next"] is None
    serial = found["served"]["serial"]
    assert server.revocation_status(serial) == "Valid"
    done = command("certs", "revoke", "a.example.com", "--config", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.revocation_status(serial) == "Revoked"
    assert orders(server) == 2
    again = command("certs", "revoke", "a.example.com", "--config", file)
    assert again.returncode == 2
    assert "asks for no such certificate; there are b.example.com" in again.stderr


def write_config(folder: Path, ports: Ports, table: Mapping[str, Value], *sites: Value) -> str:
    file = folder / "vestibule.toml"
    listen: Value = {"https": [str(ports[0])], "http": [str(ports[1])]}
    file.write_text(to_toml({"workers": 1, "listen": listen, "acme": table, "sites": sites}))
    return str(file)


def test_explaining_a_failure_and_what_works(
    pebble: PebbleFactory, start_vestibule: StartVestibule, ports: Ports
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    server.fail_dns("bad.example.com")
    settings: dict[str, Value] = {
        "acme": acme(server),
        "sites": [
            site("127.0.0.1", acme={"key_types": ["p256", "rsa2048"]}),
            site("bad.example.com"),
        ],
    }
    proxy = start_vestibule(settings, ports=ports).until_ready()
    for certificate_id in (r"127\.0\.0\.1", r"127\.0\.0\.1\+rsa2048"):
        proxy.wait_for(rf"{certificate_id}: issued", ISSUING)
    proxy.wait_for(r"bad\.example\.com: failed", ISSUING)
    # Clients of an address send no server name.
    for algorithms in ("ECDSA+SHA256", "RSA-PSS+SHA256"):
        flags = ("-noservername", "-sigalgs", algorithms)
        wait_until(
            lambda flags=flags: "-----BEGIN CERTIFICATE-----" in s_client(proxy.https, *flags),  # type: ignore[misc]
            lambda: proxy.told("the certificates of the address"),
        )
    good = certs(proxy, "explain", "127.0.0.1", "--json")
    assert good.returncode == 0, good.stdout + good.stderr
    explained = json.loads(good.stdout)
    assert [found["key_type"] for found in explained] == ["p256", "rsa2048"]
    for found in explained:
        assert found["well"]
        assert found["served"]["directory"] == server.directory
        # A newer Pebble has windows of its own.
        rule = found["next"]["rule"]
        assert rule.startswith("1/3 to 2/3 of the lifetime left") or rule.endswith("(ARI)")
        levels = {finding["text"]: finding["level"] for finding in found["findings"]}
        assert levels[f"127.0.0.1:{ports[1].number} gives our answers to challenges"] == "ok"
        kind = f"the stored {found['key_type']} certificate"
        assert levels[f"127.0.0.1:{ports[0].number} serves {kind}"] == "ok"
    looked = command("doctor", "--config", str(proxy.config_file))
    for key_type in ("p256", "rsa2048"):
        assert f"serves the stored {key_type} certificate" in looked.stdout
    bad = certs(proxy, "explain", "bad.example.com")
    assert bad.returncode == 1
    assert "nothing: there is no certificate yet" in bad.stdout
    assert "bad.example.com: " in bad.stdout
    assert "-> The CA could not connect to this name" in bad.stdout
    # What a command does about it is news for the running manager, back-off or not.
    server.mend_dns("bad.example.com")
    done = certs(proxy, "issue", "bad.example.com")
    assert done.returncode == 0, done.stdout + done.stderr
    until_served(proxy, "bad.example.com")


def test_the_doctor_before_anything_is_ordered(
    pebble: PebbleFactory, ports: Ports, tmp_path: Path
) -> None:
    server = pebble(tls_port=ports[0].number, http_port=ports[1].number)
    file = write_config(tmp_path, ports, acme(server), site("127.0.0.1"))
    done = command("doctor", "--config", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"127.0.0.1:{ports[1].number} gives our answers to challenges" in done.stdout
    assert "no problems found" in done.stdout
    assert orders(server) == 0
    wrong = write_config(tmp_path, ports, acme(server, profile="gold"), site("127.0.0.1"))
    done = command("doctor", "--json", "--config", wrong)
    assert done.returncode == 1
    texts = [f["text"] for group in json.loads(done.stdout) for f in group["findings"]]
    assert any("has no profile 'gold'" in text for text in texts)
    server.stop()
    done = command("doctor", "--config", file)
    assert done.returncode == 1
    assert "PROBLEM ca: " in done.stdout
