"""proxy.tls.client_hello"""

from __future__ import annotations

import ssl
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.errors import ClientHelloError
from proxy.limits import CLIENT_HELLO_BYTES, TLS_RECORD_BYTES
from proxy.tls.alerts import Alert
from proxy.tls.client_hello import (
    PLAIN_HTTP,
    TLS_1_2,
    TLS_1_3,
    ClientHello,
    ClientHelloReader,
    PlainHttp,
    select_alpn,
)
from proxy.tls.contexts import TlsOptions, load_pair_into, make_context
from proxy.tls.pem_pair import PemPair
from tests.proxy.tls.hellos import (
    ALPN,
    SERVER_NAME,
    SIGNATURE_ALGORITHMS,
    SUPPORTED_VERSIONS,
    alpn,
    body,
    hello,
    host_name,
    message,
    read,
    read_bytewise,
    real_hello,
    record,
    records,
    server_name,
    signature_algorithms,
    vector,
    versions,
)

GREASE = 0x3A3A


def parsed(data: bytes) -> ClientHello:
    result = read(data)
    assert isinstance(result, ClientHello), result
    return result


def alert_of(data: bytes) -> int:
    """The alert for this stream, the same whole and byte by byte."""
    result = read(data)
    assert isinstance(result, tuple), result
    assert read_bytewise(data) == result
    return result[1]


