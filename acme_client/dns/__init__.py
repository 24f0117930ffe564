"""DNS-01 and DNS-PERSIST-01: proving control of a name by a record in its zone.

The way of a DNS-01 answer, module by module::

    solver        one challenge from alias to clean-up; what certificate requests are given
    lookup        asking DNS: aliases, zones, authoritative servers     (needs dnspython)
    provider      what a provider is: present and clean_up
      rfc2136       DNS UPDATE with TSIG                                (needs dnspython)
      lexicon       the services of dns-lexicon                         (needs dns-lexicon)
      command       any script
    propagation   waiting until every server of the zone has the record
    credentials   secrets from the environment or files, never shown
    configure     from configuration values to a solver
    persist       DNS-PERSIST-01: the record to set, and a verdict on what is there

dnspython and dns-lexicon are extras (``vestibule[dns]``, ``vestibule[lexicon]``); the modules that
need them say so when they are imported, and nothing else imports them before they are used.
"""

from __future__ import annotations

from acme_client.dns.addresses import ServerAddress
from acme_client.dns.command import CommandProvider
from acme_client.dns.configure import PROVIDERS, DnsSettings, build_solver
from acme_client.dns.credentials import Credentials, Secrets
from acme_client.dns.extras import MissingExtra
from acme_client.dns.persist import PersistRecord, Verdict, judge, parse_record, verify
from acme_client.dns.provider import DnsProvider, DnsSolver, in_thread
from acme_client.dns.solver import Dns01Solver, challenge_name

__all__ = [
    "DnsSettings",
    "build_solver",
    "PROVIDERS",
    "Dns01Solver",
    "DnsSolver",
    "DnsProvider",
    "in_thread",
    "challenge_name",
    "CommandProvider",
    "Credentials",
    "Secrets",
    "ServerAddress",
    "PersistRecord",
    "parse_record",
    "judge",
    "verify",
    "Verdict",
    "MissingExtra",
]
