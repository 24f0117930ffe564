"""What each option of the command line does to the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.options import Options, Tree, apply, put

FOLDER = Path("/srv/shop")


def applied(options: Options, tree: Tree | None = None) -> Tree:
    tree = {} if tree is None else tree
    problems, _ = apply(options, tree, FOLDER)
    assert problems == []
    return tree


def test_an_app_and_a_name_are_a_site() -> None:
    options = Options(app="main:app", name=("a.example", "b.example"), app_workers=2)
    assert applied(options) == {
        "sites": [
            {
                "names": ["a.example", "b.example"],
                "app": "main:app",
                "app_dir": "/srv/shop",
                "app_workers": 2,
            }
        ]
    }


def test_upstreams_and_a_name_are_a_site() -> None:
    options = Options(name=("a.example",), to=("h:1", "h:2"))
    assert applied(options) == {"sites": [{"names": ["a.example"], "upstreams": ["h:1", "h:2"]}]}


def test_the_only_site_of_a_file_is_changed() -> None:
    tree: Tree = {"sites": [{"names": ["a.example"], "upstreams": ["h:1"]}]}
    applied(Options(app="main:app"), tree)
    assert tree["sites"] == [{"names": ["a.example"], "app": "main:app", "app_dir": "/srv/shop"}]
    applied(Options(to=("h:2",), name=("b.example",)), tree)
    assert tree["sites"] == [{"names": ["b.example"], "upstreams": ["h:2"]}]


@pytest.mark.parametrize(
    ("options", "tree", "problem"),
    [
        (Options(app="main:app"), {}, "name: is missing; say under which domain"),
        (Options(to=("h:1",)), {}, "name: is missing"),
        (Options(app="a:b", to=("h:1",), name=("x",)), {}, "to: stands beside an app"),
        (Options(name=("x",)), {"sites": [{}, {}]}, "name: the configuration has 2 sites"),
        (Options(port="x"), {}, "port: 'x' is no port; allowed are 0 to 65535"),
        (Options(http_port=65536), {}, "http_port: 65536 is no port"),
    ],
)
def test_options_that_do_not_fit(options: Options, tree: Tree, problem: str) -> None:
    (found,), _ = apply(options, tree, FOLDER)
    assert found.startswith(problem)


def test_single_keys() -> None:
    tree: Tree = {"log": {"access": True}}
    options = Options(email="a@b.c", workers=2, log_level="debug", access_log=False)
    problems, keys = apply(options, tree, FOLDER)
    assert problems == []
    assert tree == {
        "acme": {"email": "a@b.c"},
        "workers": 2,
        "log": {"level": "debug", "access": False},
    }
    assert keys["email"] == ("acme", "email")


@pytest.mark.parametrize(
    ("options", "listen", "expected"),
    [
        (Options(port=8443), None, {"https": ["[::]:8443"]}),
        (
            Options(port="8443", http_port=8080),
            None,
            {"https": ["[::]:8443"], "http": ["[::]:8080"]},
        ),
        (
            Options(host="127.0.0.1"),
            None,
            {"https": ["127.0.0.1:443"], "http": ["127.0.0.1:80"]},
        ),
        (
            Options(host="localhost", port=1),
            {"http": []},
            {"https": ["127.0.0.1:1", "[::1]:1"], "http": []},
        ),
        (
            Options(host="::1"),
            {"https": ["[::]:8443"], "http": ("[::]:8080",)},
            {"https": ["[::1]:8443"], "http": ["[::1]:8080"]},
        ),
        (Options(host="[::1]", port=1), {"http": []}, {"https": ["[::1]:1"], "http": []}),
    ],
)
def test_where_to_listen(options: Options, listen: Tree | None, expected: Tree) -> None:
    tree: Tree = {} if listen is None else {"listen": listen}
    assert applied(options, tree)["listen"] == expected


def test_what_has_the_wrong_type_is_left_for_the_check() -> None:
    tree: Tree = {"acme": 3, "listen": "x", "sites": 4}
    applied(Options(email="a@b.c", port=1, name=("x",)), tree)
    assert tree == {"acme": 3, "listen": "x", "sites": 4}
    tree = {"sites": [5]}
    applied(Options(name=("x",)), tree)
    assert tree == {"sites": [5]}
    assert not put({"a": {"b": 1}}, ("a", "b", "c"), 2)


def test_later_options_win_one_by_one() -> None:
    flags = Options(name=("a",), access_log=False)
    variables = Options(name=("b",), to=("h:1",), access_log=True, port="1")
    assert flags.over(variables) == Options(name=("a",), to=("h:1",), access_log=False, port="1")
    assert list(Options().given()) == []