class TestRealHellos:
    def test_tls_1_3(self) -> None:
        found = parsed(real_hello("api.example.com", ["h2", "http/1.1"]))
        assert found.server_name == "api.example.com"
        assert found.alpn == (b"h2", b"http/1.1")
        assert repr(found) == "<ClientHello api.example.com (b'h2', b'http/1.1')>"

    def test_tls_1_2(self) -> None:
        found = parsed(real_hello("api.example.com", maximum=ssl.TLSVersion.TLSv1_2))
        assert found == ClientHello("api.example.com", ())
        assert found != ClientHello("api.example.org", ())
        assert found != "api.example.com"

    def test_without_server_name_and_alpn(self) -> None:
        found = parsed(real_hello(None))
        assert found.server_name is None
        assert found.alpn == ()

    def test_received_is_what_is_replayed(self) -> None:
        data = real_hello()
        reader = ClientHelloReader()
        assert reader.receive(data[:100]) is None
        assert isinstance(reader.receive(data[100:] + b"early data"), ClientHello)
        assert reader.received == data + b"early data"
        assert repr(reader) == f"<ClientHelloReader {len(data) + 10} bytes>"

    def test_memoryview_of_a_shared_buffer(self) -> None:
        buffer = bytearray(real_hello("a.example.com"))
        reader = ClientHelloReader()
        found = reader.receive(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        assert isinstance(found, ClientHello)
        assert found.server_name == "a.example.com"
        assert reader.received.startswith(b"\x16\x03")


class TestCutting:
    @pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_byte_by_byte(self, maximum: ssl.TLSVersion) -> None:
        data = real_hello("api.example.com", ["h2"], maximum)
        assert isinstance(read(data), ClientHello)
        assert read_bytewise(data) == read(data)
        assert read(data[:-1]) is None

    def test_one_byte_per_record(self) -> None:
        content = real_hello("api.example.com", ["h2"])[5:]
        data = records(content, *range(1, len(content)))
        assert read(data) == read(record(content))
        assert read_bytewise(data) == read(record(content))

    @given(st.data())
    def test_any_records_and_any_pieces(self, data: st.DataObject) -> None:
        content = real_hello("api.example.com", ["h2", "http/1.1"])[5:]
        places = st.lists(st.integers(1, len(content) - 1), max_size=6, unique=True)
        stream = records(content, *data.draw(places))
        cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
        edges = [0, *sorted(cuts), len(stream)]
        pieces = [stream[a:b] for a, b in pairwise(edges)]
        assert read(*pieces) == read(record(content))


class TestPlainHttp:
    @pytest.mark.parametrize(
        "data", [b"GET / HTTP/1.1\r\n", b"P", b"PRI * HTTP/2.0\r\n", b"OPTIONS * HTTP/1.1"]
    )
    def test_http(self, data: bytes) -> None:
        assert read(data) is PLAIN_HTTP
        assert read_bytewise(data) == PlainHttp()

    def test_only_as_the_first_bytes(self) -> None:
        content = real_hello()[5:]
        assert alert_of(record(content[:50]) + b"GET / HTTP/1.1") == Alert.UNEXPECTED_MESSAGE


class TestRecords:
    @pytest.mark.parametrize(
        "data", [b"\0", b"get / http", b"\x00\x00\x00\x00\x00", b"\x19", b"\xff\xff\xff", b"{}"]
    )
    def test_garbage(self, data: bytes) -> None:
        assert alert_of(data) == Alert.UNEXPECTED_MESSAGE

    @pytest.mark.parametrize("kind", [20, 21, 23, 24])
    def test_other_record_types(self, kind: int) -> None:
        assert alert_of(record(b"\x01\x00", kind)) == Alert.UNEXPECTED_MESSAGE

    def test_other_record_type_in_the_middle(self) -> None:
        content = real_hello()[5:]
        data = record(content[:50]) + record(b"\x01", 20) + record(content[50:])
        assert alert_of(data) == Alert.UNEXPECTED_MESSAGE

    def test_ssl_2(self) -> None:
        # RFC 6101 appendix E: length, msg_type 1, version 3.0, lengths, then the rest
        sslv2 = bytes.fromhex("802e 01 0300 0015 0000 0010") + bytes(37)
        assert alert_of(sslv2) == Alert.PROTOCOL_VERSION
        assert read(sslv2[:2]) is None

    def test_ssl_2_other_message(self) -> None:
        assert alert_of(bytes.fromhex("802e 02")) == Alert.UNEXPECTED_MESSAGE

    @pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0303, 0x0304, 0x03FF])
    def test_minor_version_of_the_record_is_ignored(self, version: int) -> None:
        assert isinstance(read(record(real_hello()[5:], version=version)), ClientHello)

    @pytest.mark.parametrize("version", [0x0002, 0x0200, 0x0403, 0xFEFD])
    def test_major_version_of_the_record(self, version: int) -> None:
        assert alert_of(record(b"\x01", version=version)) == Alert.PROTOCOL_VERSION

    def test_empty_record(self) -> None:
        assert alert_of(record(b"")) == Alert.UNEXPECTED_MESSAGE
        content = real_hello()[5:]
        assert alert_of(record(content[:50]) + record(b"")) == Alert.UNEXPECTED_MESSAGE

    def test_record_overflow(self) -> None:
        largest = b"\x16\x03\x01" + TLS_RECORD_BYTES.to_bytes(2, "big")
        assert read(largest) is None
        larger = b"\x16\x03\x01" + (TLS_RECORD_BYTES + 1).to_bytes(2, "big")
        assert alert_of(larger) == Alert.RECORD_OVERFLOW

    @pytest.mark.parametrize("kind", [0, 2, 4, 11, 24])
    def test_other_handshake_messages(self, kind: int) -> None:
        assert alert_of(record(message(b"", kind))) == Alert.UNEXPECTED_MESSAGE

    def test_bytes_after_the_hello_in_its_record(self) -> None:
        content = real_hello()[5:]
        assert alert_of(record(content + b"\x14")) == Alert.UNEXPECTED_MESSAGE

    def test_message_over_the_limit_is_refused_by_its_length(self) -> None:
        announced = b"\x01" + CLIENT_HELLO_BYTES.to_bytes(3, "big")
        assert alert_of(record(announced)) == Alert.ILLEGAL_PARAMETER

    def test_many_small_records_over_the_limit(self) -> None:
        announced = b"\x01" + (20_000).to_bytes(3, "big")
        data = record(announced) + record(b"\0") * (CLIENT_HELLO_BYTES // 6)
        result = read(data)
        assert isinstance(result, tuple)
        assert result[1] == Alert.ILLEGAL_PARAMETER

    def test_a_long_hello_within_the_limit(self) -> None:
        content = message(body(server_name(host_name(b"a.example.com")), (0x1234, bytes(60_000))))
        data = records(content, *range(16_000, len(content), 16_000))
        assert parsed(data).server_name == "a.example.com"


class TestBody:
    def test_without_extensions(self) -> None:
        found = parsed(hello())
        assert found == ClientHello(None, ())

    @pytest.mark.parametrize("legacy", [0x0300, 0x0301, 0x0302])
    def test_old_versions(self, legacy: int) -> None:
        assert alert_of(hello(legacy_version=legacy)) == Alert.PROTOCOL_VERSION

    def test_only_old_supported_versions(self) -> None:
        assert alert_of(hello(versions(GREASE, 0x0302, 0x0301))) == Alert.PROTOCOL_VERSION

    def test_legacy_version_above_ours(self) -> None:
        assert parsed(hello(legacy_version=0x0305)) == ClientHello(None, ())

    @pytest.mark.parametrize("offered", [(GREASE, TLS_1_3), (TLS_1_2,), (0x0302, TLS_1_2, GREASE)])
    def test_supported_versions_decide(self, offered: tuple[int, ...]) -> None:
        assert parsed(hello(versions(*offered), legacy_version=0x0301)) == ClientHello(None, ())

    @pytest.mark.parametrize("offered", [(TLS_1_2, TLS_1_3), (TLS_1_3, TLS_1_2), (TLS_1_2,)])
    def test_the_best_version_decides_about_the_key_exchange(
        self, offered: tuple[int, ...]
    ) -> None:
        finite = (10, vector(b"\x01\x00"))
        result = read(hello(versions(*offered), finite))
        if TLS_1_3 in offered:
            assert isinstance(result, tuple)
            assert result[1] == Alert.HANDSHAKE_FAILURE
        else:
            assert isinstance(result, ClientHello)

    def test_grease_is_passed_over(self) -> None:
        found = parsed(
            hello(
                (GREASE, b""),
                server_name(host_name(b"a.example.com")),
                alpn(b"\x3a\x3a", b"h2"),
                versions(GREASE, TLS_1_3),
                signature_algorithms(GREASE, 0x0403),
                (0xDADA, b"\0"),
            )
        )
        assert found.server_name == "a.example.com"
        assert select_alpn(found, ("h2",)) == "h2"

    @pytest.mark.parametrize("kind", [0, 16, 43, 51, 61, 62, 63, 0x1234, 0xFFFF])
    def test_duplicate_extension(self, kind: int) -> None:
        data = {0: server_name(host_name(b"a.b"))[1], 16: alpn(b"h2")[1], 43: versions(0x304)[1]}
        extension = (kind, data.get(kind, b"x"))
        assert alert_of(hello(extension, extension)) == Alert.ILLEGAL_PARAMETER
        between = ((GREASE, b""), (0x0A0A, b""), (1, b""), (60, b""))
        assert read(hello(extension, *between, extension)) == read(hello(extension, extension))

    @given(st.lists(st.integers(64, 0xFFFF) | st.sampled_from([1, 2, 61, 62, 63])))
    def test_a_type_may_come_once(self, kinds: list[int]) -> None:
        result = read(hello(*((kind, b"") for kind in kinds)))
        assert isinstance(result, ClientHello) is (len(set(kinds)) == len(kinds))

    def test_no_null_compression(self) -> None:
        data = record(message(body(compression=b"\1\2")))
        assert alert_of(data) == Alert.ILLEGAL_PARAMETER
        assert isinstance(read(record(message(body(compression=b"\1\0")))), ClientHello)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x03\x03",
            body(session_id=bytes(33)),
            body(cipher_suites=b""),
            body(cipher_suites=b"\x13\x01\x13"),
            body(compression=b""),
            body(end=b"\0"),
            body(end=b"\0\1"),
            body(end=b"\0\4\0\0\0\1"),
            body(versions(TLS_1_3), end=b"\0"),
            body(versions(TLS_1_3))[:-1],
        ],
    )
    def test_malformed(self, content: bytes) -> None:
        assert alert_of(record(message(content))) == Alert.DECODE_ERROR

    @pytest.mark.parametrize(
        "extension",
        [
            (SERVER_NAME, b""),
            (SERVER_NAME, b"\0"),
            (SERVER_NAME, b"\0\0"),
            (SERVER_NAME, vector(host_name(b"a.b")) + b"\0"),
            (SERVER_NAME, vector(host_name(b""))),
            (SERVER_NAME, vector(b"\0\0")),
            (SERVER_NAME, vector(b"\0\0\x09a.b")),
            (ALPN, b""),
            (ALPN, b"\0\0"),
            (ALPN, vector(b"\0")),
            (ALPN, vector(b"\3h2")),
            (ALPN, vector(b"\2h2") + b"\0"),
            (SUPPORTED_VERSIONS, b""),
            (SUPPORTED_VERSIONS, b"\0"),
            (SUPPORTED_VERSIONS, b"\2\3"),
            (SUPPORTED_VERSIONS, b"\3\3\4\3"),
            (SUPPORTED_VERSIONS, b"\4\3\4"),
            (SIGNATURE_ALGORITHMS, b""),
            (SIGNATURE_ALGORITHMS, b"\0\0"),
            (SIGNATURE_ALGORITHMS, b"\0\3\4\3\4"),
            (SIGNATURE_ALGORITHMS, b"\0\4\4\3"),
        ],
    )
    def test_malformed_extension(self, extension: tuple[int, bytes]) -> None:
        assert alert_of(hello(extension)) == Alert.DECODE_ERROR

    def test_every_cut_of_the_body(self) -> None:
        content = real_hello("api.example.com", ["h2"])[9:]
        results = [read(record(message(content[:length]))) for length in range(len(content))]
        # The one that ends before the extensions is a hello of TLS 1.2.
        whole = [result for result in results if isinstance(result, ClientHello)]
        assert whole == [ClientHello(None, ())]
        alerts = {result[1] for result in results if isinstance(result, tuple)}
        assert alerts == {Alert.DECODE_ERROR}
        assert len(whole) + sum(isinstance(r, tuple) for r in results) == len(content)


