"""A real FastAPI app on real Uvicorn sees what it would see without a proxy, but for https."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.clients import http_client
from tests.e2e.fronts import Front

SITES = ("app.test", "unix.test")


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def client(app_front: Front, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with http_client(app_front, http2=request.param == "HTTP/2") as client:
        yield client


def headers_of(seen: dict[str, list[list[str]]], name: str) -> list[str]:
    return [value for key, value in seen["headers"] if key == name]


@pytest.mark.parametrize("site", SITES)
def test_it_sees_scheme_address_and_host(app_front: Front, client: httpx.Client, site: str) -> None:
    seen = client.get(app_front.url(site, "/echo/a?b=c")).json()
    assert seen["scheme"] == "https"
    assert seen["client"] == "127.0.0.1"
    assert seen["url"] == app_front.url(site, "/echo/a?b=c")
    assert seen["http_version"] == "1.1"
    assert headers_of(seen, "host") == [f"{site}:{app_front.port}"]
    assert headers_of(seen, "x-forwarded-proto") == ["https"]
    assert headers_of(seen, "x-forwarded-for") == ["127.0.0.1"]


def test_forged_forwarded_headers_do_not_reach_it(app_front: Front, client: httpx.Client) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.test",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6;proto=http",
    }
    seen = client.get(app_front.url("unix.test", "/echo"), headers=forged).json()
    assert seen["client"] == "127.0.0.1"
    assert seen["scheme"] == "https"
    assert "6.6.6.6" not in str(seen)
    assert "evil.test" not in str(seen)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_bodies_and_headers_pass(
    app_front: Front, client: httpx.Client, method: str
) -> None:
    body = b"" if method in ("GET", "OPTIONS", "DELETE") else b"some\0bytes\xff" * 99
    seen = client.request(
        method,
        app_front.url("app.test", "/echo/%7Ea//b%2Fc/../d;e=f?q=%20+&&q=%C3%A4"),
        content=body,
        headers={"X-Odd": 'a, b;c="d"', "Cookie": "a=b; c=d", "Authorization": "Bearer x"},
    ).json()
    assert seen["method"] == method
    assert seen["query"] == "q=%20+&&q=%C3%A4"
    assert seen["size"] == len(body)
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()
    assert headers_of(seen, "x-odd") == ['a, b;c="d"']
    assert headers_of(seen, "cookie") == ["a=b; c=d"]
    assert headers_of(seen, "authorization") == ["Bearer x"]


@pytest.mark.parametrize("site", SITES)
def test_redirects_stay_on_https_and_on_the_host(
    app_front: Front, client: httpx.Client, site: str
) -> None:
    slash = client.get(app_front.url(site, "/items?x=y"))
    assert slash.status_code == 307
    assert slash.headers["location"] == app_front.url(site, "/items/?x=y")
    built = client.get(app_front.url(site, "/redirect"))
    assert built.headers["location"] == app_front.url(site, "/items/")
    followed = client.get(app_front.url(site, "/redirect"), follow_redirects=True)
    assert followed.json() == [{"name": "one"}]


def test_docs_work(app_front: Front, client: httpx.Client) -> None:
    page = client.get(app_front.url("app.test", "/docs"))
    assert page.status_code == 200
    assert "url: '/openapi.json'" in page.text
    assert "/items/" in client.get(app_front.url("app.test", "/openapi.json")).json()["paths"]


def test_docs_work_under_a_stripped_prefix(app_front: Front, client: httpx.Client) -> None:
    page = client.get(app_front.url("api.test", "/api/v1/docs"))
    assert page.status_code == 200
    assert "url: '/api/v1/openapi.json'" in page.text
    api = client.get(app_front.url("api.test", "/api/v1/openapi.json")).json()
    assert api["servers"] == [{"url": "/api/v1"}]
    seen = client.get(app_front.url("api.test", "/api/v1/echo/x")).json()
    assert seen["root_path"] == "/api/v1"
    assert headers_of(seen, "x-forwarded-prefix") == ["/api/v1"]
    redirected = client.get(app_front.url("api.test", "/api/v1/items"))
    assert redirected.headers["location"] == app_front.url("api.test", "/api/v1/items/")


def test_a_prefix_is_a_whole_segment(app_front: Front, client: httpx.Client) -> None:
    assert client.get(app_front.url("api.test", "/api/v10/echo")).json() == {"detail": "Not Found"}
    seen = client.get(app_front.url("api.test", "/echo")).json()
    assert seen["root_path"] == ""


@pytest.mark.parametrize("status", [204, 304])
def test_responses_without_a_body(app_front: Front, client: httpx.Client, status: int) -> None:
    response = client.get(app_front.url("app.test", f"/status/{status}"))
    assert response.status_code == status
    assert response.content == b""
    assert response.headers["etag"] == '"x"'
    assert client.get(app_front.url("app.test", "/status/200")).text == "status 200"


@pytest.mark.parametrize("status", [200, 201, 400, 404, 418, 500, 503])
def test_statuses_of_the_app_pass(app_front: Front, client: httpx.Client, status: int) -> None:
    response = client.get(app_front.url("app.test", f"/status/{status}"))
    assert (response.status_code, response.text) == (status, f"status {status}")


def test_an_apps_crash_is_its_own(app_front: Front, client: httpx.Client) -> None:
    response = client.get(app_front.url("app.test", "/crash"))
    assert (response.status_code, response.text) == (500, "Internal Server Error")


def test_head_has_the_length_and_no_body(app_front: Front, client: httpx.Client) -> None:
    for _ in range(2):
        response = client.head(app_front.url("app.test", "/head"))
        assert response.headers["content-length"] == "1234"
        assert response.headers["x-head"] == "yes"
        assert response.content == b""


def test_each_cookie_keeps_its_own_line(app_front: Front, client: httpx.Client) -> None:
    response = client.get(app_front.url("app.test", "/cookies"))
    first, second = response.headers.get_list("set-cookie")
    assert first.startswith("first=1;")
    assert second.startswith("second=2;")


def test_the_server_header_is_the_apps(app_front: Front, client: httpx.Client) -> None:
    response = client.get(app_front.url("app.test", "/status/200"))
    assert response.headers["server"] == "uvicorn"
    assert "date" in response.headers
    assert "via" not in response.headers


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("length", [True, False])
def test_downloads_arrive_whole(
    app_front: Front, client: httpx.Client, site: str, length: bool
) -> None:
    from tests.e2e.app import PATTERN

    size = 1_234_567
    response = client.get(app_front.url(site, f"/download?size={size}&length={length}"))
    assert response.content == (PATTERN * (size // len(PATTERN) + 1))[:size]
    assert ("content-length" in response.headers) == length


@pytest.mark.parametrize("site", SITES)
def test_uploads_arrive_whole(app_front: Front, client: httpx.Client, site: str) -> None:
    body = bytes(range(256)) * 5000
    with_length = client.post(app_front.url(site, "/upload"), content=body)
    pieces = (body[start : start + 7001] for start in range(0, len(body), 7001))
    chunked = client.put(app_front.url(site, "/upload"), content=pieces)
    expected = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert with_length.json() == chunked.json() == expected


def test_server_sent_events_come_one_by_one(app_front: Front, client: httpx.Client) -> None:
    """The app sends an event only when the one before it has been read here."""
    gate = f"events-{app_front.engine}-{id(client)}"
    url = app_front.url("app.test", f"/events/{gate}?count=4")
    with client.stream("GET", url) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = response.iter_lines()
        for number in range(4):
            assert next(lines) == f"id: {number}"
            assert next(lines) == f"data: event {number}"
            assert next(lines) == ""
            client.post(app_front.url("app.test", f"/open/{gate}"))
        assert list(lines) == []


def test_requests_wait_apart(app_front: Front, client: httpx.Client) -> None:
    """A slow answer holds up nobody else, and its length of wait is the app's business."""
    gate = f"apart-{app_front.engine}-{id(client)}"
    with (
        http_client(app_front) as other,
        client.stream("GET", app_front.url("app.test", f"/events/{gate}?count=2")) as slow,
    ):
        lines = slow.iter_lines()
        assert next(lines) == "id: 0"
        for _ in range(20):
            assert other.get(app_front.url("app.test", "/status/200")).status_code == 200
        other.post(app_front.url("app.test", f"/open/{gate}"))
        assert "id: 1" in list(lines)
