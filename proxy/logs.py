"""Logs in Uvicorn's style: ``INFO:     message``, errors to stderr, access lines to stdout.

Writing to a terminal or a pipe can block for as long as nobody reads, and a worker's loop must
not. So a worker's lines go to a thread of their own through a bounded queue (:class:`LineWriter`)
that gathers what comes within some milliseconds into one write; when nobody reads, lines are
dropped and counted, and requests go on. The parent has no threads, because it forks: it writes
straight away, but says little.

A line is one line: what stands in a message from outside (a path, a CA's error text) cannot
begin a new one, nor send control sequences to the terminal.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

ACCESS_LOGGER = "proxy.access"
LOGGERS = ("proxy", "acme_client")

MAX_PENDING_BYTES = 4 * 1024 * 1024
GATHER_SECONDS = 0.02
CLOSE_SECONDS = 1.0

_COLOURS = {"DEBUG": 36, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 91}
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x09}


class _Stream(Protocol):
    def isatty(self) -> bool: ...
    def fileno(self) -> int: ...


class LineWriter:
    """Writes lines to a file descriptor in a thread; the caller never waits."""

    def __init__(self, fd: int, *, max_pending: int = MAX_PENDING_BYTES) -> None:
        self._fd = fd
        self._lines: deque[str] = deque()
        # Each counter has one writer, so neither needs a lock.
        self._added = 0
        self._taken = 0
        self._max_pending = max_pending
        self._dropped = 0
        self._awake = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log lines", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        if self._closing.is_set():
            # The last words of a process that ends; nothing is left that could be held up.
            write_all(self._fd, f"{line}\n".encode("utf-8", "backslashreplace"))
            return
        if self._added - self._taken > self._max_pending:
            self._dropped += 1
            return
        self._added += len(line)
        self._lines.append(line)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def close(self) -> None:
        """Write what is left, but not for longer than ``CLOSE_SECONDS``."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._wake.clear()
            self._closing.wait(GATHER_SECONDS)
            self._awake = False
            self._drain()
        self._drain()

    def _drain(self) -> None:
        lines = []
        for _ in range(len(self._lines)):
            line = self._lines.popleft()
            self._taken += len(line)
            lines.append(line)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(f"WARNING:  {dropped} log lines were dropped: nobody reads them")
        if lines:
            write_all(self._fd, "\n".join([*lines, ""]).encode("utf-8", "backslashreplace"))


def write_all(fd: int, data: bytes) -> None:
    """Write everything, however long it takes; give up when the reader is gone or the disk full."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            # Someone who shares the descriptor has made it non-blocking.
            select.select([], [fd], [], 1.0)
        except OSError:
            # There is no place left to complain to.
            return


class StyleFormatter(logging.Formatter):
    """``INFO:     message``, with the level in colour where there is a terminal."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__("%(message)s")
        self._prefixes = {level: level_prefix(level, colours=colours) for level in _COLOURS}

    def format(self, record: logging.LogRecord) -> str:
        prefix = self._prefixes.get(record.levelname) or level_prefix(record.levelname)
        line = prefix + record.getMessage().translate(_CONTROLS)
        if record.exc_info and record.exc_info[0] is not None:
            # Only what nobody expected comes with a traceback; its lines are ours.
            line += "\n" + self.formatException(record.exc_info)
        return line


def level_prefix(level: str, *, colours: bool = False) -> str:
    """The level as Uvicorn sets it: a colon, and blanks up to the tenth column."""
    blanks = " " * (9 - len(level))
    if colours and level in _COLOURS:
        level = f"\x1b[{_COLOURS[level]}m{level}\x1b[0m"
    return f"{level}:{blanks}"


class LineHandler(logging.Handler):
    """Hands formatted records to a function that takes lines."""

    def __init__(self, write: Callable[[str], None], *, colours: bool) -> None:
        super().__init__()
        self.write = write
        self.info_prefix = level_prefix("INFO", colours=colours)
        self.setFormatter(StyleFormatter(colours=colours))

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record))


class Logs:
    """The set-up of one process, from :func:`configure` until ``close``."""

    def __init__(self, writers: tuple[LineWriter, ...], access: Callable[[str], None] | None):
        self._writers = writers
        self.access = access
        """Takes one access line without level; None when nobody wants them."""

    def close(self) -> None:
        """Write out what is queued; what is logged afterwards is written straight away."""
        for writer in self._writers:
            writer.close()


def configure(level: str, *, access: bool = False, threaded: bool = False) -> Logs:
    """Set up logging for this process; again after a fork, where threads are wanted or gone."""
    open_missing_streams()
    errors, lines = sys.stderr, sys.stdout
    writers = (LineWriter(errors.fileno()), LineWriter(lines.fileno())) if threaded else ()
    write_error: Callable[[str], None] = writers[0].write if writers else _direct(errors)
    write_line: Callable[[str], None] = writers[1].write if writers else _direct(lines)
    root = logging.getLogger()
    _replace_handlers(root, LineHandler(write_error, colours=wants_colours(errors)))
    root.setLevel(logging.WARNING)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    handler = LineHandler(write_line, colours=wants_colours(lines))
    access_logger = logging.getLogger(ACCESS_LOGGER)
    access_logger.propagate = False
    access_logger.setLevel(logging.INFO if access else logging.CRITICAL)
    _replace_handlers(access_logger, handler)
    prefix = handler.info_prefix

    def write_access(line: str) -> None:
        write_line(prefix + line)

    return Logs(writers, write_access if access else None)


def open_missing_streams() -> None:
    """Give a process that was started with ``>&-`` the streams that every other one has.

    Python then has no ``sys.stdout``, and the kernel would give the number to the next socket,
    which would get the log's lines. To be called before anything else is opened.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)


def wants_colours(stream: _Stream) -> bool:
    """On a terminal, unless the user said no (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _direct(stream: _Stream) -> Callable[[str], None]:
    def write(line: str) -> None:
        write_all(stream.fileno(), f"{line}\n".encode("utf-8", "backslashreplace"))

    return write


def _replace_handlers(logger: logging.Logger, handler: logging.Handler) -> None:
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)
