"""The peers and load generators: from Debian when root, else as found on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess

PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
}

_VERSION_FLAGS = {
    "nginx": ["-v"],
    "haproxy": ["-v"],
    "caddy": ["version"],
    "wrk": ["-v"],
    "h2load": ["--version"],
    "openssl": ["version"],
}


def missing() -> list[str]:
    """The programs that are not there."""
    return [program for program in PACKAGES if shutil.which(program) is None]


def install() -> list[str]:
    """Install what is missing, if that is possible; answer with what is still missing."""
    absent = missing()
    if not absent or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return absent
    packages = sorted({PACKAGES[program] for program in absent})
    print(f"installing {', '.join(packages)}", flush=True)
    # RUNLEVEL=1: Debian's packages start their services after installation, but not then.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for arguments in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *packages]):
        result = subprocess.run(
            ["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode:
            print(f"apt-get {arguments[0]} failed: {result.stderr.strip()[-500:]}", flush=True)
    return missing()


def versions() -> dict[str, str]:
    """What each program says of its version, in one line."""
    found = {}
    for program, flags in _VERSION_FLAGS.items():
        path = shutil.which(program)
        if path is None:
            continue
        result = subprocess.run([path, *flags], capture_output=True, text=True, check=False)
        lines = (result.stdout + result.stderr).strip().splitlines()
        found[program] = lines[0] if lines else "unknown"
    return found
