"""The memory of field blocks cannot be told apart from decoding, and everything is bounded."""

from __future__ import annotations

import tracemalloc

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.http.h2.faults import ConnectionFault, ErrorCode
from proxy.http.h2.header_blocks import (
    REMEMBERED_BLOCKS,
    REMEMBERED_BYTES,
    Block,
    BlockDecoder,
    Field,
    is_sound,
)
from tests.proxy.http.h2.conftest import Figures
from tests.proxy.http.h2.conversation import literal, string

LIMIT = 32 * 1024


def decode(decoder: BlockDecoder, block: bytes) -> Block:
    """As the connection does it."""
    return decoder.known.get(block) or decoder.decode(block)


# -- representations, right and wrong -----------------------------------------------------------

coder = hpack.Encoder().huffman_coder
texts = st.one_of(
    st.sampled_from([b"", b"a", b"cookie", b"x-test", b"session=0123456789abcdef"]),
    st.binary(max_size=12),
    st.integers(100, 1500).map(lambda size: b"v" * size),
)


def huffman(text: bytes) -> bytes:
    coded = coder.encode(text)
    whole = bytearray(string(coded))
    whole[0] |= 0x80
    return bytes(whole)


def integer(value: int, bits: int, first: int) -> bytes:
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    octets = bytearray((first | most,))
    value -= most
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    octets.append(value)
    return bytes(octets)


