"""proxy.tls.alerts"""

from __future__ import annotations

import ssl

import pytest

from proxy.tls.alerts import Alert, alert_record


def test_record_layout() -> None:
    assert alert_record(Alert.UNRECOGNIZED_NAME) == bytes.fromhex("15 0303 0002 02 70")


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (Alert.UNEXPECTED_MESSAGE, "unexpected message"),
        (Alert.RECORD_OVERFLOW, "record overflow"),
        (Alert.HANDSHAKE_FAILURE, "handshake failure"),
        (Alert.ILLEGAL_PARAMETER, "illegal parameter"),
        (Alert.DECODE_ERROR, "decode error"),
        (Alert.PROTOCOL_VERSION, "protocol version"),
        (Alert.INTERNAL_ERROR, "internal error"),
        (Alert.UNRECOGNIZED_NAME, "unrecognized name"),
        (Alert.NO_APPLICATION_PROTOCOL, "no application protocol"),
    ],
)
def test_openssl_reads_the_alert_by_its_name(alert: Alert, reason: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()

    incoming.write(alert_record(alert))

    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    # Python has no symbol for the newer ones, but always the text.
    assert reason in str(caught.value)
