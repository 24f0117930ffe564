"""Judge the report of a test run by what did *not* run: ``check_report.py REPORT``.

pytest is content when tests are skipped, and with other options when none was found. Here a run
without tests fails, and so does one in which a test that needs Pebble was skipped. A Pebble that is
there but older than a test needs (Debian 12's knows neither ARI nor profiles) is told and no fault:
what it cannot show, the in-process CA shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

NEEDS = "needs"
"""The property that ``tests/conftest.py`` gives to tests that need a program."""

TOO_OLD = "this Pebble is too old"
"""How ``tests/pebble.py`` begins the reason of such a skip."""


def faults(report: Path) -> Iterator[str]:
    """What is wrong with a run, by its JUnit report."""
    if not report.is_file():
        yield f"there is no report {report}: the tests did not run"
        return
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    if not ran:
        yield f"no test ran ({len(cases)} were skipped)"
    for case in cases:
        skipped = case.find("skipped")
        if skipped is None or not _needs_pebble(case):
            continue
        name = f"{case.get('classname')}.{case.get('name')}"
        reason = skipped.get("message") or ""
        if reason.startswith(TOO_OLD):
            sys.stderr.write(f"NOTE: {name} was skipped: {reason}\n")
        else:
            yield f"{name} needs Pebble and was skipped: {reason}"


def _needs_pebble(case: ElementTree.Element) -> bool:
    return any(
        item.get("name") == NEEDS and item.get("value") == "pebble"
        for item in case.iter("property")
    )


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    for fault in found:
        sys.stderr.write(f"FAILED: {fault}\n")
    sys.exit(bool(found))
