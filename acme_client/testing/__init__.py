"""An ACME CA for tests: in this process, with a clock to move and faults to order.

What :mod:`acme_client.testing.ca` gives a test is a CA that speaks RFC 8555 (with RFC 8737, 8738
and 9773, profiles, external accounts and dns-persist-01) over HTTPS on loopback, as strictly as a
real one. A request's way through it::

    server, adapter   HTTPS in a thread, or requests' transport without a socket
    responder         routes, faults, JWS, nonces, records
    accounts, orders, certificates   the resources, one function each
    state, objects    what the CA knows; brought up to date from the clock when looked at
    validation        http-01, tls-alpn-01, dns-01, dns-persist-01, asked of the test's servers
    pki               roots, intermediate, leaves, and leaves with a fault

Three things make time and trouble a test's own: :class:`Clock` (all of the CA's dates come from
it), :class:`Faults` (what shall go wrong, where, how often) and :class:`Settings`.
"""

from acme_client.testing.ca import AcmeCA
from acme_client.testing.clock import Clock
from acme_client.testing.faults import (
    BadCertificate,
    CutBody,
    Delay,
    Disconnect,
    FailOrder,
    FailValidation,
    Faults,
    HangValidation,
    Pad,
    PassValidation,
    Redirect,
    Refuse,
    ReplaceBody,
    Rewrite,
    SetHeader,
    StuckOrder,
    account_unknown,
    already_replaced,
    bad_nonce,
    rate_limited,
    server_error,
)
from acme_client.testing.identifiers import Identifier
from acme_client.testing.limits import Limit, RateLimits
from acme_client.testing.objects import (
    Account,
    Authorization,
    Certificate,
    Challenge,
    Order,
    Status,
)
from acme_client.testing.pki import DEFECTS, Defect
from acme_client.testing.problems import Problem
from acme_client.testing.records import Record, Records
from acme_client.testing.settings import Profile, Settings
from acme_client.testing.wire import Endpoint, Reply, Request

__all__ = [
    "AcmeCA",
    "Clock",
    "Settings",
    "Profile",
    "Faults",
    "Refuse",
    "Redirect",
    "Disconnect",
    "StuckOrder",
    "FailOrder",
    "BadCertificate",
    "FailValidation",
    "PassValidation",
    "HangValidation",
    "Delay",
    "Rewrite",
    "SetHeader",
    "ReplaceBody",
    "CutBody",
    "Pad",
    "rate_limited",
    "server_error",
    "bad_nonce",
    "already_replaced",
    "account_unknown",
    "Account",
    "Order",
    "Authorization",
    "Challenge",
    "Certificate",
    "Identifier",
    "Status",
    "Problem",
    "Record",
    "Records",
    "Request",
    "Reply",
    "Endpoint",
    "RateLimits",
    "Limit",
    "Defect",
    "DEFECTS",
]
