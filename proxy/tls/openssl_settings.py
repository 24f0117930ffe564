"""What Python's ``ssl`` cannot tell OpenSSL: which suites of TLS 1.3 come first.

Vestibule puts AES-128 before AES-256, as Go does: most clients of an API (curl, Python, Java)
offer AES-256 first, and with it goes the dearer hash. AES-128 with SHA-256 takes 5 % off a
handshake and 4 % off a download (docs/performance.md), at both ends, and is as far beyond attack.

Python sets suites of TLS 1.2 only (of TLS 1.3 from 3.15 on). OpenSSL also reads them from its
configuration file, once, when it is first used. So it is given the machine's own file, in memory,
with one line more; whoever is started later does not see it. Where the machine or its operator
has said something about suites, that stays.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

_VARIABLE: Final = "OPENSSL_CONF"

_SUITES: Final = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_SECTION: Final = re.compile(r"\[\s*([^\]]+?)\s*\]")
_NAME: Final = re.compile(r"\w+")
_DEFAULT: Final = "default"

# From OpenSSL's file to its defaults for TLS: in which section stands the name of the next one,
# under which key, and what we call that one where there is none (config(5)).
_PATH: Final = (
    ("openssl_conf", "vestibule_openssl"),
    ("ssl_conf", "vestibule_ssl"),
    ("system_default", "vestibule_defaults"),
)


def prefer_aes_128(configuration: Path | None = None) -> None:
    """Have OpenSSL read its configuration now, with the suites in our order.

    To be called before anything imports ``ssl`` or ``hashlib``; later it changes nothing, as
    where memory files or OpenSSL's own file cannot be used. All of it is a matter of speed.

    Args:
        configuration: OpenSSL's own file; the one that it was built to read, if not given.
    """
    if _VARIABLE in os.environ or "ssl" in sys.modules or "_hashlib" in sys.modules:
        return
    try:
        # What text there is goes through as it is, whatever its encoding.
        text = (configuration or _built_in_path()).read_text("latin-1")
        changed = with_suites(text)
        if changed is not None:
            _load(changed.encode("latin-1"))
    except (OSError, AttributeError):  # no such file, or no memfd_create: not Linux, forbidden
        return


def with_suites(text: str) -> str | None:
    """OpenSSL's configuration with the suites in our order; None where it is to stay.

    That is where it names suites of TLS 1.3 itself, where it is put together from several files
    (Fedora's policy for the whole machine, FIPS), and where it is not understood.
    """
    sections = _sections(text)
    if sections is None or any("ciphersuites" in keys for keys in sections.values()):
        return None
    lines = [text, ""]
    section = _DEFAULT
    for key, ours in _PATH:
        following = sections.get(section, {}).get(key, ours)
        if not _NAME.fullmatch(following):
            return None
        lines += [f"[{section}]", f"{key} = {following}"]
        section = following
    lines += [f"[{section}]", f"Ciphersuites = {_SUITES}", ""]
    return "\n".join(lines)


def _sections(text: str) -> dict[str, dict[str, str]] | None:
    """The keys (small letters) and values by section; None where other files are included."""
    sections: dict[str, dict[str, str]] = {_DEFAULT: {}}
    section = _DEFAULT
    for line in text.replace("\\\n", "").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith(".include"):
            return None
        if found := _SECTION.fullmatch(line):
            section = found[1]
            sections.setdefault(section, {})
        elif "=" in line:
            key, _, value = line.partition("=")
            # A command may be numbered, to be said twice: `1.Ciphersuites`.
            sections[section][key.strip().lower().rpartition(".")[2]] = value.strip()
    return sections


def _built_in_path() -> Path:
    # This much of OpenSSL may be asked before it reads anything; `ssl`, which has the same as a
    # public function, makes it read when it is imported.
    import _ssl

    return Path(_ssl.get_default_verify_paths()[1]).with_name("openssl.cnf")


def _load(text: bytes) -> None:
    descriptor = os.memfd_create("openssl.cnf", os.MFD_CLOEXEC)
    with open(descriptor, "wb", buffering=0) as file:
        file.write(text)
        path = f"/proc/self/fd/{descriptor}"
        if not os.path.exists(path):  # no /proc in the container
            return
        os.environ[_VARIABLE] = path
        try:
            import ssl  # noqa: F401  # it makes OpenSSL read
        finally:
            del os.environ[_VARIABLE]