class TestServerName:
    def test_lower_case(self) -> None:
        assert parsed(hello(server_name(host_name(b"API.Example.COM")))).server_name == (
            "api.example.com"
        )

    def test_a_label(self) -> None:
        name = "xn--bcher-kva.example"
        assert parsed(hello(server_name(host_name(name.encode())))).server_name == name

    def test_several_host_names(self) -> None:
        data = hello(server_name(host_name(b"a.example"), host_name(b"b.example")))
        assert alert_of(data) == Alert.ILLEGAL_PARAMETER

    def test_unknown_name_type_is_passed_over(self) -> None:
        other = b"\x07" + vector(b"\xff\xff")
        data = hello(server_name(other, host_name(b"a.example")))
        assert parsed(data).server_name == "a.example"
        assert parsed(hello(server_name(other))).server_name is None

    @pytest.mark.parametrize(
        "name",
        [
            b"a\0.example.com",
            b"example.com\0",
            "bücher.example".encode(),
            "bücher.example".encode("latin-1"),
            b"example.com.",
            b".example.com",
            b"a..b",
            b"*.example.com",
            b"127.0.0.1",
            b"::1",
            b"[::1]",
            b"a b",
            b"a/b",
            b"a:443",
            b"a\r\nHost: b",
            b"a" * 64 + b".example",
            b"a." * 127 + b"example",
        ],
    )
    def test_no_host_name(self, name: bytes) -> None:
        assert alert_of(hello(server_name(host_name(name)))) == Alert.ILLEGAL_PARAMETER


