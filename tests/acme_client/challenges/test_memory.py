"""What is remembered of challenges."""

from __future__ import annotations

import json

from acme_client.challenges.memory import MAX_FAILURES, ChallengeMemory, Experience


def test_a_success_forgets_the_failures() -> None:
    memory = ChallengeMemory().failed("a", "http-01").failed("a", "dns-01")
    assert memory.of("a") == Experience(None, ("http-01", "dns-01"))
    assert memory.succeeded("a", "dns-01").of("a") == Experience("dns-01")


def test_a_failure_keeps_what_worked() -> None:
    memory = ChallengeMemory().succeeded("a", "http-01").failed("a", "http-01")
    assert memory.of("a") == Experience("http-01", ("http-01",))
    assert memory.of("b") == Experience()


def test_it_does_not_grow() -> None:
    memory = ChallengeMemory()
    for _ in range(100):
        memory = memory.failed("a", "http-01")
    assert len(memory.of("a").failed) == MAX_FAILURES


def test_there_and_back() -> None:
    memory = ChallengeMemory().failed("a", "http-01").succeeded("b", "dns-01")
    assert ChallengeMemory.from_json(json.loads(json.dumps(memory.to_json()))) == memory
