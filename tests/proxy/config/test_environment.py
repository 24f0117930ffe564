"""Variables: every key has one, lists are split, strangers are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acme_client.hooks import CertificateEvent
from acme_client.store.files import FileStore
from proxy.config.environment import FromEnvironment, read, read_env_file, variable
from proxy.config.model import Config
from proxy.config.options import Options
from proxy.config.schema import leaves
from proxy.errors import ConfigError
from tests.acme_client.support import START, make_new


def tree(**environ: str) -> dict[str, object]:
    found = read(environ)
    assert found.problems == ()
    return dict(found.tree)


def test_keys() -> None:
    assert tree(
        VESTIBULE_HTTP="h11",
        VESTIBULE_ACME__EMAIL="ops@example.com",
        VESTIBULE_LIMITS__STALL_TIMEOUT=" 5 ",
        PATH="/bin",
        VESTIBULE_USER="",
    ) == {
        "http": "h11",
        "acme": {"email": "ops@example.com"},
        "limits": {"stall_timeout": "5"},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[::]:443", ("[::]:443",)),
        ("[::]:443, 127.0.0.1:8443,", ("[::]:443", "127.0.0.1:8443")),
        ('["[::]:443", "0.0.0.0:1"]', ["[::]:443", "0.0.0.0:1"]),
        ("[]", []),
        ("443", ("443",)),
    ],
)
def test_lists(text: str, value: object) -> None:
    assert tree(VESTIBULE_LISTEN__HTTPS=text) == {"listen": {"https": value}}


def test_sites_are_json() -> None:
    sites = [{"names": ["a.example"], "upstreams": ["h:1"]}]
    assert tree(VESTIBULE_SITES=json.dumps(sites)) == {"sites": sites}
    (problem,) = read({"VESTIBULE_SITES": "a.example"}).problems
    assert problem.startswith("VESTIBULE_SITES: 'a.example' is no valid JSON")
    (problem,) = read({"VESTIBULE_LISTEN__HTTP": '["a"'}).problems
    assert problem.startswith("VESTIBULE_LISTEN__HTTP: ")


def test_every_key_has_a_variable() -> None:
    for key in leaves():
        assert read({variable(*key): "[]"}).problems == ()


def test_options() -> None:
    found = read(
        {
            "VESTIBULE_APP": "main:app",
            "VESTIBULE_NAME": "a.example, b.example",
            "VESTIBULE_TO": "h:1",
            "VESTIBULE_ACCESS_LOG": "false",
        }
    )
    assert found.options == Options(
        app="main:app", name=("a.example", "b.example"), to=("h:1",), access_log="false"
    )
    assert found.option_variables["name"] == "VESTIBULE_NAME"


def test_an_unknown_variable_is_a_fault() -> None:
    found = read({"VESTIBULE_WROKERS": "1", "VESTIBULE_ACME__EMIAL": "x"})
    assert found.problems == (
        "VESTIBULE_ACME__EMIAL: unknown variable; did you mean 'VESTIBULE_ACME__EMAIL'?",
        "VESTIBULE_WROKERS: unknown variable; did you mean 'VESTIBULE_WORKERS'?",
    )
    (strange,) = read({"VESTIBULE_NONSENSE": "1"}).problems
    assert strange.startswith("VESTIBULE_NONSENSE: unknown variable; a variable is VESTIBULE_ and")
    assert "mean" not in strange
    assert read({"VESTIBULE_CONFIG": "x"}, frozenset({"VESTIBULE_CONFIG"})).problems == ()


def test_the_habits_of_hosting_platforms() -> None:
    found = read({"PORT": "8000", "WEB_CONCURRENCY": "3"})
    assert found.options == Options(port="8000")
    assert found.option_variables == {"port": "PORT"}
    assert found.app_workers == "3"
    assert read({"PORT": "1", "VESTIBULE_PORT": "2"}).options == Options(port="2")


def test_service_links_of_kubernetes_are_no_configuration() -> None:
    found = read(
        {
            "VESTIBULE_SERVICE_HOST": "10.0.0.1",
            "VESTIBULE_SERVICE_PORT": "443",
            "VESTIBULE_SERVICE_PORT_HTTPS": "443",
            "VESTIBULE_PORT": "tcp://10.0.0.1:443",
            "VESTIBULE_PORT_443_TCP": "tcp://10.0.0.1:443",
            "VESTIBULE_PORT_443_TCP_ADDR": "10.0.0.1",
        }
    )
    assert (found.tree, found.options, found.problems) == ({}, Options(), ())


def test_what_hooks_and_dns_commands_are_told_is_no_configuration(tmp_path: Path) -> None:
    """They may call `vestibule` themselves."""
    store = FileStore(tmp_path, lambda: START)
    event = CertificateEvent(
        kind="renewed",
        certificate_id="a.example",
        names=("a.example",),
        message="done",
        certificate=store.save_certificate("a.example", make_new(["a.example"])),
        retry_at=START,
    ).environment()
    dns = {f"VESTIBULE_DNS_{name}": "x" for name in ("ACTION", "NAME", "VALUE")}
    assert len(event) == 9
    for environ in (event, dns, {**event, **dns}):
        assert (read(environ).tree, read(environ).problems) == ({}, ())
    (problem,) = read({"VESTIBULE_NAMES": "a.example"}).problems
    assert problem == "VESTIBULE_NAMES: unknown variable; did you mean 'VESTIBULE_NAME'?"


@given(st.dictionaries(st.sampled_from([variable(*key) for key in leaves()]), st.text()))
def test_no_value_breaks_the_reader(environ: dict[str, str]) -> None:
    assert isinstance(read(environ), FromEnvironment)


def test_an_env_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "# comment\n\nexport A=1\nB = two words # comment\nC='x # y' # z\nD=\"q\"\nE=\nF=a#b\n"
    )
    assert read_env_file(path) == {
        "A": "1",
        "B": "two words",
        "C": "x # y",
        "D": "q",
        "E": "",
        "F": "a#b",
    }


def test_a_bad_env_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\nnonsense\n")
    with pytest.raises(ConfigError, match=r"line 2: 'nonsense' is not KEY=value"):
        read_env_file(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_env_file(tmp_path / "none")


def test_the_model_reads_what_variables_hold() -> None:
    values = tree(
        VESTIBULE_LOG__ACCESS="false",
        VESTIBULE_LIMITS__HEADER_COUNT="7",
        VESTIBULE_LIMITS__STALL_TIMEOUT="1.5",
        VESTIBULE_ACME__DIRECTORY="internal",
        VESTIBULE_SITES='[{"names": ["localhost"], "upstreams": ["h:1"]}]',
    )
    config = Config.model_validate(values)
    assert config.log.access is False
    assert config.limits.header_count == 7
    assert config.limits.stall_timeout == 1.5
