"""The chains that a CA offers for one certificate (RFC 8555 §7.4.2, §9.1; pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography.x509.oid import NameOID

from acme_client.checks import parse_chain
from acme_client.errors import BadCertificate

_BLOCK = re.compile(r"-----BEGIN ([^-]*)-----")


def check_download(chain_pem: str) -> None:
    """Refuse a download that holds anything besides certificates (RFC 8555 §9.1: MUST)."""
    if others := sorted(set(_BLOCK.findall(chain_pem)) - {"CERTIFICATE"}):
        raise BadCertificate(f"the CA sent {', '.join(others)[:100]} among the certificates")


def leads_to(chain_pem: str, common_name: str) -> bool:
    """Whether the topmost certificate is issued by (or is) this root."""
    return common_name in root_names(chain_pem)


def root_names(chain_pem: str) -> list[str]:
    """What a wish may call the root that a chain leads to: as a rule one name."""
    issuer = parse_chain(chain_pem)[-1].issuer
    return [str(found.value) for found in issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]


def choose_chain(chains: Sequence[str], preferred: str | None) -> str:
    """The first that leads to the preferred root, else the first: the CA's own choice."""
    if preferred is not None:
        for chain_pem in chains:
            if leads_to(chain_pem, preferred):
                return chain_pem
    return chains[0]
