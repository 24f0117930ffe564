"""How long to leave a failing certificate alone (pure).

One failure may be an accident: try again after a minute. The second and third try wait 10 and 100
minutes, all later ones a day, as Let's Encrypt advises; that keeps failed validations at three in
an hour, under every CA's limit. A short-lived certificate cannot wait for days, so its steps end
at six hours. What the CA itself asks for (Retry-After) comes on top, unless it is absurd.
"""

from __future__ import annotations

from datetime import datetime, timedelta

STEPS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100))
LONGEST = timedelta(days=1)
LONGEST_FOR_SHORT_LIVED = timedelta(hours=6)
SHORT_LIVED = timedelta(days=10)
JITTER = 0.1

MAX_RETRY_AFTER = timedelta(days=7)
"""A CA that says more is broken or hostile; after this it is asked again."""

PROBE_FIRST = timedelta(seconds=5)
PROBE_LONGEST = timedelta(minutes=10)


def retry_delay(failures: int, lifetime: timedelta | None, chance: float) -> timedelta:
    """The wait after so many failures in a row; ``chance`` in [0, 1) spreads it by ±10 %."""
    step = STEPS[failures - 1] if failures <= len(STEPS) else LONGEST
    if lifetime is not None and lifetime < SHORT_LIVED:
        step = min(step, LONGEST_FOR_SHORT_LIVED)
    return step * (1 + JITTER * (2 * chance - 1))


def probe_delay(probes: int, chance: float) -> timedelta:
    """The wait before a CA that could not even be connected to is tried again.

    Nothing reached it, so nothing counts against a name: only the network is spared. Seconds at
    first (a machine that boots has no DNS yet), ten minutes in a long outage.
    """
    doubled: int = 2 ** min(probes, 16)
    step = min(PROBE_FIRST * doubled, PROBE_LONGEST)
    return step * (1 + JITTER * (2 * chance - 1))


def clamp_retry_after(retry_at: datetime, now: datetime) -> datetime:
    return min(retry_at, now + MAX_RETRY_AFTER)
