"""Serving: the process tree, put together from a checked configuration.

The order matters. Sockets are bound while we may still be root; root is given up before anything
is read that an attacker could have written; contexts are made before the fork, so that workers
share their ticket keys; and own certificate files are tried apart, so that their keys never are
in the parent's memory.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from proxy import logs
from proxy.apps import (
    app_environ,
    app_sockets,
    is_listening,
    make_socket_folder,
    remove_stale_socket,
    uvicorn_command,
)
from proxy.certificate_settings import (
    prepare_environment,
    root_file,
    try_ca_certificates,
    try_settings,
)
from proxy.certificates import run_manager
from proxy.channel import ChannelEnd
from proxy.commands.own_files import faults
from proxy.config.addresses import UnixAddress
from proxy.config.model import Config, Site
from proxy.errors import CertificateFileError, ConfigError, StartupError
from proxy.processes import (
    User,
    become,
    cpu_count,
    execute,
    find_user,
    raise_file_limit,
    run_apart,
)
from proxy.server import run_worker
from proxy.sites import make_site_contexts, tls_options
from proxy.sockets import BoundSockets, address_of, bind
from proxy.supervisor import BackendRole, FrontRole, Supervisor
from proxy.tls.contexts import SiteContext, make_context
from proxy.tls.pem_files import load_pair
from proxy.worker_certificates import WARM_UP_SITES

logger = logging.getLogger(__name__)

STATE_MODE = 0o700


def serve(
    config: Config,
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    reload: bool = False,
) -> int:
    """Serve until a signal; returns the exit code. ``file`` is where the configuration is from."""
    logs.configure(config.log.level)
    prepare_environment(environ)
    user = find_user(config.user) if config.user is not None else None
    raise_file_limit()
    sockets = bind(config.listen.https, config.listen.http)
    folder: Path | None = None
    try:
        if config.obtains:
            prepare_state(config.state_dir, user)
        if any(site.app for site in config.sites):
            folder = make_socket_folder(environ, user)
        if user is not None:
            become(user)
        try_ca_certificates(config)
        for tried in (try_own_files, try_settings):
            if code := run_apart(partial(_try, tried, config, file)):
                return code
        plan = Plan(
            config=config,
            sockets=sockets,
            contexts=make_site_contexts(config),
            app_sockets=app_sockets(config, folder) if folder else {},
            environ=app_environ(environ, user),
            reload=reload,
        )
        logger.info("Started Vestibule [%d]", os.getpid())
        supervisor = Supervisor(
            plan.roles(with_manager=config.obtains),
            shutdown_timeout=config.limits.shutdown_timeout,
            on_ready=plan.announce,
            on_stop=sockets.close,
        )
        # What exists now is never freed: workers then share its memory with us (gc.freeze).
        gc.collect()
        gc.freeze()
        return supervisor.run()
    finally:
        sockets.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all children are made of."""

    config: Config
    sockets: BoundSockets
    contexts: list[SiteContext]
    app_sockets: Mapping[int, UnixAddress]
    environ: Mapping[str, str]
    """For the apps."""
    reload: bool

    def roles(self, *, with_manager: bool) -> list[FrontRole | BackendRole]:
        """Apps first, because they take the longest to start."""
        roles: list[FrontRole | BackendRole] = [
            BackendRole(
                name=f"app {self.config.sites[position].app}",
                run=partial(self._app, self.config.sites[position], address),
                is_up=partial(is_listening, address),
            )
            for position, address in self.app_sockets.items()
        ]
        workers = self.config.workers
        count = cpu_count() if isinstance(workers, str) else workers
        roles += [
            FrontRole(name=f"worker {number}", run=self._worker) for number in range(1, count + 1)
        ]
        if with_manager:
            manager = FrontRole(name="certificate manager", run=self._manager, vital=False)
            roles.append(manager)
        return roles

    def announce(self) -> None:
        logger.info("Vestibule running on %s (Press CTRL+C to quit)", self.url)
        if self.config.acme.is_internal:
            trust = root_file(self.config)
            logger.info("Certificates are of a local CA: %s", trust)
            logger.info("Try: curl --cacert %s %s/", trust, self.url)
        for position, address in self.app_sockets.items():
            if not is_listening(address):
                app = self.config.sites[position].app
                logger.warning("app %s is not up: until it is, its clients get 502", app)

    @property
    def url(self) -> str:
        """Where a person would look first."""
        names = [name for site in self.config.sites for name in site.names]
        name = self.config.default_site or next(
            (name for name in names if not name.startswith("*.")), names[0]
        )
        port = address_of(self.sockets.https[0]).port
        host = f"[{name}]" if ":" in name else name
        return f"https://{host}" if port == 443 else f"https://{host}:{port}"

    def _app(self, site: Site, address: UnixAddress) -> int:
        self.sockets.close()
        remove_stale_socket(address)
        level = self.config.log.level
        command = uvicorn_command(site, address, level=level, reload=self.reload)
        return execute(command, site.app_dir or Path.cwd(), self.environ)

    def _worker(self, channel: ChannelEnd) -> int:
        log = logs.configure(self.config.log.level, access=self.config.log.access, threaded=True)
        try:
            run_worker(
                config=self.config,
                sockets=self.sockets,
                contexts=self.contexts,
                app_sockets=self.app_sockets,
                channel=channel,
                write_access_line=log.access,
            )
        finally:
            log.close()
        return 0

    def _manager(self, channel: ChannelEnd) -> int:
        # It opens no port: whoever may break into it finds nobody connecting.
        self.sockets.close()
        log = logs.configure(self.config.log.level, threaded=True)
        try:
            run_manager(config=self.config, channel=channel)
        finally:
            log.close()
        return 0


def _try(tried: Callable[[Config], int], config: Config, file: Path | None) -> int:
    """What goes wrong in a process apart is told there: with the file, as everywhere."""
    try:
        return tried(config)
    except (ConfigError, StartupError) as error:
        raise error.about(file) from error


def try_own_files(config: Config) -> int:
    """Refuse to start with certificate files that cannot be used; warn of what clients will mind.

    With many sites only the first are tried in full: the start must not take minutes.
    """
    for position, site in enumerate(config.sites):
        try:
            if site.certificate is not None and position < WARM_UP_SITES:
                pair = load_pair(site.certificate.chain, site.certificate.key)
                for fault in faults(site, pair, datetime.now(UTC)):
                    logger.warning("%s: %s: %s", site.names[0], site.certificate.chain, fault)
                for warning in pair.warnings:
                    logger.warning("%s: %s", site.names[0], warning)
            if site.client_certificates is not None:
                make_context(tls_options(site))
        except CertificateFileError as error:
            raise StartupError(f"{site.names[0]}: {error}") from error
    return 0


def prepare_state(folder: Path, user: User | None) -> None:
    """Make the folder of the store while we still may, for whom we shall become."""
    try:
        folder.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
        if user is not None and os.geteuid() == 0 and folder.stat().st_uid == 0:
            os.chown(folder, user.uid, user.gid)
    except OSError as error:
        raise StartupError(f"storage: {folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StartupError(f"storage: {folder} is not writable for this user")
