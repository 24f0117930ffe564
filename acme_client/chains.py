"""Which of the chains a CA offers for one certificate (RFC 8555 §7.4.2; pure)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.x509.oid import NameOID

from acme_client.checks import parse_chain


def leads_to(chain_pem: str, common_name: str) -> bool:
    """Whether the topmost certificate is issued by (or is) this root."""
    issuer = parse_chain(chain_pem)[-1].issuer
    return any(
        attribute.value == common_name
        for attribute in issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    )


def choose_chain(chains: Sequence[str], preferred: str | None) -> str:
    """The first that leads to the preferred root, else the first: the CA's own choice."""
    if preferred is not None:
        for chain_pem in chains:
            if leads_to(chain_pem, preferred):
                return chain_pem
    return chains[0]
