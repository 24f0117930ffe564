"""The table of CAs holds together."""

from __future__ import annotations

from acme_client.directories import DIRECTORIES, DIRECTORY_NAMES, Limits
from acme_client.transport import check_url


def test_every_directory_is_an_https_url_and_no_two_are_the_same() -> None:
    urls = [known.url for known in DIRECTORIES.values()]
    for url in urls:
        check_url(url)
    assert len(set(urls)) == len(urls)


def test_stagings_exist_and_have_none_themselves() -> None:
    for known in DIRECTORIES.values():
        if known.staging is not None:
            assert DIRECTORIES[known.staging].staging is None


def test_the_names_to_choose_from() -> None:
    assert {"letsencrypt", "letsencrypt-staging", "zerossl", "google", "buypass"} < set(DIRECTORIES)
    assert "internal" in DIRECTORY_NAMES


def test_what_is_not_known_is_not_invented() -> None:
    assert DIRECTORIES["zerossl"].limits == Limits()
    limit = DIRECTORIES["letsencrypt"].limits.duplicates
    assert limit is not None
    assert (limit.count, limit.period.days) == (5, 7)
