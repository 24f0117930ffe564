"""Explaining and examining, with the internal CA and one in this process; Pebble's part is in
``tests/e2e``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acme_client.probes import SystemResolver
from acme_client.testing import AcmeCA
from proxy.commands.by_hand import issue
from proxy.commands.diagnosis import doctor, explain_names
from tests.acme_client.dns.servers import DnsServer, zone
from tests.proxy.commands.own_files import write_files
from tests.proxy.commands.support import COMMAND, Said, closed, make_config


def test_the_internal_ca(tmp_path: Path) -> None:
    config, said = make_config(tmp_path, {"directory": "internal"}), Said()
    assert doctor(config, {}, said, as_json=False) == 0
    assert said[-1] == "no problems found"
    assert explain_names(config, {}, ["a.localhost"], said, as_json=False) == 1
    assert any("nothing: there is no certificate yet" in line for line in said)
    issue(config, {}, (), said)
    said.clear()
    assert explain_names(config, {}, (), said, as_json=True) == 0
    (found,) = json.loads("\n".join(said))
    assert found["served"]["directory"] == "internal"
    assert found["well"]


def test_both_key_types_of_a_name(tmp_path: Path) -> None:
    settings = {"directory": "internal", "key_types": ["p256", "rsa2048"]}
    config, said = make_config(tmp_path, settings), Said()
    assert doctor(config, {}, said, as_json=False) == 0
    assert "  ok      stored: rsa2048: none yet" in said
    assert issue(config, {}, (), said) == 0
    said.clear()
    assert doctor(config, {}, said, as_json=False) == 0
    for key_type in ("p256", "rsa2048"):
        assert any(f"stored: {key_type}: from internal, valid until" in line for line in said)

    def explained(*names: str) -> list[str]:
        said.clear()
        assert explain_names(config, {}, names, said, as_json=True) == 0
        return [found["id"] for found in json.loads("\n".join(said))]

    assert explained("a.localhost") == ["a.localhost", "a.localhost+rsa2048"]
    assert explained() == ["a.localhost", "a.localhost+rsa2048"]
    assert explained("a.localhost+rsa2048") == ["a.localhost+rsa2048"]


def test_a_sites_profile_that_the_ca_does_not_have(acme_ca: AcmeCA, tmp_path: Path) -> None:
    site = {"names": ["*.example.com"], "upstreams": ["h:1"], "acme": {"profile": "gold"}}
    with DnsServer(zone("example.com. TXT none")) as dns:
        acme = closed(acme_ca, dns={**COMMAND, "resolvers": [f"127.0.0.1:{dns.port}"]})
        config, said = make_config(tmp_path, acme, site), Said()
        assert doctor(config, {}, said, as_json=False) == 1
    assert any("has no profile 'gold'; it offers classic" in line for line in said)


def test_a_ca_that_the_domain_does_not_allow(acme_ca: AcmeCA, tmp_path: Path) -> None:
    site = {"names": ["*.example.com"], "upstreams": ["h:1"]}
    with DnsServer(zone('example.com. CAA 0 issue "other.example"')) as dns:
        acme = closed(acme_ca, dns={**COMMAND, "resolvers": [f"127.0.0.1:{dns.port}"]})
        config, said = make_config(tmp_path, acme, site), Said()
        code = doctor(config, {}, said, as_json=False)
    text = "\n".join(said)
    assert f"answers ({acme_ca.directory_url})" in text
    assert "*.example.com is proved by a TXT record at _acme-challenge.example.com" in text
    assert code == 1
    assert "PROBLEM caa: the CAA records of example.com do not allow this CA (ca.example)" in text
    assert not acme_ca.orders


def test_a_ca_that_does_not_answer(acme_ca: AcmeCA, tmp_path: Path) -> None:
    config, said = make_config(tmp_path, closed(acme_ca)), Said()
    acme_ca.stop()
    assert doctor(config, {}, said, as_json=True) == 1
    groups = {group["subject"]: group["findings"] for group in json.loads("\n".join(said))}
    (problem,) = [
        found
        for found in groups["certificate authorities and store"]
        if found["level"] == "problem"
    ]
    assert problem["subject"] == "ca"


def test_a_secret_that_is_missing_is_told_once(tmp_path: Path) -> None:
    eab = {"key_id": "env:NO_SUCH_KID", "hmac_key": "env:NO_SUCH_KEY"}
    config, said = make_config(tmp_path, {"directory": "zerossl", "eab": eab}), Said()
    assert doctor(config, {}, said, as_json=False) == 1
    (line,) = (line for line in said if "NO_SUCH" in line)
    assert line.startswith("  PROBLEM settings: acme.eab: credential '")
    assert said[-1] == "1 problem found"


def test_a_name_on_demand_waits_for_a_client(tmp_path: Path) -> None:
    config = make_config(
        tmp_path,
        {"directory": "internal"},
        {"names": ["*.example.com"], "on_demand": True, "upstreams": ["h:1"]},
        on_demand={"ask": "http://127.0.0.1:1/"},
    )
    said = Said()
    assert explain_names(config, {}, ["new.example.com"], said, as_json=False) == 1
    assert any("on demand: ordered only when a client asks for it" in line for line in said)
    issue(config, {}, ["new.example.com"], said)
    said.clear()
    assert explain_names(config, {}, ["new.example.com"], said, as_json=False) == 0
    assert not any("on demand:" in line for line in said)


def test_what_cannot_be_seen_is_told_once(
    acme_ca: AcmeCA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.commands.diagnosis._resolver", lambda config: SystemResolver())
    site = {"names": ["a.localhost", "b.localhost"], "upstreams": ["h:1"]}
    config, said = make_config(tmp_path, closed(acme_ca), site), Said()
    assert doctor(config, {}, said, as_json=False) == 0
    assert len([line for line in said if "caa: CAA records are not looked at" in line]) == 1


def test_settings_and_own_files(tmp_path: Path) -> None:
    files = write_files(tmp_path, "b.example")
    own = {"names": ["b.example", "www.b.example"], "upstreams": ["h:1"], "certificate": files}
    gone = {**own, "names": ["c.example"], "certificate": {"chain": "/no", "key": "/such"}}
    hooks = [{"call": "no_such_module:f"}]
    config = make_config(tmp_path, {"directory": "internal", "hooks": hooks}, own, gone)
    said = Said()
    assert doctor(config, {}, said, as_json=False) == 1
    assert any("acme.hooks[0]: 'no_such_module:f' cannot be imported" in line for line in said)
    assert any("PROBLEM file: the key /such cannot be read" in line for line in said) or any(
        "PROBLEM file: the certificate chain /no cannot be read" in line for line in said
    )
    assert "  PROBLEM file: the certificate does not cover www.b.example" in said
    assert said[-1] == "3 problems found"
