"""The corpus itself: large enough, unique, and meaning what it says."""

from __future__ import annotations

from collections import Counter

from tests.corpus.model import (
    BadGateway,
    Closed,
    Forwarded,
    Passed,
    Refused,
    Truncated,
    show,
)
from tests.corpus.requests import REQUESTS
from tests.corpus.responses import RESPONSES


def test_it_is_large() -> None:
    assert len(REQUESTS) >= 300
    assert len(RESPONSES) >= 80


def test_names_are_unique() -> None:
    for names in ([case.name for case in REQUESTS], [case.name for case in RESPONSES]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_same_bytes_have_the_same_verdict() -> None:
    verdicts = {case.raw: _outline(case.verdict) for case in REQUESTS}
    assert [case.name for case in REQUESTS if verdicts[case.raw] != _outline(case.verdict)] == []


def _outline(verdict: Forwarded | Refused | Closed) -> object:
    """The verdict without what one family looks at more closely than another."""
    if isinstance(verdict, Forwarded):
        return [(seen.method, seen.target, seen.body) for seen in verdict.seen]
    return type(verdict)


def test_names_are_printable() -> None:
    for name in (*(case.name for case in REQUESTS), *(case.name for case in RESPONSES)):
        assert name.isascii()
        assert name.isprintable()
        assert len(name) <= 100, name


def test_each_verdict_and_stage_occurs_often() -> None:
    verdicts = Counter(type(case.verdict) for case in REQUESTS)
    assert min(verdicts[kind] for kind in (Forwarded, Refused, Closed)) >= 20
    stages = Counter(case.stage for case in REQUESTS)
    assert min(stages.values()) >= 30
    answers = Counter(type(case.verdict) for case in RESPONSES)
    assert min(answers[kind] for kind in (Passed, BadGateway, Truncated)) >= 20


def test_refusals_name_client_errors() -> None:
    for case in REQUESTS:
        verdict = case.verdict
        last = verdict.then if isinstance(verdict, Forwarded) else verdict
        if isinstance(last, Refused):
            assert last.statuses
            assert last.statuses <= {400, 405, 413, 414, 417, 421, 431, 501, 505}


def test_what_is_refused_or_cut_is_seen_by_nobody() -> None:
    for case in REQUESTS:
        if isinstance(case.verdict, Forwarded):
            assert case.verdict.seen, case.name
            assert (case.verdict.least or 1) <= len(case.verdict.seen), case.name
            for seen in case.verdict.seen:
                assert not set(seen.absent) & {name for name, _ in seen.present}, case.name
                assert not set(seen.absent) & set(seen.named), case.name


def test_what_is_forwarded_stands_in_the_bytes() -> None:
    """A verdict that names a method, target or field never sent would prove nothing."""
    for case in REQUESTS:
        if not isinstance(case.verdict, Forwarded):
            continue
        for seen in case.verdict.seen:
            assert seen.method in case.raw, case.name
            assert seen.target.removeprefix(b"/") in case.raw, case.name
            for name, value in seen.present:
                assert name in case.raw.lower(), case.name
                assert value in case.raw, case.name
    for answer in RESPONSES:
        if isinstance(answer.verdict, Passed):
            assert b" %d" % answer.verdict.status in answer.raw, answer.name


def test_large_cases_are_few() -> None:
    """Most cases are sent byte by byte in every run."""
    assert sum(case.is_large for case in REQUESTS) < len(REQUESTS) / 10
    assert sum(case.is_large for case in RESPONSES) < len(RESPONSES) / 5


def test_show_keeps_names_short() -> None:
    assert show(b"a b\r\n\xff") == r"a\sb\r\n\xff"
    assert show(b"a" * 99) == "a" * 48 + "..99"
