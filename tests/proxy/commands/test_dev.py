"""What ``vestibule dev`` makes of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.commands.dev import load_dev, state_folder
from proxy.config.addresses import TcpAddress
from proxy.config.model import Config
from proxy.config.options import Options
from proxy.errors import ConfigError

LOCAL = ("localhost", "127.0.0.1", "::1")


def dev(folder: Path, environ: dict[str, str] | None = None, **flags: object) -> Config:
    environ = {"XDG_DATA_HOME": str(folder / "data"), **(environ or {})}
    options = Options(**flags)  # type: ignore[arg-type]
    return load_dev(environ=environ, folder=folder, file=None, flags=options).config


def test_an_app_on_local_names_from_the_internal_ca(tmp_path: Path) -> None:
    config = dev(tmp_path, app="main:app")
    (site,) = config.sites
    assert (site.app, site.app_dir, site.names) == ("main:app", tmp_path, LOCAL)
    assert config.acme.is_internal
    assert config.default_site == "localhost"
    assert config.workers == 1
    assert config.state_dir == tmp_path / "data" / "vestibule"
    assert config.listen.https == (TcpAddress("127.0.0.1", 8443), TcpAddress("::1", 8443))
    assert config.listen.http == (TcpAddress("127.0.0.1", 8080), TcpAddress("::1", 8080))


def test_an_app_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="APP: is missing"):
        dev(tmp_path)
    (tmp_path / "main.py").write_text("app = 1\n")
    assert dev(tmp_path).sites[0].app == "main:app"
    assert dev(tmp_path, app="main.py").sites[0].app == "main:app"


def test_a_backend_instead_of_an_app(tmp_path: Path) -> None:
    config = dev(tmp_path, to=("127.0.0.1:8000",), name=("app.localhost",), port=0, host="::1")
    (site,) = config.sites
    assert site.upstreams == (TcpAddress("127.0.0.1", 8000),)
    assert site.names == ("app.localhost",)
    assert config.default_site == "app.localhost"
    assert config.listen.https == (TcpAddress("::1", 0),)


def test_the_only_site_of_a_file_is_served_under_local_names(tmp_path: Path) -> None:
    (tmp_path / "vestibule.toml").write_text(
        'user = "www-data"\nworkers = 4\n[acme]\nemail = "a@b.example"\n[[sites]]\n'
        'names = ["shop.example"]\napp = "shop:app"\ncertificate = { chain = "c", key = "k" }\n'
    )
    config = dev(tmp_path)
    (site,) = config.sites
    assert (site.names, site.app, site.certificate) == (LOCAL, "shop:app", None)
    assert (config.user, config.workers, config.acme.email) == (None, 1, None)


def test_one_of_several_sites_cannot_be_guessed(tmp_path: Path) -> None:
    site = '[[sites]]\nnames = ["{}.example"]\nupstreams = ["h:1"]\n'
    (tmp_path / "vestibule.toml").write_text(site.format("a") + site.format("b"))
    with pytest.raises(ConfigError, match="the configuration has 2; name an APP"):
        dev(tmp_path)
    assert dev(tmp_path, app="main:app").sites[0].app == "main:app"


def test_a_deployments_environment_reaches_no_public_ca(tmp_path: Path) -> None:
    environ = {
        "VESTIBULE_ACME__DIRECTORY": "letsencrypt",
        "VESTIBULE_NAME": "shop.example",
        "VESTIBULE_APP": "shop:app",
        "PORT": "443",
    }
    config = dev(tmp_path, environ)
    assert config.acme.is_internal
    assert config.sites[0].names == LOCAL
    assert config.sites[0].app == "shop:app"
    assert config.listen.https[0].port == 8443


def test_sites_of_a_wrong_type_are_faults(tmp_path: Path) -> None:
    (tmp_path / "vestibule.toml").write_text("sites = [3]\n")
    with pytest.raises(ConfigError, match="is no table"):
        dev(tmp_path)


def test_where_the_local_ca_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/vestibule")
    monkeypatch.setenv("HOME", str(tmp_path))
    default = tmp_path / ".local" / "share" / "vestibule"
    # The specification says to ignore a relative path.
    assert state_folder({"XDG_DATA_HOME": "data"}) == state_folder({}) == default
