"""A command as DNS provider: any script that can add and remove a TXT record.

It is run, without a shell, as ``COMMAND... present NAME VALUE`` and ``COMMAND... clean-up NAME
VALUE``, with the same in ``VESTIBULE_DNS_ACTION``, ``VESTIBULE_DNS_NAME`` and
``VESTIBULE_DNS_VALUE``. Its credentials are further variables, named as in the configuration; of
the manager's own environment it gets only what a script needs, so that one site's command does not
see the secrets of another. A status other than 0 is a failure, and the end of its output the
reason, with the credentials blotted out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import anyio

from acme_client.dns.credentials import Credentials, Secrets
from acme_client.dns.provider import in_thread
from acme_client.errors import NotPresented, RequestError
from acme_client.programs import SHOWN_OUTPUT_CHARS, run_program

COMMAND_SECONDS = 60.0

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL")
"""Of the manager's environment."""


class CommandProvider:
    """Runs a command for each record."""

    def __init__(
        self,
        command: Sequence[str],
        credentials: Credentials | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> None:
        if isinstance(command, str) or not command:
            raise RequestError("the provider command needs a list: the program, its arguments")
        self._command = tuple(command)
        self._credentials = credentials
        self._environment = dict(environment or {})
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<command {self._command[0]}>"

    async def present(self, name: str, value: str) -> None:
        await self._run("present", name, value)

    async def clean_up(self, name: str, value: str) -> None:
        await self._run("clean-up", name, value)

    async def _run(self, action: str, name: str, value: str) -> None:
        secrets = await _load(self._credentials)
        try:
            with anyio.fail_after(self._seconds):
                status, output = await run_program(
                    [*self._command, action, name, value],
                    self._variables(action, name, value, secrets),
                )
        except TimeoutError:
            raise NotPresented(
                f"{self!r} did not {action} within {self._seconds:g} s and was stopped"
            ) from None
        except OSError as error:
            raise NotPresented(f"{self!r} cannot be run: {error.strerror}") from error
        if status != 0:
            text = secrets.blot_out(output)[-SHOWN_OUTPUT_CHARS:] or "no output"
            raise NotPresented(f"{self!r} could not {action} {name}: status {status}, {text}")

    def _variables(self, action: str, name: str, value: str, secrets: Secrets) -> dict[str, str]:
        return {
            **{key: os.environ[key] for key in PASSED_ON if key in os.environ},
            **self._environment,
            **secrets,
            "VESTIBULE_DNS_ACTION": action,
            "VESTIBULE_DNS_NAME": name,
            "VESTIBULE_DNS_VALUE": value,
        }


async def _load(credentials: Credentials | None) -> Secrets:
    return Secrets() if credentials is None else await in_thread(credentials.load)
