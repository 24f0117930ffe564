"""The command line. Each command's work is in ``proxy.commands``, imported when it is called, so
that ``--help`` has little to load.

Exit codes: 0 done; 1 crashed, forced to end, or (``certs``, ``account``, ``doctor``) something
failed or was found; 2 wrong configuration or usage; 3 the machine refuses (a port, a file, a
permission).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy import __version__
from proxy.tls.openssl_settings import prefer_aes_128

if TYPE_CHECKING:
    from proxy.config.model import Config

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    help="The HTTPS front door of a Python API: TLS, certificates, forwarding.",
    epilog="Exit codes: 0 done, 1 crashed, forced, or (certs, account, doctor) something failed, "
    "2 wrong configuration or usage, 3 the machine refuses (a port, a file, a permission).",
    context_settings=HELP_OPTIONS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
certs = typer.Typer(help="Certificates.", context_settings=HELP_OPTIONS, no_args_is_help=True)
app.add_typer(certs, name="certs")
account = typer.Typer(
    help="The accounts at the CAs.", context_settings=HELP_OPTIONS, no_args_is_help=True
)
app.add_typer(account, name="account")

AppArgument = Annotated[
    str | None, typer.Argument(metavar="APP", help="The app to run, such as main:app.")
]
ToOption = Annotated[
    list[str] | None,
    typer.Option("--to", help="A backend instead of an app: host:port or unix:/path. Repeatable."),
]
NameOption = Annotated[
    list[str] | None, typer.Option("--name", help="A domain to serve. Repeatable.")
]
HostOption = Annotated[
    str | None, typer.Option("--host", help="The address to listen on, for HTTPS and HTTP.")
]
PortOption = Annotated[int | None, typer.Option("--port", help="The port for HTTPS.")]
HttpPortOption = Annotated[
    int | None, typer.Option("--http-port", help="The port for challenges and redirects.")
]
LogLevelOption = Annotated[
    str | None,
    typer.Option("--log-level", help="critical, error, warning, info or debug."),
]
AccessLogOption = Annotated[
    bool | None, typer.Option("--access-log/--no-access-log", help="A line for every request.")
]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="As --log-level debug.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The configuration. Default: vestibule.toml, or \\[tool.vestibule] in pyproject.toml.",
    ),
]
EnvFileOption = Annotated[
    Path | None, typer.Option("--env-file", help="Variables to read, also for the app.")
]


def main() -> None:
    """The entry point of the ``vestibule`` command."""
    prefer_aes_128()  # here, for Typer loads hashlib as it reads the arguments
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        # Found and not imported: it has much to load.
        spec = find_spec("proxy.exchange")
        compiled = spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))
        typer.echo(f"vestibule {__version__} ({'compiled' if compiled else 'not compiled'})")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    app: AppArgument = None,
    name: NameOption = None,
    to: ToOption = None,
    email: Annotated[str | None, typer.Option("--email", help="Your address, for the CA.")] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", metavar="N", help="Processes that serve: a number, or auto."),
    ] = None,
    app_workers: Annotated[
        int | None, typer.Option("--app-workers", metavar="N", help="Processes of the app.")
    ] = None,
    host: HostOption = None,
    port: PortOption = None,
    http_port: HttpPortOption = None,
    log_level: LogLevelOption = None,
    verbose: VerboseOption = False,
    access_log: AccessLogOption = None,
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Serve, as in production: the sites of the configuration, or APP under --name."""
    with _told(config, env_file):
        from proxy.commands.serve import serve
        from proxy.config.load import load
        from proxy.config.options import Options

        environ = _environ(env_file)
        flags = Options(
            app=app,
            name=tuple(name or ()),
            to=tuple(to or ()),
            email=email,
            workers=workers,
            app_workers=app_workers,
            host=host,
            port=port,
            http_port=http_port,
            log_level="debug" if verbose and log_level is None else log_level,
            access_log=access_log,
        )
        loaded = load(environ=environ, folder=Path.cwd(), file=config, flags=flags)
        raise typer.Exit(serve(loaded.config, environ, file=loaded.file))


@app.command()
def dev(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="APP",
            help="main:app, or a file. Default: `app` in main.py and the like.",
        ),
    ] = None,
    to: ToOption = None,
    name: NameOption = None,
    host: HostOption = None,
    port: PortOption = None,
    http_port: HttpPortOption = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Restart the app when its files change.")
    ] = True,
    log_level: LogLevelOption = None,
    verbose: VerboseOption = False,
    access_log: AccessLogOption = None,
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Serve https://localhost:8443 on certificates of a local CA, and reload the app."""
    with _told(config, env_file):
        from proxy.commands.dev import load_dev
        from proxy.commands.serve import serve
        from proxy.config.options import Options

        environ = _environ(env_file)
        flags = Options(
            app=app,
            name=tuple(name or ()),
            to=tuple(to or ()),
            host=host,
            port=port,
            http_port=http_port,
            log_level="debug" if verbose and log_level is None else log_level,
            access_log=access_log,
        )
        loaded = load_dev(environ=environ, folder=Path.cwd(), file=config, flags=flags)
        raise typer.Exit(serve(loaded.config, environ, file=loaded.file, reload=reload))


@app.command()
def check(config: ConfigOption = None, env_file: EnvFileOption = None) -> None:
    """Check the configuration, and show what would be served."""
    with _told(config, env_file):
        from proxy.commands.check import check as report
        from proxy.config.load import load

        loaded = load(environ=_environ(env_file), folder=Path.cwd(), file=config)
        for line in report(loaded, datetime.now(UTC)):
            typer.echo(line)


