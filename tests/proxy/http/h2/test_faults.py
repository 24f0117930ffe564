"""Error codes and the two kinds of fault."""

from __future__ import annotations

from proxy.errors import ProtocolError
from proxy.http.h2.faults import ConnectionFault, ErrorCode, StreamFault, malformed


def test_codes_are_those_of_the_rfc() -> None:
    assert [code.value for code in ErrorCode] == list(range(14))
    assert ErrorCode(0xB).name == "ENHANCE_YOUR_CALM"


def test_faults_are_protocol_errors_and_say_why() -> None:
    for fault in (
        ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "too short"),
        StreamFault(ErrorCode.FRAME_SIZE_ERROR, "too short"),
    ):
        assert isinstance(fault, ProtocolError)
        assert (fault.code, fault.reason, str(fault)) == (6, "too short", "too short")


def test_malformed_is_a_stream_error() -> None:
    fault = malformed("no :path")
    assert isinstance(fault, StreamFault)
    assert fault.code == ErrorCode.PROTOCOL_ERROR
