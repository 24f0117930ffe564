"""The certificate signing request (RFC 2986, RFC 8555 §7.4; pure)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from acme_client.keys import CertificateKey
from acme_client.names import ip_address


def make_csr(names: tuple[str, ...], key: CertificateKey) -> x509.CertificateSigningRequest:
    """A request for exactly these names. The subject stays empty: only alternative names count."""
    san: list[x509.GeneralName] = []
    for name in names:
        address = ip_address(name)
        san.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(san), critical=False)
        .sign(key, hashes.SHA256())
    )