@certs.command("list")
def certs_list(config: ConfigOption = None, env_file: EnvFileOption = None) -> None:
    """List the certificates: names, state, end, origin."""
    with _told(config, env_file):
        from proxy.commands.certs import list_certificates
        from proxy.config.load import find_file, find_storage, load

        environ, folder = _environ(env_file), Path.cwd()
        found = find_file(config, environ, folder)
        loaded = load(environ=environ, folder=folder, file=config) if found else None
        storage = loaded.config.storage if loaded else find_storage(environ, folder)
        for line in list_certificates(
            storage, loaded.config if loaded else None, datetime.now(UTC)
        ):
            typer.echo(line)


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Names or ids, as `certs list` shows them."),
]


@certs.command("issue")
def certs_issue(
    names: NamesArgument = None, config: ConfigOption = None, env_file: EnvFileOption = None
) -> None:
    """Obtain what is missing or due now. Without names: everything."""
    with _told(config, env_file):
        from proxy.commands.by_hand import issue

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(issue(loaded, environ, names or (), typer.echo))


@certs.command("renew")
def certs_renew(
    names: NamesArgument = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also what is not due. The CA counts it.")
    ] = False,
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Renew what is due. Without names: everything that is."""
    with _told(config, env_file):
        from proxy.commands.by_hand import renew

        if force and not names:
            raise typer.BadParameter("--force needs names: to renew everything costs the budget")
        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(renew(loaded, environ, names or (), typer.echo, force=force))


@certs.command("revoke")
def certs_revoke(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Names or ids.")],
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            help="unspecified, keyCompromise, affiliationChanged, superseded "
            "or cessationOfOperation.",
        ),
    ] = "unspecified",
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Replace a certificate, then revoke it. After keyCompromise its key is never used again."""
    with _told(config, env_file):
        from proxy.commands.by_hand import revoke

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(revoke(loaded, environ, names, typer.echo, reason=reason))


JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@certs.command("explain")
def certs_explain(
    names: NamesArgument = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Say what is served, what comes next and why, what failed, and what to look at."""
    with _told(config, env_file):
        from proxy.commands.diagnosis import explain_names

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(explain_names(loaded, environ, names or (), typer.echo, as_json=as_json))


@account.command("list")
def account_list(config: ConfigOption = None, env_file: EnvFileOption = None) -> None:
    """Show the account at each CA."""
    with _told(config, env_file):
        from proxy.commands.accounts import list_accounts

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(list_accounts(loaded, environ, typer.echo))


@account.command("roll-over")
def account_roll_over(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="CA", help="As `account list` shows them.")
    ] = None,
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Give the account a new key. Without names: at every CA."""
    with _told(config, env_file):
        from proxy.commands.accounts import roll_over

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(roll_over(loaded, environ, names or (), typer.echo))


@account.command("recover")
def account_recover(
    name: Annotated[str, typer.Argument(metavar="CA", help="As `account list` shows it.")],
    key: Annotated[Path, typer.Option("--key", help="The account's private key, as PEM.")],
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Take over the account that a CA has for a key, as after the loss of the store."""
    with _told(config, env_file):
        from proxy.commands.accounts import recover

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(recover(loaded, environ, name, key, typer.echo))


@account.command("persist")
def account_persist(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Domains.")],
    config: ConfigOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Print the DNS record that proves a name for good (DNS-PERSIST-01), and look for it."""
    with _told(config, env_file):
        from proxy.commands.accounts import persist

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(persist(loaded, environ, names, typer.echo))


@app.command()
def doctor(
    as_json: JsonOption = False, config: ConfigOption = None, env_file: EnvFileOption = None
) -> None:
    """Look at all that certificates will need, before anything is ordered."""
    with _told(config, env_file):
        from proxy.commands.diagnosis import doctor as examine

        loaded, environ = _loaded(config, env_file)
        raise typer.Exit(examine(loaded, environ, typer.echo, as_json=as_json))


def _loaded(config: Path | None, env_file: Path | None) -> tuple[Config, Mapping[str, str]]:
    from proxy.config.load import load

    environ = _environ(env_file)
    return load(environ=environ, folder=Path.cwd(), file=config).config, environ


def _environ(env_file: Path | None) -> Mapping[str, str]:
    """The environment; what is set in it wins over the file, as in Uvicorn."""
    from proxy.config.environment import read_env_file
    from proxy.config.load import ENV_FILE_VARIABLE

    if env_file is None and (named := os.environ.get(ENV_FILE_VARIABLE)):
        env_file = Path(named)
    return {**(read_env_file(env_file) if env_file else {}), **os.environ}


@contextmanager
def _told(config: Path | None, env_file: Path | None) -> Iterator[None]:
    """Errors become lines and exit codes; a traceback is only for what nobody expected.

    The file of the configuration is named whatever found the fault, because there may be several
    and the one that was meant need not be the one that was read.
    """
    from proxy.errors import ConfigError, StartupError

    try:
        yield
    except ConfigError as error:
        error = error.about(_file(config, env_file))
        where = f" {error.source}" if error.source else ""
        typer.echo(f"ERROR:    The configuration{where} is wrong", err=True)
        for problem in error.problems:
            typer.echo(f"• {problem}", err=True)
        raise typer.Exit(error.exit_code) from None
    except StartupError as error:
        typer.echo(f"ERROR:    {error.about(_file(config, env_file))}", err=True)
        raise typer.Exit(error.exit_code) from None


def _file(config: Path | None, env_file: Path | None) -> Path | None:
    from proxy.config.load import find_file
    from proxy.errors import ConfigError

    try:
        return find_file(config, _environ(env_file), Path.cwd())
    except ConfigError:
        return None  # what cannot be read to find it is the very fault, and named there
