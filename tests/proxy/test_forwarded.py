"""The client's address behind trusted proxies, and what no peer may make us believe."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.forwarded import (
    MAX_CACHED,
    MAX_ENTRIES,
    SCHEMES,
    TrustedProxies,
    canonical_address,
    parse_address,
)

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])
PEER = "10.1.1.1"

addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str).filter(lambda text: "%" not in text),
)


def test_nobody_is_trusted_by_default() -> None:
    nobody = TrustedProxies()
    assert not nobody
    assert not nobody.trusts("127.0.0.1")
    assert nobody.client_address("203.0.113.9", [b"198.51.100.1"]) == "203.0.113.9"
    assert nobody.scheme("203.0.113.9", [b"http"], "https") == "https"
    assert repr(nobody) == "<TrustedProxies none>"
    assert repr(TRUSTED) == "<TrustedProxies 10.0.0.0/8, fd00::/8, 192.0.2.7/32>"


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.1", True),
        ("11.0.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("fd12::1", True),
        ("fe80::1", False),
        ("not an address", False),
    ],
)
def test_networks(address: str, trusted: bool) -> None:
    assert TRUSTED.trusts(address) is trusted
    assert TRUSTED.trusts(address) is trusted  # from the cache


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "10.0.0.1/8", "localhost", "fd00::/129"])
def test_bad_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="trusted proxy") as caught:
        TrustedProxies([text])
    assert repr(text) in str(caught.value)


def test_mapped_network_is_ipv4() -> None:
    assert TrustedProxies(["::ffff:10.0.0.0/104"]).trusts("10.200.0.1")
    assert TrustedProxies(["::/0"]).trusts("fd00::1")
    assert not TrustedProxies(["::/0"]).trusts("10.0.0.1")
    with pytest.raises(ValueError, match="has host bits set"):
        TrustedProxies(["::ffff:0:0/95"])


def test_cache_is_bounded() -> None:
    trusted = TrustedProxies(["10.0.0.0/8"])
    for number in range(MAX_CACHED + 10):
        trusted.trusts(str(ipaddress.IPv4Address(0x0A000000 + number)))
    assert len(trusted._verdicts) <= MAX_CACHED


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], PEER),
        ([b""], PEER),
        ([b"198.51.100.1"], "198.51.100.1"),
        ([b"6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # the left one is the client's own lie
        ([b"198.51.100.1, 10.2.2.2"], "198.51.100.1"),
        ([b"198.51.100.1,10.2.2.2,fd00::2"], "198.51.100.1"),
        ([b"198.51.100.1", b"10.2.2.2"], "198.51.100.1"),  # two lines are one list
        ([b"10.2.2.2", b"198.51.100.1"], "198.51.100.1"),
        ([b"10.3.3.3, 10.2.2.2"], "10.3.3.3"),  # all trusted: the farthest one
        ([b" 198.51.100.1\t"], "198.51.100.1"),
        ([b"198.51.100.1:1234"], "198.51.100.1"),
        ([b"[2001:db8::1]:1234"], "2001:db8::1"),
        ([b"[2001:db8::1]"], "2001:db8::1"),
        ([b"2001:DB8:0::1"], "2001:db8::1"),
        ([b"::ffff:198.51.100.1"], "198.51.100.1"),
        ([b"6.6.6.6, ::ffff:198.51.100.1, ::ffff:10.2.2.2"], "198.51.100.1"),
        ([b"198.51.100.1, , ,10.2.2.2,"], "198.51.100.1"),  # empty elements mean nothing
        ([b"198.51.100.1, unknown"], PEER),
        ([b"198.51.100.1, _hidden, 10.2.2.2"], "10.2.2.2"),
        ([b"198.51.100.1, 10.2.2.2:"], PEER),
        ([b"198.51.100.1:x"], PEER),
        ([b"198.51.100.1:123456"], PEER),
        ([b"[198.51.100.1]"], PEER),
        ([b"[2001:db8::1"], PEER),
        ([b"[2001:db8::1]1"], PEER),
        ([b"fe80::1%eth0"], PEER),
        ([b"198.51.100.1%1"], PEER),
        ([b"198.51.100.01"], PEER),
        ([b"\xff\xfe"], PEER),
        ([b"\xb2.1.1.1"], PEER),  # a digit in latin-1's eyes only
        ([b'"198.51.100.1"'], PEER),
        ([b"1" * 5000], PEER),
    ],
)
def test_right_to_left(lines: list[bytes], client: str) -> None:
    assert TRUSTED.client_address(PEER, lines) == client


def test_untrusted_peer_is_the_client() -> None:
    assert TRUSTED.client_address("203.0.113.9", [b"198.51.100.1"]) == "203.0.113.9"


def test_entries_looked_at_are_bounded() -> None:
    within = b"198.51.100.1" + b", 10.2.2.2" * (MAX_ENTRIES - 1)
    beyond = b"198.51.100.1" + b", 10.2.2.2" * MAX_ENTRIES
    assert TRUSTED.client_address(PEER, [within]) == "198.51.100.1"
    assert TRUSTED.client_address(PEER, [beyond]) == "10.2.2.2"
    assert TRUSTED.client_address(PEER, [b"198.51.100.1" + b"," * MAX_ENTRIES]) == PEER


@pytest.mark.parametrize("word", sorted(SCHEMES))
def test_scheme_of_a_trusted_peer(word: str) -> None:
    assert TRUSTED.scheme(PEER, [word.encode()], "own") == word
    assert TRUSTED.scheme("203.0.113.9", [word.encode()], "own") == "own"


@pytest.mark.parametrize(
    "lines",
    [[], [b""], [b"HTTPS"], [b"https, http"], [b"http", b"https"], [b"ftp"], [b" http"], [b"\xff"]],
)
def test_other_schemes_are_not_believed(lines: list[bytes]) -> None:
    assert TRUSTED.scheme(PEER, lines, "https") == "https"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::0001", "2001:db8::1"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_canonical_address(text: str, canonical: str) -> None:
    assert canonical_address(text) == canonical


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_give_an_address(lines: list[bytes]) -> None:
    client = TRUSTED.client_address(PEER, lines)
    assert str(parse_address(client)) == client


@given(st.binary(max_size=60), addresses)
def test_what_the_client_writes_itself_changes_nothing(lie: bytes, client: str) -> None:
    """The last proxy appends the address it saw: whatever stood there before does not count."""
    expected = canonical_address(client)
    if TRUSTED.trusts(expected):
        return
    assert TRUSTED.client_address(PEER, [lie + b", " + client.encode()]) == expected
    assert TRUSTED.client_address(PEER, [lie, client.encode(), b"10.9.9.9"]) == expected


@given(addresses, st.integers(0, 65535))
def test_ports_and_brackets_are_taken_off(client: str, port: int) -> None:
    entry = f"[{client}]:{port}" if ":" in client else f"{client}:{port}"
    expected = canonical_address(client)
    assert TRUSTED.client_address(PEER, [entry.encode()]) == expected