class TestSelectAlpn:
    def offer(self, *names: bytes) -> ClientHello:
        return parsed(hello(alpn(*names)) if names else hello())

    def test_the_first_of_ours_that_is_offered(self) -> None:
        assert select_alpn(self.offer(b"http/1.1", b"h2"), ("h2", "http/1.1")) == "h2"
        assert select_alpn(self.offer(b"http/1.1"), ("h2", "http/1.1")) == "http/1.1"
        assert select_alpn(self.offer(b"spdy/3", b"h2"), ("http/1.1", "h2")) == "h2"

    def test_no_negotiation(self) -> None:
        assert select_alpn(self.offer(), ("h2", "http/1.1")) is None

    def test_nothing_in_common(self) -> None:
        with pytest.raises(ClientHelloError, match=r"'ftp'; spoken here: h2, http/1\.1") as caught:
            select_alpn(self.offer(b"ftp"), ("h2", "http/1.1"))
        assert caught.value.alert == Alert.NO_APPLICATION_PROTOCOL

    def test_the_message_does_not_repeat_everything(self) -> None:
        with pytest.raises(ClientHelloError, match="'p4' and 95 more"):
            select_alpn(self.offer(*(b"p%d" % i for i in range(100))), ("h2",))


class TestAnyBytes:
    @given(st.binary(max_size=200))
    def test_random_streams(self, data: bytes) -> None:
        assert read_bytewise(data) == read(data)

    @given(st.binary(max_size=300))
    def test_random_bodies(self, data: bytes) -> None:
        whole = record(message(data))
        assert read_bytewise(whole) == read(whole)

    @given(
        st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
        st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4),
    )
    def test_mutated_hellos(self, maximum: ssl.TLSVersion, changes: list[tuple[int, int]]) -> None:
        data = bytearray(real_hello("api.example.com", ["h2", "http/1.1"], maximum))
        for place, value in changes:
            data[place % len(data)] = value
        whole = bytes(data)
        assert read_bytewise(whole) == read(whole)

    @given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4))
    def test_openssl_reads_the_same_name(
        self, ecdsa_pair: PemPair, changes: list[tuple[int, int]]
    ) -> None:
        data = bytearray(real_hello("api.example.com"))
        for place, value in changes:
            data[place % len(data)] = value
        result = read(bytes(data))
        assume(isinstance(result, ClientHello))
        assert isinstance(result, ClientHello)
        names: list[str | None] = []
        context = make_context(TlsOptions())
        load_pair_into(context, ecdsa_pair)
        context.sni_callback = lambda tls, name, context: names.append(name)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(data)
        with pytest.raises(ssl.SSLError):  # it wants more, or finds fault with something else
            context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
        assert [name.lower() if name else None for name in names] in ([], [result.server_name])

    @given(st.lists(st.tuples(st.sampled_from([0, 13, 16, 43, 7]), st.binary(max_size=40))))
    def test_random_extensions(self, extensions: list[tuple[int, bytes]]) -> None:
        whole = hello(*extensions)
        assert read_bytewise(whole) == read(whole)
