"""Gathering: which file, whose value wins, where paths begin, and all faults at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config.addresses import TcpAddress
from proxy.config.load import Loaded, find_storage, load
from proxy.config.options import Options, Tree
from proxy.errors import ConfigError

SITE = '[[sites]]\nnames = ["file.example"]\nupstreams = ["127.0.0.1:1"]\n'


def loaded(
    folder: Path,
    text: str | None = SITE,
    environ: Mapping[str, str] | None = None,
    **flags: object,
) -> Loaded:
    if text is not None:
        (folder / "vestibule.toml").write_text(text)
    return load(environ=environ or {}, folder=folder, flags=Options(**flags))  # type: ignore[arg-type]


def faults(
    folder: Path, text: str, environ: dict[str, str] | None = None, **flags: object
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, environ, **flags)
    assert caught.value.source == str(folder / "vestibule.toml")
    return caught.value.problems


def test_the_file_in_the_working_directory(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert found.file == tmp_path / "vestibule.toml"
    assert found.config.sites[0].names == ("file.example",)


def test_a_table_in_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n' + SITE.replace("[[sites]]", "[[tool.vestibule.sites]]")
    )
    found = load(environ={}, folder=tmp_path)
    assert found.file == tmp_path / "pyproject.toml"
    assert load(environ={}, folder=tmp_path, file=Path("pyproject.toml")) == found
    # vestibule.toml goes before it.
    assert loaded(tmp_path).file == tmp_path / "vestibule.toml"


def test_a_pyproject_of_others_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    found = loaded(tmp_path, None, name=("a.example",), to=("h:1",))
    assert found.file is None
    (tmp_path / "pyproject.toml").write_text("tool = 3\n")
    assert loaded(tmp_path, None, name=("a.example",), to=("h:1",)).file is None


def test_a_named_file(tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text(SITE)
    assert load(environ={}, folder=tmp_path, file=Path("other.toml")).file == path
    assert load(environ={"VESTIBULE_CONFIG": str(path)}, folder=Path("/")).file == path
    with pytest.raises(ConfigError, match="No such file") as caught:
        load(environ={}, folder=tmp_path, file=Path("none.toml"))
    assert caught.value.source == str(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"x = ", b"\xff"])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vestibule.toml").write_bytes(content)
    with pytest.raises(ConfigError, match="no valid TOML"):
        load(environ={}, folder=tmp_path)


def test_later_sources_win(tmp_path: Path) -> None:
    text = 'workers = 2\nhttp = "h11"\n[acme]\nemail = "file@a.example"\n' + SITE
    environ = {"VESTIBULE_WORKERS": "3", "VESTIBULE_ACME__EMAIL": "env@a.example"}
    config = loaded(tmp_path, text, environ, workers=4).config
    assert (config.http, config.workers, config.acme.email) == ("h11", 4, "env@a.example")


def test_an_option_wins_over_the_variable_of_its_key(tmp_path: Path) -> None:
    environ = {"VESTIBULE_EMAIL": "a@a.example", "VESTIBULE_ACME__EMAIL": "b@a.example"}
    assert loaded(tmp_path, SITE, environ).config.acme.email == "a@a.example"


def test_the_store_without_a_configuration(tmp_path: Path) -> None:
    assert find_storage({}, tmp_path) == f"file:{tmp_path}/state"
    assert find_storage({"VESTIBULE_STORAGE": "file:x"}, tmp_path) == f"file:{tmp_path}/x"


def test_port(tmp_path: Path) -> None:
    config = loaded(tmp_path, SITE, {"PORT": "8443"}).config
    assert config.listen.https == (TcpAddress("::", 8443),)
    config = loaded(tmp_path, SITE, {"PORT": "8443"}, port=9443, host="127.0.0.1").config
    assert config.listen.https == (TcpAddress("127.0.0.1", 9443),)
    assert config.listen.http == (TcpAddress("127.0.0.1", 80),)


def test_web_concurrency_is_for_apps_that_do_not_say(tmp_path: Path) -> None:
    text = "".join(
        f'[[sites]]\nnames = ["{name}.example"]\n{backend}\n'
        for name, backend in (
            ("a", 'app = "main:app"'),
            ("b", 'app = "main:app"\napp_workers = 2'),
            ("c", 'upstreams = ["h:1"]'),
        )
    )
    config = loaded(tmp_path, text, {"WEB_CONCURRENCY": "5"}).config
    assert [site.app_workers for site in config.sites] == [5, 2, 1]
    (problem,) = faults(tmp_path, text, {"WEB_CONCURRENCY": "x"})
    assert problem == "sites[0].app_workers (from WEB_CONCURRENCY): 'x' is no whole number"


def test_paths_begin_where_they_are_written(tmp_path: Path) -> None:
    etc, cwd = tmp_path / "etc", tmp_path / "cwd"
    etc.mkdir()
    text = (
        'storage = "file:state"\n[acme]\nca_certificates = "ca.pem"\n'
        'hooks = [{ command = ["./told"] }, { command = ["logger"] }]\n'
        'dns = { provider = "command", options = { command = ["bin/dns", "x/y"] } }\n[[sites]]\n'
        'names = ["a.example"]\napp = "main:app"\ncertificate = { chain = "c", key = "/abs/k" }\n'
    )
    (etc / "vestibule.toml").write_text(text)
    file = etc / "vestibule.toml"
    config = load(environ={}, folder=cwd, file=file).config
    certificate = config.sites[0].certificate
    assert certificate is not None
    assert config.state_dir == etc / "state"
    assert config.acme.ca_certificates == etc / "ca.pem"
    assert (certificate.chain, certificate.key) == (etc / "c", Path("/abs/k"))
    assert config.sites[0].app_dir == etc
    assert config.acme.dns is not None
    assert config.acme.dns.options["command"] == [str(etc / "bin/dns"), "x/y"]
    # Without a slash it is a program on PATH.
    assert [hook.command for hook in config.acme.hooks] == [(str(etc / "told"),), ("logger",)]
    environ = {"VESTIBULE_STORAGE": "file:state", "VESTIBULE_APP": "other:app"}
    config = load(environ=environ, folder=cwd, file=file).config
    assert config.state_dir == cwd / "state"
    assert config.sites[0].app_dir == cwd


def test_the_state_is_beside_the_file_by_default(tmp_path: Path) -> None:
    assert loaded(tmp_path).config.state_dir == tmp_path / "state"


def test_what_a_command_amends_is_over_file_and_environment_and_under_options(
    tmp_path: Path,
) -> None:
    def amend(tree: Tree) -> None:
        tree["workers"] = 1
        tree["http"] = "httptools"

    (tmp_path / "vestibule.toml").write_text("workers = 9\n" + SITE)
    config = load(
        environ={"VESTIBULE_HTTP": "h11", "VESTIBULE_WORKERS": "2"}, folder=tmp_path, amend=amend
    ).config
    assert (config.workers, config.http) == (2, "httptools")


def test_all_faults_are_told_at_once_with_their_source(tmp_path: Path) -> None:
    environ = {
        "VESTIBULE_LIMITS__HEADER_COUNT": "x",
        "VESTIBULE_NONSENSE": "1",
        "VESTIBULE_LOG_LEVEL": "loud",
        "VESTIBULE_SITES": "{",
    }
    problems = faults(tmp_path, "wrokers = 1\n" + SITE, environ, workers=0, email="x", port="x")
    assert [problem.partition(": ")[0] for problem in problems] == [
        "VESTIBULE_NONSENSE",
        "VESTIBULE_SITES",
        "--port",
        "workers (from --workers)",
        "acme.email (from --email)",
        "limits.header_count (from VESTIBULE_LIMITS__HEADER_COUNT)",
        "log.level (from VESTIBULE_LOG_LEVEL)",
        "wrokers",
    ]


def test_a_missing_name_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, None, app="main:app")
    (problem,) = caught.value.problems
    assert problem.startswith("--name: is missing")
    assert caught.value.source is None


def test_an_option_that_does_not_fit_names_its_variable(tmp_path: Path) -> None:
    environ = {"VESTIBULE_TO": "h:1", "VESTIBULE_APP": "main:app"}
    (problem,) = faults(tmp_path, SITE, environ)
    assert problem == "VESTIBULE_TO: stands beside an app; a site has one or the other"


@pytest.mark.parametrize(
    "text",
    [
        "sites = 3\n",
        "sites = [3]\n",
        "storage = 3\nacme = 4\n" + SITE,
        '[[sites]]\nnames = ["a.example"]\ncertificate = 3\napp = "main:app"\napp_dir = 4\n',
    ],
)
def test_wrong_types_are_faults_and_no_crash(tmp_path: Path, text: str) -> None:
    environ = {"WEB_CONCURRENCY": "2", "VESTIBULE_ACME__EMAIL": "a@b.example"}
    assert faults(tmp_path, text, environ, name=("b.example",))
