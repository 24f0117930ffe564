"""The configurations that we ship are right, and full.toml leaves nothing out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxy.config.load import load
from proxy.config.model import Config, HealthCheck, Route, Site
from proxy.config.schema import annotation_at, keys_of

CONFIGS = Path(__file__).parent.parent / "configs"

REQUIRED = {("sites",), ("sites", "names"), ("sites", "routes", "path")}
EXAMPLES = {("sites", "upstreams"), ("sites", "app"), ("sites", "routes")}
"""Keys whose value in full.toml is not the default: a site without them would be none."""


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_it_loads(file: Path) -> None:
    loaded = load(environ={}, folder=Path("/"), file=file)
    assert loaded.file == file
    assert loaded.config.sites


def test_pebble_is_told_the_ports_of_its_configuration() -> None:
    config = load(environ={}, folder=Path("/"), file=CONFIGS / "pebble.toml").config
    pebble = (CONFIGS / "pebble.json").read_text()
    assert f'"httpPort": {config.listen.http[0].port}' in pebble
    assert '"listenAddress": "127.0.0.1:14000"' in pebble
    assert config.acme.directory == "https://localhost:14000/dir"


def full(*, uncommented: bool) -> dict[str, Any]:
    text = (CONFIGS / "full.toml").read_text()
    if uncommented:
        text = re.sub(r"^#(?=\w+ = |\[\[)", "", text, flags=re.MULTILINE)
    return tomllib.loads(text)


def test_with_all_its_keys_it_is_right() -> None:
    Config.model_validate(full(uncommented=True))


def keys_used(tree: object, key: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """All keys in a tree, with lists of tables entered and their places left out."""
    if isinstance(tree, dict) and keys_of(annotation_at(key)):
        found = {(*key, name) for name in tree}
        return found.union(*(keys_used(value, (*key, name)) for name, value in tree.items()))
    if isinstance(tree, list):
        return set().union(*(keys_used(item, key) for item in tree))
    return set()


def keys_known(key: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    names = {(*key, name) for name in keys_of(annotation_at(key))}
    return names.union(*(keys_known(name) for name in names))


def test_every_key_is_named() -> None:
    # A route's own tables have the keys of the site's, and a site's those of [acme].
    repeated = {("sites", "routes", name) for name in ("balancing", "health_check", "headers")}
    repeated |= {("sites", "acme", "dns"), ("acme", "fallbacks", "eab")}
    expected = {key for key in keys_known() if key[:3] not in repeated or key in repeated}
    used = keys_used(full(uncommented=True))
    assert {key for key in used if key[:3] not in repeated or key in repeated} == expected


def values(tree: object, key: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    """Each plain value with its key."""
    if isinstance(tree, dict) and keys_of(annotation_at(key)):
        return [pair for name, value in tree.items() for pair in values(value, (*key, name))]
    if isinstance(tree, list) and tree and keys_of(annotation_at(key)):
        return [pair for item in tree for pair in values(item, key)]
    return [(key, tree)]


def test_every_value_is_the_default() -> None:
    # Not checked by the model: one site that has every table, and no more than its defaults.
    route = Route(path="/").model_dump(mode="json")
    site = Site(names=("a.example",), health_check=HealthCheck()).model_dump(mode="json")
    config = Config.model_validate({"sites": [{"names": ["a.example"], "upstreams": ["h:1"]}]})
    default = {**config.model_dump(mode="json"), "sites": [{**site, "routes": [route]}]}
    defaults = dict(values(default))
    active = dict(values(full(uncommented=False)))
    for key, value in active.items():
        if key not in REQUIRED | EXAMPLES:
            assert value == defaults[key], key
    for key in dict(values(full(uncommented=True))):
        if key not in active and key[:3] != ("sites", "routes", "headers"):
            assert defaults.get(key) is None, f"{key} has a default: it must not be a comment"
