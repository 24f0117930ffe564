"""Logs: the style, one line per message, and a writer that never makes anyone wait."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import acme_client
import proxy
from proxy.logs import (
    ACCESS_LOGGER,
    LOGGERS,
    LineWriter,
    StyleFormatter,
    configure,
    level_prefix,
    wants_colours,
    write_all,
)


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    names = ("", ACCESS_LOGGER, *LOGGERS)
    before = [(logging.getLogger(name), list(logging.getLogger(name).handlers)) for name in names]
    levels = [logging.getLogger(name).level for name in names]
    yield
    for (logger, handlers), level in zip(before, levels, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = True


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            continue


def test_every_logger_of_ours_is_set_up() -> None:
    packages = Path(proxy.__file__).parent, Path(acme_client.__file__).parent
    for file in (file for package in packages for file in package.rglob("*.py")):
        text = file.read_text("utf-8")
        # With the module's own name a logger is under that of its package.
        assert set(re.findall(r"^logger = (.*)", text, re.MULTILINE)) <= {
            "logging.getLogger(__name__)"
        }, file
    assert set(LOGGERS) == {"proxy", "acme_client"}


def record(level: int, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("proxy.x", level, "", 0, message, arguments, None)


def test_the_style_of_uvicorn() -> None:
    formatter = StyleFormatter(colours=False)
    assert formatter.format(record(logging.INFO, "hello %s", "you")) == "INFO:     hello you"
    assert formatter.format(record(logging.WARNING, "w")) == "WARNING:  w"
    assert formatter.format(record(logging.CRITICAL, "c")) == "CRITICAL: c"
    coloured = StyleFormatter(colours=True).format(record(logging.ERROR, "e"))
    assert coloured == "\x1b[31mERROR\x1b[0m:    e"
    assert level_prefix("INFO") == "INFO:     "


def test_text_from_outside_makes_no_second_line() -> None:
    formatter = StyleFormatter(colours=False)
    line = formatter.format(record(logging.INFO, "path %s", "/a\nINFO: forged\r\x1b[2J\x9b"))
    assert line == "INFO:     path /a\\x0aINFO: forged\\x0d\\x1b[2J\\x9b"


def test_a_traceback_is_for_what_nobody_expected() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        entry = record(logging.ERROR, "failed")
        entry.exc_info = sys.exc_info()
    lines = StyleFormatter(colours=False).format(entry).splitlines()
    assert lines[0] == "ERROR:    failed"
    assert lines[-1] == "ValueError: x"


@pytest.mark.parametrize("threaded", [False, True])
def test_errors_and_access_lines_go_where_uvicorn_sends_them(
    capfd: pytest.CaptureFixture[str], threaded: bool
) -> None:
    logs = configure("info", access=True, threaded=threaded)
    logging.getLogger("proxy.server").info("started")
    logging.getLogger("proxy.server").debug("unseen")
    logging.getLogger("asyncio").warning("careful")
    logging.getLogger("asyncio").info("unseen")
    assert logs.access is not None
    logs.access('1.2.3.4:5 - "GET / HTTP/1.1" 200 OK')
    logging.getLogger(ACCESS_LOGGER).info("the same %s", "way")
    logs.close()
    output, errors = capfd.readouterr()
    assert errors == "INFO:     started\nWARNING:  careful\n"
    assert output == ('INFO:     1.2.3.4:5 - "GET / HTTP/1.1" 200 OK\nINFO:     the same way\n')


def test_no_access_lines_when_nobody_wants_them(capfd: pytest.CaptureFixture[str]) -> None:
    logs = configure("debug")
    assert logs.access is None
    assert not logging.getLogger(ACCESS_LOGGER).isEnabledFor(logging.INFO)
    logging.getLogger("acme_client.x").debug("seen")
    logs.close()
    assert capfd.readouterr() == ("", "DEBUG:    seen\n")


def test_configured_twice_nothing_is_written_twice(capfd: pytest.CaptureFixture[str]) -> None:
    configure("info").close()
    configure("info").close()
    logging.getLogger("proxy").info("once")
    assert capfd.readouterr().err == "INFO:     once\n"


def test_lines_are_written_in_order_and_whole(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    for i in range(1000):
        writer.write(str(i))
    writer.close()
    os.close(write)
    with os.fdopen(os.dup(read)) as stream:
        assert stream.read().split() == [str(i) for i in range(1000)]


def test_last_words_are_written(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    writer.write("first")
    writer.close()
    writer.write("last")
    assert os.read(read, 100) == b"first\nlast\n"


def test_when_nobody_reads_lines_are_dropped_and_counted(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write, max_pending=100_000)
    # More than the pipe and the queue hold; the writes below return all the same.
    for _ in range(400):
        writer.write("x" * 999)
    received = 0
    text = b""
    while b"dropped" not in text:
        text = text[-200:] + os.read(read, 65536)
        received += 1
    assert received
    assert re.search(rb"WARNING:  \d+ log lines were dropped", text)
    writer.close()


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.close(read)
    write_all(write, b"x")


def test_a_full_non_blocking_descriptor_is_waited_for(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    size = 1024 * 1024
    writer = LineWriter(write)
    writer.write("x" * (size - 1))
    received = 0
    while received < size:
        received += len(os.read(read, 65536))
    writer.close()
    assert received == size


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 1

    terminal = Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colours(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colours(terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colours(terminal)
    with open(os.devnull) as file:
        assert not wants_colours(file)


STREAMLESS = """
import os, socket, sys
from proxy import logs
log = logs.configure("info", access=True, threaded=True)
with socket.socket() as sock:
    assert sock.fileno() > 2, "a socket that gets what is logged"
log.access("a line")
print("a word")
sys.stderr.write("another\\n")
log.close()
report = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(report, b"fine")
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed_before_the_start(tmp_path: Path, closed: str) -> None:
    report = tmp_path / "report"
    script = f'exec "$0" -c "$1" "$2" {closed}'
    command = ["/bin/sh", "-c", script, sys.executable, STREAMLESS, str(report)]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert report.read_text() == "fine"
