"""The command: a table, and what it says when something is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fuzz import one, run
from tests.fuzz.target import Target


def test_a_target_is_run_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    assert run.main(["--seconds", "1", "websocket-frames"]) == 0
    shown = capsys.readouterr().out
    assert "websocket-frames" in shown
    assert "nothing found" in shown
    report = json.loads((tmp_path / "websocket-frames" / "report.json").read_text("utf-8"))
    assert report["executions"] > 0


def test_a_target_that_hangs_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    monkeypatch.setattr(run, "_START_SECONDS", -0.99)
    assert run.main(["--seconds", "1", "websocket-frames"]) == 1
    assert "FOUND SOMETHING" in capsys.readouterr().out
    assert "timed out" in (tmp_path / "websocket-frames" / "log.txt").read_text("utf-8")


def test_an_unknown_target_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["nonsense"])
    assert "no such target: nonsense" in capsys.readouterr().err


def test_a_finding_is_kept(tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        assert b"bad" not in data, "found it"

    target = Target("planted", check, lambda: [b"good"], [b"bad"])
    count = one.Count(tmp_path / "report.json", "chance")
    with pytest.raises(AssertionError, match="found it"):
        one._unguided(target, 30, tmp_path, count)
    found = list(tmp_path.glob("found-*"))
    assert len(found) == 1
    assert b"bad" in found[0].read_bytes()