strings = st.one_of(texts.map(string), texts.map(huffman))
indexes = st.one_of(st.integers(1, 61), st.integers(62, 66), st.integers(0, 300))
literals = st.one_of(
    st.builds(
        lambda kind, index, value: integer(index, *kind) + value,
        st.sampled_from([(6, 0x40), (4, 0x00), (4, 0x10)]),
        indexes.filter(bool),
        strings,
    ),
    st.builds(
        lambda first, name, value: bytes((first,)) + name + value,
        st.sampled_from([0x40, 0x40, 0x00, 0x10]),
        strings,
        strings,
    ),
)
fields = st.one_of(
    indexes.map(lambda index: integer(index, 7, 0x80)),
    st.integers(1, 64).map(lambda index: integer(index, 7, 0x80)),
    literals,
)
size_updates = st.sampled_from([0, 40, 100, 200, 4000, 4096, 4097, 10**6]).map(
    lambda size: integer(size, 5, 0x20)
)
blocks = st.one_of(
    st.lists(fields, max_size=6).map(b"".join),
    st.builds(
        lambda updates, rest: b"".join(updates) + b"".join(rest),
        st.lists(size_updates, max_size=3),
        st.lists(fields, max_size=3),
    ),
    st.lists(st.one_of(fields, size_updates), max_size=4).map(b"".join),
    st.binary(max_size=10),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Blocks in some order, most of them more than once."""
    pool = draw(st.lists(blocks, min_size=1, max_size=5))
    order = draw(st.lists(st.integers(0, 4), min_size=1, max_size=25))
    return [pool[number % len(pool)] for number in order]


def plainly(decoder: hpack.Decoder, block: bytes) -> tuple[Field, ...] | None:
    """What the plain decoder says, or None for an error."""
    try:
        return tuple((bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True))
    except hpack.HPACKError:
        return None


@settings(max_examples=400, deadline=None)
@given(conversations())
def test_memory_and_plain_decoder_agree(conversation: list[bytes]) -> None:
    ours = BlockDecoder(2**30)
    plain = hpack.Decoder(max_header_list_size=2**30)
    for block in conversation:
        expected = plainly(plain, block)
        if expected is None:
            with pytest.raises(ConnectionFault) as caught:
                decode(ours, block)
            assert caught.value.code == ErrorCode.COMPRESSION_ERROR
            return
        result = decode(ours, block)
        assert result.fields == expected
        assert result.sound <= all(map(is_sound, expected))
        # The proof's invariant: the state is the same, whether the memory answered or not.
        assert ours._table.dynamic_entries == plain.header_table.dynamic_entries
        assert ours._table.maxsize == plain.header_table.maxsize
        for remembered in ours.known:
            assert ours.known[remembered].fields == again(plain, remembered)


def again(decoder: hpack.Decoder, block: bytes) -> tuple[Field, ...] | None:
    """Decode a remembered block in the present state; it must not change that."""
    before = (list(decoder.header_table.dynamic_entries), decoder.header_table.maxsize)
    result = plainly(decoder, block)
    assert (list(decoder.header_table.dynamic_entries), decoder.header_table.maxsize) == before
    return result


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.tuples(texts, texts), max_size=6), max_size=12))
def test_what_an_encoder_makes_comes_back(requests: list[list[Field]]) -> None:
    encoder = hpack.Encoder()
    decoder = BlockDecoder(2**30)
    for number, request in enumerate([*requests, *requests]):
        if number % 5 == 4:
            encoder.header_table_size = (0, 64, 4096)[number % 3]
        assert decode(decoder, encoder.encode(request)).fields == tuple(request)


# -- what is remembered, and for how long -------------------------------------------------------

SETTLED = b"\x82\x87\x84"


def test_a_block_that_changes_nothing_is_remembered() -> None:
    decoder = BlockDecoder(LIMIT)
    assert decode(decoder, SETTLED) is decode(decoder, SETTLED)


def test_an_insertion_forgets_everything() -> None:
    decoder = BlockDecoder(LIMIT)
    decode(decoder, literal(b"x-first", b"1", 0x40))
    first = decode(decoder, b"\xbe")
    assert decoder.known == {b"\xbe": first}
    decode(decoder, literal(b"x-second", b"2", 0x40))
    assert decoder.known == {}
    assert decode(decoder, b"\xbe").fields == ((b"x-second", b"2"),)
    assert first.fields == ((b"x-first", b"1"),)


@pytest.mark.parametrize("update", [b"\x20", b"\x3f\xe1\x1f", b"\x3e"])
def test_a_size_update_forgets_everything_and_is_not_remembered(update: bytes) -> None:
    decoder = BlockDecoder(LIMIT)
    decode(decoder, SETTLED)
    decode(decoder, update + SETTLED)
    assert decoder.known == {}


def test_an_entry_too_large_for_the_table_counts_as_a_change() -> None:
    decoder = BlockDecoder(LIMIT)
    decode(decoder, literal(b"x", b"v" * 5000, 0x40))
    assert decoder.known == {}
    assert repr(decoder) == "<BlockDecoder 0 entries, 0 blocks remembered>"


def test_meaning_stays_with_the_block() -> None:
    decoder = BlockDecoder(LIMIT)
    decode(decoder, SETTLED).meaning = "what I made of it"
    assert decode(decoder, SETTLED).meaning == "what I made of it"
    decoder.forget()
    assert decode(decoder, SETTLED).meaning is None


def test_the_memory_is_bounded_in_entries_and_bytes() -> None:
    decoder = BlockDecoder(LIMIT)
    for number in range(1000):
        decode(decoder, literal(b"x", b"%d" % number))
        assert len(decoder.known) <= REMEMBERED_BLOCKS
    for number in range(100):
        decode(decoder, literal(b"x", b"%d" % number + b"v" * 3000))
        held = sum(len(block) + known.size for block, known in decoder.known.items())
        assert held == decoder._bytes <= REMEMBERED_BYTES
    decode(decoder, literal(b"x", b"v" * 20_000))
    assert decoder.known == {}


# -- bounds of a single block -------------------------------------------------------------------


def test_a_section_past_the_limit_is_dropped_and_the_table_kept_right() -> None:
    decoder = BlockDecoder(1000)
    block = literal(b"x-large", b"v" * 900, 0x40) + b"\xbe" + literal(b"x-after", b"1", 0x40)
    result = decoder.decode(block)
    assert result.oversized
    assert result.fields == ()
    assert decoder.decode(b"\xbe").fields == ((b"x-after", b"1"),)


def test_a_section_past_twice_the_limit_ends_the_connection() -> None:
    decoder = BlockDecoder(1000)
    decoder.decode(literal(b"x-large", b"v" * 900, 0x40))
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(b"\xbe" * 3)
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_bomb_costs_no_memory(figures: Figures) -> None:
    """One octet stands for a field of 4 KiB, 16,384 times: 64 MiB in a frame."""
    decoder = BlockDecoder(LIMIT)
    decoder.decode(literal(b"x", b"v" * 4000, 0x40))
    tracemalloc.start()
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xbe" * 16_384)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    figures(f"HPACK bomb of 16 KiB (64 MiB decoded): {peak / 1024:.0f} KiB at most")
    assert peak < 64 * 1024


def test_empty_fields_count_their_overhead() -> None:
    """Cookie crumbs of one octet each (CVE-2026-49975) meet the limit like all fields."""
    decoder = BlockDecoder(LIMIT)
    with pytest.raises(ConnectionFault):
        decoder.decode(b"\xa0" * 3000)


def test_many_size_updates_in_one_block_are_an_error() -> None:
    assert BlockDecoder(LIMIT).decode(b"\x20\x3e" * 4).fields == ()
    with pytest.raises(ConnectionFault) as caught:
        BlockDecoder(LIMIT).decode(b"\x20\x3e" * 5)
    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


# -- soundness ----------------------------------------------------------------------------------


def test_a_sound_connection_stays_sound() -> None:
    decoder = BlockDecoder(LIMIT)
    assert decoder.decode(literal(b"x-fine", b"caf\xc3\xa9 au lait", 0x40)).sound
    assert decoder.decode(b"\xbe").sound


@pytest.mark.parametrize(
    ("name", "value"),
    [(b"x bad", b"1"), (b"X-Upper", b"1"), (b"x", b"a\r\nb"), (b"x", b" a"), (b"", b"1")],
)
def test_what_is_not_sound_marks_the_connection_when_it_enters_the_table(
    name: bytes, value: bytes
) -> None:
    decoder = BlockDecoder(LIMIT)
    assert not decoder.decode(literal(name, value)).sound
    assert decoder.decode(SETTLED + literal(b"x", b"1", 0x40)).sound
    assert not decoder.decode(literal(name, value, 0x40)).sound
    assert not decoder.decode(b"\xbe").sound
    assert not decoder.decode(literal(b"x", b"1", 0x40)).sound
    assert not decoder.decode(SETTLED).sound


@pytest.mark.parametrize(
    ("field", "sound"),
    [
        ((b":path", b"/"), True),
        ((b"x!#$%&'*+-.^_`|~09az", b"a\tb"), True),
        ((b"x", b""), True),
        ((b"x", b"\xff"), True),
        ((b":", b"1"), False),
        ((b"::path", b"1"), False),
        ((b"x:y", b"1"), False),
        ((b"x\x80", b"1"), False),
        ((b"x", b"\x00"), False),
        ((b"x", b"a\nb"), False),
        ((b"x", b"a\rb"), False),
        ((b"x", b"a\x7fb"), False),
        ((b"x", b"\ta"), False),
        ((b"x", b"a "), False),
        ((b"x", b" "), False),
    ],
)
def test_soundness(field: Field, sound: bool) -> None:
    assert is_sound(field) == sound
