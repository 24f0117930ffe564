"""The gate of chunked framing and both engines behind it, under any split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.http.chunked import ChunkedBody, ChunkedError, ChunkedGate
from proxy.http.engine import EngineName, make_engine
from tests.corpus import chunks
from tests.corpus.model import Forwarded

ENGINES: tuple[EngineName, ...] = ("h11", "httptools")


def decode(data: bytes, engine: EngineName, cuts: list[int]) -> tuple[bytes, bytes, bool] | None:
    """Body, what is behind it, and whether it is complete; None when it was refused."""
    body = ChunkedBody(make_engine(engine, 32768).chunked_reader())
    decoded = rest = b""
    marks = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in pairwise(marks):
        if body.complete:
            rest += data[start:end]
            continue
        try:
            more, rest = body.receive(data[start:end])
        except ChunkedError:
            return None
        decoded += more
    return decoded, rest, body.complete


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\n00000000\r\n\r\n", b"0123456789"),
        (b'1;a;b=c;d="e\\"f; g";h="\xff"\r\nx\r\n0;z\r\n\r\n', b"x"),
        (b"2\r\n\r\n\r\n0\r\nA: b\r\nC:\r\n\r\n", b"\r\n"),
        (b"1\r\n\n\r\n1\r\n\x00\r\n0\r\n\r\n", b"\n\x00"),
    ],
)
def test_good_bodies(engine: EngineName, data: bytes, body: bytes) -> None:
    for cuts in ([], list(range(len(data)))):
        assert decode(data + b"NEXT", engine, cuts) == (body, b"NEXT", True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "extension",
    [
        b";",
        b"; a",
        b";a ",
        b";a =b",
        b";a= b",
        b";a=",
        b';a="',
        b';a="b"c',
        b";;a",
        b";\xff",
        b" ;a",
    ],
)
def test_extensions_that_parsers_read_differently(engine: EngineName, extension: bytes) -> None:
    data = b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"
    for cuts in ([], list(range(len(data)))):
        assert decode(data, engine, cuts) is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"TRANSFER-ENCODING"])
def test_framing_has_no_place_in_trailers(engine: EngineName, name: bytes) -> None:
    data = b"0\r\n" + name + b": 0\r\n\r\n"
    for cuts in ([], list(range(len(data)))):
        assert decode(data, engine, cuts) is None
    assert decode(b"0\r\nX-" + name + b": 0\r\n\r\n", engine, []) == (b"", b"", True)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_corpus_is_judged_alike_in_any_pieces(engine: EngineName) -> None:
    for case in chunks.cases():
        data = case.raw.partition(b"\r\n\r\n")[2]
        whole = decode(data, engine, [])
        if not case.is_large:
            assert decode(data, engine, list(range(len(data)))) == whole, case.name
        if isinstance(case.verdict, Forwarded) and len(case.verdict.seen) == 1:
            assert whole is not None, case.name
            assert whole[0] == case.verdict.seen[0].body, case.name
        other: EngineName = "h11" if engine == "httptools" else "httptools"
        assert decode(data, other, []) == whole, case.name


_SCRAPS = [
    *(
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"1",
        b";a",
        b"=b",
        b"F\r\n",
    ),
    *(
        b'="q"',
        b" ",
        b"\t",
        b"X: y\r\n",
        b"Content-Length: 1\r\n",
        b"\x00",
        b"\xff",
        b":",
        b'"',
        b"\\",
    ),
]


@given(st.lists(st.sampled_from(_SCRAPS), max_size=12), st.lists(st.integers(0, 60), max_size=6))
@example([b"1", b";a", b'="', b"\\", b'"', b'"', b"\r\n"], [])
def test_engines_and_splits_never_differ(scraps: list[bytes], cuts: list[int]) -> None:
    data = b"".join(scraps)
    results = [decode(data, engine, points) for engine in ENGINES for points in ([], cuts)]
    if None in results:
        assert results == [None] * 4
    else:
        assert results == [results[0]] * 4


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 300)))
def test_what_is_encoded_comes_out(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\nrest"
    for engine in ENGINES:
        assert decode(data, engine, cuts) == (b"".join(parts), b"rest", True)


def test_the_gate_says_where_the_body_ends() -> None:
    gate = ChunkedGate()
    assert gate.receive(b"1\r\nx\r\n") == 6
    assert gate.receive(b"0\r\n\r\nGET /") == 5
    assert gate.complete
    assert gate.receive(b"GET /") == 0


@pytest.mark.parametrize(
    "flood",
    [
        b"1\r\nx\r\n" * 6000,
        b"1;" + b"a" * 5000,
        b"0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 600,
        b"0\r\nX: " + b"y" * 5000,
        b"100000;" + b"a" * 4000 + b"\r\n" + b"x" * 0x100000 + b"\r\n0\r\n" + b"X: yyyy\r\n" * 6000,
    ],
    ids=["tiny chunks", "extension", "trailers", "trailer", "trailers behind much data"],
)
def test_floods_are_bounded(flood: bytes) -> None:
    with pytest.raises(ChunkedError):
        ChunkedGate().receive(flood)


def test_size_lines_take_linear_time() -> None:
    """Some 4 KiB that almost match: anything worse than linear would not end."""
    for evil in (b";a" * 2000, b";a=" + b'"\\"' * 1300, b";" + b"a" * 4000 + b" ", b";a=b" * 1000):
        for end in (b" \r\n", b'"\r\n', b"\x00\r\n"):
            with pytest.raises(ChunkedError):
                ChunkedGate().receive(b"5" + evil + end)


def test_an_engine_that_lags_behind_the_gate_is_an_error() -> None:
    class Deaf:
        complete = False

        def receive(self, data: bytes) -> bytes:
            return b""

    with pytest.raises(ChunkedError, match="no end"):
        ChunkedBody(Deaf()).receive(b"0\r\n\r\n")
