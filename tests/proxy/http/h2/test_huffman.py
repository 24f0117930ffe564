"""Huffman strings: the byte-wise walk says what hpack's walk says."""

from __future__ import annotations

import hpack
import pytest
from hpack.huffman_table import decode_huffman as plain_decode
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.h2.faults import ConnectionFault, ErrorCode
from proxy.http.h2.huffman import decode_huffman

coder = hpack.Encoder().huffman_coder


@given(st.binary(max_size=200))
def test_what_was_encoded_comes_back(text: bytes) -> None:
    assert decode_huffman(coder.encode(text)) == text


@given(st.one_of(st.binary(max_size=30), st.binary(max_size=4).map(lambda data: data + b"\xff")))
def test_arbitrary_strings_get_the_same_verdict(data: bytes) -> None:
    try:
        expected = plain_decode(data)
    except hpack.HPACKError:
        with pytest.raises(ConnectionFault) as caught:
            decode_huffman(data)
        assert caught.value.code == ErrorCode.COMPRESSION_ERROR
    else:
        assert decode_huffman(data) == expected


def test_every_octet_in_every_position() -> None:
    everything = bytes(range(256))
    for shift in range(8):
        text = b"0" * shift + everything
        assert decode_huffman(coder.encode(text)) == text


@pytest.mark.parametrize(
    "data",
    [
        b"\x49\x50\x9f\xff",  # padding of more than 7 bits
        b"\x49\x50\x90",  # padding of zeros
        b"\x3f\xff\xff\xff\xff",  # EOS
        b"\xff\xff\xff\xff",
    ],
)
def test_broken_strings(data: bytes) -> None:
    with pytest.raises(ConnectionFault):
        decode_huffman(data)


def test_the_empty_string() -> None:
    assert decode_huffman(b"") == b""
