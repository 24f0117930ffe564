"""Building the wheel: the data plane is compiled to C by mypyc, from the same typed sources.

A wheel holds the sources and, beside those named in ``pyproject.toml``, their compiled form, which
Python prefers. It behaves the same and takes a half to a third of the time in the interpreter
(docs/performance.md).

Where there is no C compiler, or COMPILE_WHEEL=0 is set, the wheel is made of the sources alone;
all works as well, for more CPU. COMPILE_WHEEL=1 makes a failure to compile an error. An
editable installation is never compiled: an edit would change nothing until the next build.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGES = ("proxy", "acme_client")
_SECONDS = 1800

# The compiled modules call each other within one library. Seen from outside, each such call would
# go through a table that another library could change, and none could be inlined: 4 % of a
# request, 3 % of a handshake. What Python looks for (PyInit_*) is exported all the same.
_FLAGS = "-fvisibility=hidden -fno-plt"

# In a process of its own, in a copy of the sources: mypyc and setuptools write where they stand.
_COMPILE = """
import sys
from mypyc.build import mypycify
from setuptools import setup

options = ["--config-file=", "--ignore-missing-imports"]
setup(
    name="vestibule-compiled",
    packages=[],
    ext_modules=mypycify([*options, *sys.argv[1:]], opt_level="2", debug_level="0"),
    script_args=["--quiet", "build_ext", "--inplace"],
)
"""


class CompileHook(BuildHookInterface):  # type: ignore[misc]
    """See the module."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get("COMPILE_WHEEL") == "0":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="vestibule-build-"))
        sources_only = shutil.ignore_patterns("__pycache__", "*.so")
        for package in _PACKAGES:
            shutil.copytree(Path(self.root, package), self._folder / package, ignore=sources_only)
        result = subprocess.run(
            [sys.executable, "-c", _COMPILE, *self.config["modules"]],
            cwd=self._folder,
            env={**os.environ, "CFLAGS": f"{os.environ.get('CFLAGS', '')} {_FLAGS}".strip()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if result.returncode:
            reason = f"the data plane cannot be compiled:\n{result.stdout[-4000:]}"
            if os.environ.get("COMPILE_WHEEL") == "1":
                raise RuntimeError(reason)
            self.app.display_warning(f"The wheel will be slower: {reason}")
            return
        for library in self._folder.rglob("*.so"):
            place = library.relative_to(self._folder)
            if place.parts[0] != "build":
                build_data["force_include"][str(library)] = str(place)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        folder = getattr(self, "_folder", None)
        if folder is not None:
            shutil.rmtree(folder)
