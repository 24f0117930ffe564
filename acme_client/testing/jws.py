"""JSON Web Signatures as ACME restricts them (RFC 8555 §6.2), checked to the letter.

``parse`` reads the flattened serialization, ``check_signature`` proves it. What the fields mean
(nonce, URL, account) is for the responder. A lenient test CA would let a client pass that a real
one refuses, so everything the RFC forbids is refused here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

import josepy.errors
from josepy.jwa import JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from acme_client.testing.problems import Problem, malformed

SIGNATURE_ALGORITHMS = ("ES256", "ES384", "RS256")
MAC_ALGORITHMS = ("HS256", "HS384", "HS512")

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1"}


@dataclass(frozen=True, slots=True)
class Jws:
    header: dict[str, Any]
    payload: bytes
    signature: bytes
    signed: bytes
    """The signing input (RFC 7515 §5.1)."""

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])

    def object(self) -> dict[str, Any]:
        """The payload as a JSON object."""
        try:
            value = json.loads(self.payload)
        except ValueError:
            raise malformed("the payload is not JSON") from None
        if not isinstance(value, dict):
            raise malformed("the payload is not a JSON object")
        return value


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: Any, what: str) -> bytes:
    # RFC 8555 §6.1: with padding or a foreign character, the message is malformed.
    if not isinstance(text, str) or not _BASE64URL.match(text):
        raise malformed(f"{what} is not base64url without padding")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise malformed(f"{what} is not base64url without padding") from None


def parse(
    message: Any,
    *,
    algorithms: tuple[str, ...] = SIGNATURE_ALGORITHMS,
    nonce: bool = True,
) -> Jws:
    """Read a flattened JWS from its JSON value; ``nonce`` says whether one must (not) be there."""
    if not isinstance(message, dict):
        raise malformed("the JWS is not a JSON object")
    # RFC 8555 §6.2: no unprotected header, and exactly one signature.
    if "header" in message:
        raise malformed("the JWS has an unprotected header")
    if "signatures" in message:
        raise malformed("the JWS must be in the flattened form, with one signature")
    protected = message.get("protected")
    payload = message.get("payload")
    header_bytes = decode(protected, "the protected header")
    try:
        header = json.loads(header_bytes)
    except ValueError:
        raise malformed("the protected header is not JSON") from None
    if not isinstance(header, dict):
        raise malformed("the protected header is not a JSON object")
    for forbidden in ("b64", "crit"):
        if forbidden in header:
            raise malformed(f"the protected header may not have {forbidden!r}")
    if header.get("alg") not in algorithms:
        raise Problem(
            "badSignatureAlgorithm",
            f"the algorithm {header.get('alg')!r} is not one of {', '.join(algorithms)}",
            extra={"algorithms": list(algorithms)},
        )
    if nonce and "nonce" not in header:
        raise malformed("the protected header has no nonce")
    if nonce:
        # RFC 8555 §6.5.2: a nonce that is no base64url is malformed, not a badNonce.
        decode(header["nonce"], "the nonce")
    if not nonce and "nonce" in header:
        raise malformed("this inner JWS may not have a nonce")
    if not isinstance(header.get("url"), str):
        raise malformed("the protected header has no url")
    if ("jwk" in header) == ("kid" in header):
        raise malformed("the protected header needs exactly one of jwk and kid")
    return Jws(
        header=header,
        payload=decode(payload, "the payload"),
        signature=decode(message.get("signature"), "the signature"),
        signed=f"{protected}.{payload}".encode(),
    )


def public_key(value: Any) -> JWK:
    """The ``jwk`` of a header: a public key that is strong enough."""
    if not isinstance(value, dict):
        raise malformed("the jwk is not a JSON object")
    if "d" in value or "k" in value:
        raise malformed("the jwk holds a private or symmetric key")
    try:
        key = read_key(value)
    except (josepy.errors.Error, ValueError, TypeError, KeyError) as error:
        raise Problem("badPublicKey", f"the jwk cannot be read: {error}") from None
    check_key(key)
    return key


def read_key(value: dict[str, Any]) -> JWK:
    key = JWK.from_json(value)
    assert isinstance(key, JWK)
    return key


def check_key(key: JWK) -> None:
    match key:
        case JWKRSA():
            if not 2048 <= key.key.key_size <= 4096:
                raise Problem(
                    "badPublicKey", f"RSA keys have 2048 to 4096 bits, not {key.key.key_size}"
                )
        case JWKEC():
            if key.key.curve.name not in _CURVES.values():
                raise Problem("badPublicKey", "elliptic curve keys are P-256 or P-384")
        case _:
            raise Problem("badPublicKey", "keys are P-256, P-384 or RSA")


def check_signature(jws: Jws, key: JWK) -> None:
    match key:
        case JWKRSA():
            fits = jws.algorithm == "RS256"
        case JWKEC():
            fits = key.key.curve.name == _CURVES.get(jws.algorithm)
        case _:
            fits = False
    if not fits:
        raise malformed(f"the key does not fit the algorithm {jws.algorithm}")
    if not JWASignature.from_json(jws.algorithm).verify(key.key, jws.signed, jws.signature):
        raise malformed("the signature does not verify")


def check_mac(jws: Jws, secret: bytes) -> bool:
    return JWASignature.from_json(jws.algorithm).verify(secret, jws.signed, jws.signature)


def thumbprint(key: JWK) -> str:
    """RFC 7638, as RFC 8555 §8.1 uses it."""
    return encode(key.thumbprint())
