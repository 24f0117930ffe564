"""The registered domain of a name, roughly (pure).

CAs count certificates per registered domain, by the Public Suffix List: ``example.co.uk`` and not
``co.uk``. The list has ten thousand entries and changes weekly; a ledger that only wants to avoid
hopeless orders does well with a rule of thumb that errs to the finer side: two domains counted
apart that the CA counts together cost one refusal, which is obeyed; two counted together that the
CA counts apart would hold an order back for nothing.
"""

from __future__ import annotations

from acme_client.names import ip_address

SECOND_LEVEL = frozenset(
    "ac co com edu gob gov go gouv govt id info int ltd mil mod ne net nhs nom or org plc police "
    "sch school web asso".split()
)
"""Labels under which country registries sell names."""

SHARED = frozenset(
    "github.io gitlab.io pages.dev workers.dev vercel.app netlify.app herokuapp.com web.app "
    "firebaseapp.com azurewebsites.net cloudapp.net cloudfront.net amazonaws.com appspot.com "
    "run.app fly.dev onrender.com duckdns.org dyndns.org no-ip.org ddns.net hopto.org "
    "nip.io sslip.io ngrok.io ngrok.app readthedocs.io blogspot.com eu.org".split()
)
"""Domains whose subdomains belong to different people."""


def registered_domain(name: str) -> str:
    """What a CA counts certificates of this name under."""
    if (address := ip_address(name)) is not None:
        return str(address)
    labels = name.removeprefix("*.").split(".")
    if len(labels) <= 2:
        return ".".join(labels)
    country_suffix = len(labels[-1]) == 2 and labels[-2] in SECOND_LEVEL
    shared = ".".join(labels[-2:]) in SHARED
    return ".".join(labels[-3:] if country_suffix or shared else labels[-2:])
