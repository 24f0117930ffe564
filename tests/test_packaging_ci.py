"""The judge of test reports: a run in which nothing was shown is no success."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JUDGE = Path(__file__).parent.parent / ".ci" / "check_report.py"

PEBBLE = '<properties><property name="needs" value="pebble"/></properties>'
SKIPPED = '<skipped message="no pebble on PATH"/>'


def judge(report: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(JUDGE), str(report)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("cases", "fault"),
    [
        (["", PEBBLE], None),
        ([SKIPPED, ""], None),
        ([], "no test ran (0 were skipped)"),
        ([SKIPPED], "no test ran (1 were skipped)"),
        (["", PEBBLE + SKIPPED], "tests.a.test_b needs Pebble and was skipped: no pebble on PATH"),
    ],
)
def test_reports(tmp_path: Path, cases: list[str], fault: str | None) -> None:
    report = tmp_path / "report.xml"
    body = "".join(
        f'<testcase classname="tests.a" name="test_b">{case}</testcase>' for case in cases
    )
    report.write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
    assert judge(report) == ((1, f"FAILED: {fault}\n") if fault else (0, ""))


def test_no_report(tmp_path: Path) -> None:
    assert judge(tmp_path / "none.xml")[0] == 1


def test_pytest_tells_what_needs_pebble(tmp_path: Path) -> None:
    ours = (Path(__file__).parent / "conftest.py").read_text()
    hook = ours.split("def pytest_collection_modifyitems")[1].split("\n\n\n")[0]
    (tmp_path / "conftest.py").write_text(
        f"import pytest\n\ndef pytest_collection_modifyitems{hook}\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = pebble\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.pebble\n"
        "def test_it():\n"
        "    pytest.skip('no Pebble here')\n\n"
        "def test_other():\n"
        "    pass\n"
    )
    report = tmp_path / "report.xml"
    subprocess.run(
        [sys.executable, "-m", "pytest", f"--junitxml={report}", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    code, errors = judge(report)
    assert code == 1
    assert "test_it needs Pebble and was skipped: no Pebble here" in errors
