"""Accounts: made once, kept, recovered, renewed."""

from __future__ import annotations

from typing import Any

import pytest

from acme_client.account import AccountKeeper, AccountRecord, directory_slug
from acme_client.authority import Authority
from acme_client.errors import (
    AccountUnknown,
    IssuerUnreachable,
    RequestError,
)
from acme_client.keys import fingerprint, key_to_pem
from acme_client.testing import Disconnect
from tests.acme_client.simulation import Simulation
from tests.acme_client.support import any_key

CONTACT = ("mailto:ops@example.com",)


def keeper(
    simulation: Simulation, contact: tuple[str, ...] = CONTACT
) -> tuple[AccountKeeper, Authority]:
    """As a new process has it."""
    authority = simulation.authority()
    store = simulation.environment.store
    return AccountKeeper(store, authority, contact=contact, external=None), authority


def key_of(authority: Authority) -> str:
    assert authority.credentials is not None
    return fingerprint(authority.credentials.key.public_key())


def test_one_account_for_ever(simulation: Simulation) -> None:
    first, authority = keeper(simulation)
    assert not first.exists()
    assert not first.is_open()
    first.open()
    assert first.exists()
    assert first.is_open()
    second, again = keeper(simulation)
    second.open()
    assert key_of(again) == key_of(authority)
    assert simulation.ca.requests.count("newAccount") == 1


def test_a_crash_while_registering_costs_no_account(simulation: Simulation) -> None:
    simulation.ca.faults.add(Disconnect(after=True), at="newAccount")
    with pytest.raises(IssuerUnreachable):
        keeper(simulation)[0].open()
    keeper(simulation)[0].open()
    assert len(simulation.ca.accounts) == 1


def test_a_new_address_is_told(simulation: Simulation) -> None:
    keeper(simulation)[0].open()
    changed, _ = keeper(simulation, ("mailto:new@example.com",))
    changed.open()
    assert changed.is_open()
    [account] = simulation.ca.accounts
    assert account.contact == ("mailto:new@example.com",)
    keeper(simulation, ("mailto:new@example.com",))[0].open()
    assert simulation.ca.requests.count("account") == 1


def test_an_unknown_account_is_archived_and_replaced(
    simulation: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    first, authority = keeper(simulation)
    first.open()
    old = key_of(authority)
    simulation.ca.forget_accounts()
    first.replace_unknown(simulation.clock.now())
    assert key_of(authority) != old
    assert "is archived as" in caplog.text
    [archived] = simulation.environment.store.document_names("accounts-archive")
    document = simulation.environment.store.load_document(archived)
    assert document is not None
    record = AccountRecord.from_json(document)
    assert fingerprint(record.key.public_key()) == old


def test_key_roll_over(simulation: Simulation) -> None:
    first, authority = keeper(simulation)
    first.open()
    old = key_of(authority)
    first.roll_over()
    assert key_of(authority) != old
    second, again = keeper(simulation)
    second.open()
    assert key_of(again) == key_of(authority)
    again.update_contact([])  # the CA takes its signature
    assert len(simulation.ca.accounts) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_in_a_roll_over_ends_with_the_key_that_the_ca_knows(
    simulation: Simulation, after: bool
) -> None:
    first, authority = keeper(simulation)
    first.open()
    old = key_of(authority)
    simulation.ca.faults.add(Disconnect(after=after), at="keyChange")
    with pytest.raises(IssuerUnreachable):
        first.roll_over()
    second, again = keeper(simulation)
    second.open()
    assert (key_of(again) != old) is after
    again.update_contact([])
    second.roll_over()
    again.update_contact([])


def test_a_roll_over_by_another_process_is_noticed(simulation: Simulation) -> None:
    first, authority = keeper(simulation)
    first.open()
    other, _ = keeper(simulation)
    other.open()
    other.roll_over()
    assert not first.is_open()
    first.open()
    authority.update_contact([])


def test_recovery_by_key(simulation: Simulation) -> None:
    key = any_key(9)
    url = simulation.authority().register(key, ["mailto:old@example.com"], None).url
    first, authority = keeper(simulation)
    first.recover(key_to_pem(key))
    assert authority.credentials is not None
    assert authority.credentials.url == url
    assert simulation.ca.accounts[0].contact == CONTACT
    with pytest.raises(AccountUnknown):
        first.recover(key_to_pem(any_key(8)))
    assert first.is_open()


def test_deactivation(simulation: Simulation) -> None:
    first, authority = keeper(simulation)
    first.open()
    first.deactivate()
    assert simulation.ca.accounts[0].status == "deactivated"
    assert not first.exists()
    assert not first.is_open()
    assert authority.credentials is None


def test_without_an_account_there_is_nothing_to_change(simulation: Simulation) -> None:
    first, _ = keeper(simulation)
    with pytest.raises(RequestError, match="no account"):
        first.roll_over()
    with pytest.raises(RequestError, match="no account"):
        first.deactivate()


@pytest.mark.parametrize("change", [{"url": None, "contact": None}, {"key_pem": "no key"}])
def test_a_damaged_account_is_put_aside_and_another_registered(
    simulation: Simulation, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = keeper(simulation)
    first.open()
    store = simulation.environment.store
    [name] = store.document_names("accounts")
    store.save_document(name, {**(store.load_document(name) or {}), **change})
    again, _ = keeper(simulation)
    again.open()
    assert again.is_open()
    assert len(simulation.ca.accounts) == 2
    assert "is damaged" in caplog.text


def test_slugs_are_readable_and_differ() -> None:
    one = directory_slug("https://ca.example/directory")
    assert one.startswith("ca.example-")
    assert one != directory_slug("https://ca.example/other")
    assert "/" not in directory_slug("https://[2001:db8::1]/dir")
    assert ":" not in directory_slug("https://[2001:db8::1]/dir")


def test_the_key_is_in_no_repr(simulation: Simulation) -> None:
    first, authority = keeper(simulation)
    first.open()
    assert "PRIVATE" not in repr(first._load())
    assert "key" not in repr(authority.credentials)
