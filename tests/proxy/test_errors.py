"""The error tree: what is caught together stands together, and nothing else."""

from __future__ import annotations

import inspect
from pathlib import Path

from proxy import errors


def classes() -> list[type]:
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if found.__module__ == errors.__name__
    ]


def test_the_tree_is_as_its_docstring_draws_it() -> None:
    assert errors.__doc__ is not None
    for error in classes():
        assert error.__name__ in errors.__doc__
        assert issubclass(error, errors.VestibuleError)
    for error in (errors.ClientHelloError, errors.TlsError, errors.BadRequest, errors.BadResponse):
        assert issubclass(error, errors.ProtocolError)
    for late in (errors.UpstreamUnavailable, errors.UpstreamTimeout):
        assert issubclass(late, errors.UpstreamError)
    assert not issubclass(errors.UpstreamError, errors.ProtocolError)


def test_they_carry_what_their_handlers_need() -> None:
    assert errors.BadRequest("x").status == 400
    assert errors.BadRequest("x", 431).status == 431
    assert errors.UpstreamUnavailable("x").status == 502
    assert errors.UpstreamUnavailable("x", 503).status == 503
    assert errors.UpstreamTimeout("x").status == 504
    assert errors.ClientHelloError("x", 112).alert == 112
    assert errors.TlsError("x", b"alert").to_send == b"alert"
    assert (errors.ConfigError.exit_code, errors.StartupError.exit_code) == (2, 3)


def test_a_config_error_names_its_source_and_all_problems() -> None:
    error = errors.ConfigError(["a is wrong", "b is wrong"], "vestibule.toml")
    assert str(error) == "vestibule.toml: a is wrong; b is wrong"
    assert error.problems == ["a is wrong", "b is wrong"]
    assert errors.ConfigError("one").problems == ["one"]


def test_what_a_reader_can_change_is_named_with_its_file() -> None:
    file = Path("/etc/vestibule.toml")
    assert errors.ConfigError("a is wrong").about(file).source == "/etc/vestibule.toml"
    named = errors.ConfigError("a is wrong", "other.toml")
    assert named.about(file) is named
    refusal = errors.StartupError("port 1 is in use")
    told = "port 1 is in use (the configuration is /etc/vestibule.toml)"
    assert str(refusal.about(file)) == told
    assert refusal.about(None) is refusal
