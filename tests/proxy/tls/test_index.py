"""proxy.tls.index"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.tls.index import CertificateIndex
from proxy.tls.names import covers, is_wildcard


def test_exact_beats_wildcard_beats_default() -> None:
    index = CertificateIndex[str](default="default", default_for_unknown=True)
    index.set(["*.example.com"], "wildcard")
    index.set(["a.example.com"], "exact")

    assert index.lookup("a.example.com") == "exact"
    assert index.lookup("b.example.com") == "wildcard"
    assert index.lookup("example.com") == "default"
    assert index.lookup("a.b.example.com") == "default"
    assert index.lookup(None) == "default"


def test_default_is_not_for_unknown_names_unless_so_configured() -> None:
    index = CertificateIndex[str](default="default")

    assert index.lookup(None) == "default"
    assert index.lookup("unknown.example") is None


def test_without_default_there_is_nothing_for_clients_without_a_name() -> None:
    index = CertificateIndex[str](default_for_unknown=True)
    index.set(["a.example.com"], "a")

    assert index.lookup(None) is None
    assert index.lookup("unknown.example") is None


def test_a_name_of_one_label_is_under_no_wildcard() -> None:
    index = CertificateIndex[str]()
    index.set(["*.localhost"], "wildcard")

    assert index.lookup("localhost") is None
    assert index.lookup("app.localhost") == "wildcard"


def test_set_replaces() -> None:
    index = CertificateIndex[str]()
    index.set(["a.example.com", "*.example.com"], "old")
    before = index.lookup("a.example.com")

    index.set(["a.example.com", "*.example.com"], "new")

    assert before == "old"
    assert index.lookup("a.example.com") == "new"
    assert index.lookup("b.example.com") == "new"
    assert len(index) == 2


def test_remove() -> None:
    index = CertificateIndex[str]()
    index.set(["a.example.com", "*.example.com"], "entry")

    index.remove(["a.example.com", "never.example.com"])
    assert index.lookup("a.example.com") == "entry"  # by the wildcard

    index.remove(["*.example.com", "*.never.example.com"])
    assert index.lookup("a.example.com") is None
    assert len(index) == 0


def test_repr_states_the_condition() -> None:
    index = CertificateIndex[str]()
    index.set(["a.example.com", "b.example.com", "*.example.com"], "entry")
    assert repr(index) == "<CertificateIndex 2 names, 1 wildcards, no default>"
    index.default = "entry"
    assert repr(index) == "<CertificateIndex 2 names, 1 wildcards, a default>"


labels = st.sampled_from(["a", "b", "com"])
hosts = st.lists(labels, min_size=1, max_size=4).map(".".join)
patterns = st.one_of(hosts, hosts.map("*.{}".format))


@given(st.lists(patterns, unique=True), hosts)
def test_agrees_with_covers(configured: list[str], name: str) -> None:
    index = CertificateIndex[str]()
    for pattern in configured:
        index.set([pattern], pattern)

    found = index.lookup(name)

    matching = [pattern for pattern in configured if covers(pattern, name)]
    matching.sort(key=is_wildcard)
    assert found == (matching[0] if matching else None)
