"""Field lists into blocks: any decoder gets them back, and nothing enters a table."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2.field_encoder import ENTRIES, FIELD_BYTES, NO_TABLE, FieldEncoder, encode_field
from proxy.http.h2.header_blocks import Field

names = st.one_of(
    st.sampled_from([b"content-type", b"Content-Length", b"set-cookie", b"x-custom", b"ETag"]),
    st.from_regex(rb"\A[A-Za-z][A-Za-z0-9_\-]{0,150}\Z"),
)
values = st.one_of(
    st.sampled_from([b"", b"0", b"gzip, deflate"]),
    st.integers(0, 20_000).map(lambda size: b"v" * size),
    st.from_regex(rb"\A[!-~\x80-\xff]{0,30}\Z"),
)


@given(st.integers(100, 999), st.lists(st.tuples(names, values), max_size=8))
def test_a_response_comes_back_and_the_table_stays_empty(status: int, fields: list[Field]) -> None:
    encoder = FieldEncoder()
    decoder = hpack.Decoder(max_header_list_size=2**30)
    expected = [(b":status", b"%d" % status), *[(name.lower(), value) for name, value in fields]]
    for prefix in (NO_TABLE, b"", b""):
        block = prefix + encoder.encode_response(status, fields)
        assert list(decoder.decode(block, raw=True)) == expected
        assert not decoder.header_table.dynamic_entries


def test_a_peer_may_lower_its_table_at_any_time() -> None:
    decoder = hpack.Decoder()
    decoder.decode(NO_TABLE + FieldEncoder().encode([(b"x", b"1")]))
    decoder.max_allowed_table_size = 0
    decoder.decode(FieldEncoder().encode([(b"x", b"1")]))


def test_static_entries_are_one_octet() -> None:
    assert encode_field(b"accept-encoding", b"gzip, deflate") == b"\x90"
    assert FieldEncoder().encode_response(200, []) == b"\x88"
    assert FieldEncoder().encode([(b":method", b"GET"), (b":path", b"/")]) == b"\x82\x84"


def test_literals_are_never_indexed() -> None:
    assert encode_field(b"authorization", b"Basic eA==")[0] & 0xF0 == 0x10
    assert encode_field(b"x-new", b"1")[0] == 0x10


def test_requests_keep_their_pseudo_header_fields() -> None:
    fields = [(b":method", b"PURGE"), (b":authority", b"a.example"), (b":path", b"/x")]
    block = FieldEncoder().encode(fields)
    assert list(hpack.Decoder().decode(block, raw=True)) == fields


@pytest.mark.parametrize(
    "field", [(b"x y", b"1"), (b"", b"1"), (b"x", b"a\r\nb"), (b"x", b"\0"), (b"x:y", b"1")]
)
def test_what_http_does_not_know_is_refused(field: Field) -> None:
    with pytest.raises(ValueError, match=r"no field name|control character"):
        FieldEncoder().encode([field])


@pytest.mark.parametrize("status", [0, 99, 1000])
def test_a_status_that_is_none_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="no status code"):
        FieldEncoder().encode_response(status, [])


def test_the_memory_is_bounded_and_keeps_what_is_used() -> None:
    encoder = FieldEncoder()
    used = (b"server", b"uvicorn")
    for number in range(5 * ENTRIES):
        encoder.encode([used, (b"x-new", b"%d" % number)])
        assert len(encoder) <= 2 * ENTRIES
    assert used in encoder._young or used in encoder._old
    before = len(encoder)
    encoder.encode([(b"set-cookie", b"v" * FIELD_BYTES)])
    assert len(encoder) == before
