from __future__ import annotations

from acme_client.testing import Settings


def test_every_name_is_on_loopback_by_default() -> None:
    assert Settings().address_of("a.example") == "127.0.0.1"
    assert Settings().address_of("192.0.2.1") == "127.0.0.1"


def test_names_by_table_then_by_default() -> None:
    settings = Settings(hosts={"a.example": "127.0.0.2"}, default_address=None)
    assert settings.address_of("a.example") == "127.0.0.2"
    assert settings.address_of("b.example") is None
    assert settings.address_of("2001:db8::1") == "2001:db8::1"


def test_names_by_function() -> None:
    settings = Settings(resolve={"a.example": "127.0.0.3"}.get)
    assert settings.address_of("a.example") == "127.0.0.3"
    assert settings.address_of("b.example") is None


def test_texts_by_table_or_function() -> None:
    settings = Settings(txt_records={"a.example": ["x"]})
    assert (settings.texts_of("a.example"), settings.texts_of("b.example")) == (["x"], [])
    settings.lookup_txt = lambda name: [name]
    assert settings.texts_of("b.example") == ["b.example"]


def test_settings_of_two_cas_are_their_own() -> None:
    first, second = Settings(), Settings()
    first.profiles.clear()
    first.hosts["x"] = "y"
    assert second.profiles
    assert not second.hosts
