"""The keys, read from the model."""

from __future__ import annotations

from dataclasses import fields

from proxy.config.model import Config, Route
from proxy.config.schema import annotation_at, is_list, keys_of, leaves, written
from proxy.limits import Limits


def test_every_key_is_found_once() -> None:
    found = list(leaves())
    assert len(found) == len(set(found))
    assert ("storage",) in found
    assert ("acme", "email") in found
    assert ("sites",) in found
    assert [key[1] for key in found if key[0] == "limits"] == [f.name for f in fields(Limits)]
    assert {key[0] for key in found} == set(Config.model_fields)


def test_keys_inside_lists_of_tables() -> None:
    assert set(keys_of(annotation_at(("sites", 0, "routes", 3)))) == set(Route.model_fields)
    assert keys_of(annotation_at(("workers",))) == {}
    assert annotation_at(("sites", 0, "nonsense")) is None
    assert is_list(annotation_at(("listen", "https")))
    assert not is_list(annotation_at(("http",)))


def test_a_key_as_written() -> None:
    assert written(("sites", 0, "names", 1)) == "sites[0].names[1]"
    assert written(()) == ""
