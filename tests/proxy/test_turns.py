"""Those that wait go on one after the other, one in a turn of the loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from proxy.turns import Turns


class Loop:
    """What is to be called in the next turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        callbacks, self.soon = self.soon, []
        for callback in callbacks:
            callback()


def test_one_goes_on_in_a_turn_and_the_first_comes_first() -> None:
    loop, went = Loop(), list[str]()
    turns = Turns(loop.call_soon)
    for name in ("a", "b", "c"):
        turns.wait(partial(went.append, name))
    assert (went, len(loop.soon)) == ([], 1)
    for count in (1, 2, 3):
        loop.turn()
        assert went == ["a", "b", "c"][:count]
    assert (len(turns), loop.soon) == (0, [])


def test_who_has_more_to_do_stands_behind_those_that_wait() -> None:
    loop, went = Loop(), list[str]()
    turns = Turns(loop.call_soon)

    def greedy() -> None:
        went.append("greedy")
        if went.count("greedy") < 3:
            turns.wait(greedy)

    turns.wait(greedy)
    turns.wait(lambda: went.append("modest"))
    while loop.soon:
        assert len(loop.soon) == 1
        loop.turn()
    assert went == ["greedy", "modest", "greedy", "greedy"]


def test_who_fails_does_not_hold_up_the_others() -> None:
    loop, went = Loop(), list[str]()
    turns = Turns(loop.call_soon)

    def fail() -> None:
        raise RuntimeError("broken")

    turns.wait(fail)
    turns.wait(lambda: went.append("next"))
    with pytest.raises(RuntimeError, match="broken"):
        loop.turn()
    loop.turn()
    assert went == ["next"]
