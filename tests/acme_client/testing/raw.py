"""An ACME client as bare as can be, which also says what no decent client says."""

from __future__ import annotations

import json
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwa import ES256, HS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from acme_client.testing import AcmeCA
from acme_client.testing.jws import encode

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> JWKEC:
    return JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


def public_json(key: JWK) -> dict[str, Any]:
    value = key.public_key().to_json()
    assert isinstance(value, dict)
    return value


def sign(
    header: dict[str, Any], payload: bytes, key: JWK, algorithm: JWASignature = ES256
) -> dict[str, Any]:
    protected = encode(json.dumps(header).encode())
    body = encode(payload)
    signature = algorithm.sign(key.key, f"{protected}.{body}".encode())
    return {"protected": protected, "payload": body, "signature": encode(signature)}


def mac(header: dict[str, Any], payload: bytes, secret: bytes) -> dict[str, Any]:
    protected = encode(json.dumps(header).encode())
    body = encode(payload)
    signature = HS256.sign(secret, f"{protected}.{body}".encode())
    return {"protected": protected, "payload": body, "signature": encode(signature)}


def make_csr(*names: str, key: PrivateKey | None = None, common_name: str | None = None) -> str:
    """A CSR as ``finalize`` takes it; names that look like addresses become addresses."""
    return encode(
        build_csr(*names, key=key, common_name=common_name).public_bytes(serialization.Encoding.DER)
    )


def build_csr(
    *names: str, key: PrivateKey | None = None, common_name: str | None = None
) -> x509.CertificateSigningRequest:
    import ipaddress

    subject = [] if common_name is None else [common_name]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text) for text in subject])
    )
    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


class RawClient:
    """Signs with one key; every part of a message can be overridden."""

    def __init__(self, ca: AcmeCA, *, key: JWK | None = None, sockets: bool = False) -> None:
        self.ca = ca
        self.key = key or new_key()
        self.algorithm: JWASignature = (
            JWASignature.from_json("RS256") if isinstance(self.key, JWKRSA) else ES256
        )
        self.account_url: str | None = None
        self.session = requests.Session()
        self.session.trust_env = False
        if sockets:
            self.session.verify = str(ca.trust_file)
        else:
            self.session.mount("https://", ca.adapter())

    def url(self, path: str) -> str:
        return path if path.startswith("http") else self.ca.base_url + path

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url(path), timeout=10, **options)

    def nonce(self) -> str:
        answer = self.session.head(self.url("/new-nonce"), timeout=10)
        return str(answer.headers["Replay-Nonce"])

    def header(self, url: str, **overrides: Any) -> dict[str, Any]:
        header: dict[str, Any] = {"alg": self.algorithm.name, "url": url}
        if "nonce" not in overrides:
            header["nonce"] = self.nonce()
        if self.account_url is None:
            header["jwk"] = public_json(self.key)
        else:
            header["kid"] = self.account_url
        header.update(overrides)
        return {name: value for name, value in header.items() if value is not None}

    def post(
        self,
        path: str,
        payload: Any = None,
        *,
        key: JWK | None = None,
        content_type: str = "application/jose+json",
        **overrides: Any,
    ) -> requests.Response:
        """``payload=None`` is POST-as-GET; ``overrides`` change header members."""
        url = self.url(path)
        body = b"" if payload is None else json.dumps(payload).encode()
        message = sign(self.header(url, **overrides), body, key or self.key, self.algorithm)
        return self.send(url, message, content_type=content_type)

    def send(
        self, path: str, message: Any, *, content_type: str = "application/jose+json"
    ) -> requests.Response:
        return self.session.post(
            self.url(path),
            data=message if isinstance(message, bytes) else json.dumps(message),
            headers={"Content-Type": content_type},
            timeout=10,
            allow_redirects=False,
        )

    # -- steps that usually succeed

    def register(self, **payload: Any) -> requests.Response:
        answer = self.post("/new-account", {"termsOfServiceAgreed": True, **payload})
        if answer.ok:
            self.account_url = answer.headers["Location"]
        return answer

    def order(self, *names: str, **members: Any) -> requests.Response:
        identifiers = [{"type": _type(name), "value": name} for name in names]
        return self.post("/new-order", {"identifiers": identifiers, **members})

    def authorize(self, order: requests.Response, kind: str = "http-01") -> None:
        for url in order.json()["authorizations"]:
            authorization = self.post(url).json()
            if authorization["status"] == "pending":
                self.answer(authorization, kind)

    def answer(self, authorization: dict[str, Any], kind: str = "http-01") -> requests.Response:
        return self.post(challenge_of(authorization, kind)["url"], {})

    def ready_order(self, *names: str, **members: Any) -> requests.Response:
        order = self.order(*names, **members)
        assert order.status_code == 201, order.text
        wildcard = any(name.startswith("*.") for name in names)
        self.authorize(order, "dns-01" if wildcard else "http-01")
        return order

    def issue(self, *names: str, key: PrivateKey | None = None, **members: Any) -> bytes:
        """The whole way to a certificate chain in PEM."""
        order = self.ready_order(*names, **members)
        csr = make_csr(*names, key=key)
        finalized = self.post(order.json()["finalize"], {"csr": csr})
        assert finalized.status_code == 200, finalized.text
        downloaded = self.post(finalized.json()["certificate"])
        assert downloaded.status_code == 200, downloaded.text
        return downloaded.content


def challenge_of(authorization: dict[str, Any], kind: str) -> dict[str, Any]:
    (challenge,) = [c for c in authorization["challenges"] if c["type"] == kind]
    assert isinstance(challenge, dict)
    return challenge


def problem_type(answer: requests.Response) -> str:
    """The type of a problem document, without its prefix."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    kind = document["type"]
    assert kind.startswith("urn:ietf:params:acme:error:")
    return str(kind).removeprefix("urn:ietf:params:acme:error:")


def _type(name: str) -> str:
    bare = name.replace(".", "").replace(":", "")
    return "ip" if bare.isdigit() or ":" in name else "dns"
