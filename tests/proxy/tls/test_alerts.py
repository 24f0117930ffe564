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
        (Alert.UNEXPECTED_MESSAGE, "UNEXPECTED_MESSAGE"),
        (Alert.RECORD_OVERFLOW, "RECORD_OVERFLOW"),
        (Alert.HANDSHAKE_FAILURE, "HANDSHAKE_FAILURE"),
        (Alert.ILLEGAL_PARAMETER, "ILLEGAL_PARAMETER"),
        (Alert.DECODE_ERROR, "DECODE_ERROR"),
        (Alert.PROTOCOL_VERSION, "PROTOCOL_VERSION"),
        (Alert.INTERNAL_ERROR, "INTERNAL_ERROR"),
        (Alert.UNRECOGNIZED_NAME, "UNRECOGNIZED_NAME"),
        (Alert.NO_APPLICATION_PROTOCOL, "NO_APPLICATION_PROTOCOL"),
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
    assert caught.value.reason.endswith(f"ALERT_{reason}")
