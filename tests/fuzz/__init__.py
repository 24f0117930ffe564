"""Differential fuzzing: two ways to read the same bytes, and no difference allowed.

A *target* (:mod:`tests.fuzz.target`) is a function of bytes that fails when it finds a difference:
between the two engines, between the bytes fed whole and fed in pieces, between what the client
said and what reached the backend, between our ClientHello reader and OpenSSL. The same targets run

* in ``make test``, for a few seconds, on inputs that Hypothesis makes (``test_targets.py``);
* in ``make fuzz``, for as long as is wanted, guided by coverage (``run.py``, with Atheris).

Both begin with the corpora of the other tests.
"""
