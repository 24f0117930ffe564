"""The field types of the model: how one value is read, checked and refused.

Each reader takes what TOML, JSON or an environment variable holds and returns the normal form;
what it refuses it names, with what is allowed. pydantic adds the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints
from urllib.parse import urlsplit

import idna
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from proxy.config.addresses import (
    MAX_PORT,
    TcpAddress,
    UpstreamAddress,
    parse_listen,
    parse_upstream,
)
from proxy.limits import Limits
from proxy.upstream.balance import MAX_WEIGHT
from proxy.upstream.health import StatusRanges

MAX_WORKERS = 256

_APP = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*(\(\))?")
_CA_URL = re.compile(r"https://[^\s/?#@]+(/[^\s#]*)?")
# A name that IDNA would leave as it is: lower-case labels without "--" in them, the last a word.
_PLAIN_NAME = re.compile(r"(?:(?!.{0,62}--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_PLAIN_NAME_CHARS = 253
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_CALL = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_ASK_URL = re.compile(r"https?://[^\s/?#@]+([/?][^\s#]*)?")
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0]+")
_EMAIL = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+\.[^\s@<>,;.]+")

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
    "google": "https://dv.acme-v02.api.pki.goog/directory",
    "google-staging": "https://dv.acme-v02.test-api.pki.goog/directory",
    "buypass": "https://api.buypass.com/acme/directory",
    "buypass-staging": "https://api.test4.buypass.no/acme/directory",
}
"""The CAs known by name, as in ``acme_client.directories``; ``internal`` is the embedded CA and
has no URL."""

INTERNAL = "internal"

ANY_NAME = "*"


class Section(BaseModel):
    """A table of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Table = TypeVar("Table", bound=Section)


def shared(table: type[Table]) -> Callable[[], Table]:
    """A default that all share: it is frozen, and pydantic would copy it for each of them."""
    value = table()
    return lambda: value


def refusal(message: str) -> PydanticCustomError:
    """An error whose whole text is ``message`` (pydantic would read braces in it)."""
    return PydanticCustomError("refused", "{message}", {"message": message})


def _reader(parse: Callable[[str], object], what: str) -> PlainValidator:
    def read(value: object) -> object:
        if isinstance(value, Path):
            value = str(value)
        if not isinstance(value, str):
            raise refusal(f"{value!r} is not text; write {what} in quotes")
        try:
            return parse(value)
        except ValueError as error:
            raise refusal(str(error)) from None

    return PlainValidator(read)


def is_ip(name: str) -> bool:
    """Whether a certificate name is an IP address and no DNS name."""
    try:
        address = ip_address(name)
    except ValueError:
        return False
    # A zone (fe80::1%eth0) means something on one machine only.
    return address.version == 4 or address.scope_id is None


def parse_name(text: str) -> str:
    """A host name, ``*.host.name`` or IP address, in the form certificates use."""
    if len(text) <= _PLAIN_NAME_CHARS and _PLAIN_NAME.fullmatch(text):
        return text  # as nearly all are, and there may be thousands
    if is_ip(text):
        return str(ip_address(text))
    wildcard = text.startswith("*.")
    host = text.removeprefix("*.").removesuffix(".")
    if "://" in host or "/" in host or ":" in host:
        raise ValueError(f"{text!r} is no host name; write only the name, such as api.example.com")
    if "*" in host:
        raise ValueError(f"{text!r}: a wildcard stands for the first label only: *.example.com")
    try:
        # UTS 46 maps to lower case first, as browsers do (RFC 5891 §5.1).
        ascii_name = idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"{text!r} is no host name: {error}") from None
    if ascii_name.rsplit(".", 1)[-1].isdigit():
        raise ValueError(f"{text!r} is neither a host name nor an IP address")
    if wildcard and "." not in ascii_name:
        raise ValueError(f"{text!r}: a wildcard must have two labels after it: *.example.com")
    return f"*.{ascii_name}" if wildcard else ascii_name


def parse_storage(text: str) -> str:
    if not text.startswith("file:") or text.startswith("file://") or text == "file:":
        raise ValueError(f"{text!r} is no store; allowed is file:PATH, such as file:./state")
    return text


def parse_directory(text: str) -> str:
    if text == INTERNAL or text in DIRECTORIES or _CA_URL.fullmatch(text):
        return text
    known = ", ".join([*DIRECTORIES, INTERNAL])
    raise ValueError(f"{text!r} is no ACME directory; allowed are {known} and https:// URLs")


def issuer_name(directory: str) -> str:
    """What a CA is called by default: the name of its directory, or the host of its URL."""
    return urlsplit(directory).netloc if "://" in directory else directory


def parse_site_name(text: str) -> str:
    """A name of a site; ``*`` alone is any name, for certificates on demand."""
    return text if text == ANY_NAME else parse_name(text)


def parse_call(text: str) -> str:
    if not _CALL.fullmatch(text):
        raise ValueError(f"{text!r} is no function; write module:function, such as hooks:installed")
    return text


def parse_ask(text: str) -> str:
    if "://" in text:
        if not _ASK_URL.fullmatch(text):
            raise ValueError(f"{text!r} is no http:// or https:// URL")
        return text
    if not _CALL.fullmatch(text):
        raise ValueError(
            f"{text!r} is not allowed; allowed are a URL, such as http://127.0.0.1:8000/ask, "
            "and module:function"
        )
    return text


def parse_email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError(f"{text!r} is no e-mail address, such as ops@example.com")
    return text


def parse_app(text: str) -> str:
    if not _APP.fullmatch(text):
        raise ValueError(f"{text!r} is no app; write module:attribute, such as main:app")
    return text


def parse_route_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} must start with '/'")
    if bad := re.search(r"[^!-~]|[?#\\]", text):
        raise ValueError(
            f"{text!r} has {bad.group()!r} in it; a path is compared as the client sends it, "
            "so write it percent-encoded and without query"
        )
    return text


def parse_network(text: str) -> str:
    """An IP address or network, such as 10.0.0.0/8."""
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(
            f"{text!r} is no IP address or network, such as 10.0.0.0/8 or 2001:db8::1"
        ) from None


def parse_hash_by(text: str) -> str:
    """What consistent hashing looks at."""
    kind, colon, name = text.partition(":")
    if text == "address" or (colon and kind in ("header", "cookie") and _TOKEN.fullmatch(name)):
        return text
    raise ValueError(f"{text!r} is not allowed; allowed are address, header:NAME and cookie:NAME")


def parse_statuses(text: str) -> str:
    """Expected status codes, such as ``200-299, 304``."""
    return str(StatusRanges.parse(text))


def parse_file(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is no path of a file")
    return Path(text)


def _read_workers(value: object) -> object:
    if value == "auto":
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS:
        return value
    raise refusal(f"{value!r} is not allowed; allowed are 'auto' and 1 to {MAX_WORKERS}")


def _read_secret_source(value: object) -> object:
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        # What was given is not shown: it may well be the secret, put here by mistake.
        raise refusal("write env:NAME or file:/path in quotes, and not the secret itself")
    return value


def _read_number(value: object) -> object:
    # pydantic takes true for 1; in a configuration it is a mistake.
    if isinstance(value, bool):
        raise refusal(f"{value!r} is no number")
    return value


Name = Annotated[str, _reader(parse_name, "a host name")]
SiteName = Annotated[str, _reader(parse_site_name, "a host name")]
Storage = Annotated[str, _reader(parse_storage, "a store")]
Directory = Annotated[str, _reader(parse_directory, "an ACME directory")]
Email = Annotated[str, _reader(parse_email, "an e-mail address")]
Call = Annotated[str, _reader(parse_call, "module:function")]
Ask = Annotated[str, _reader(parse_ask, "a URL or module:function")]
SecretSource = Annotated[str, PlainValidator(_read_secret_source)]
Text = Annotated[str, Field(min_length=1)]
App = Annotated[str, _reader(parse_app, "module:attribute")]
RoutePath = Annotated[str, _reader(parse_route_path, "a path")]
Network = Annotated[str, _reader(parse_network, "an IP network")]
HashBy = Annotated[str, _reader(parse_hash_by, "address, header:NAME or cookie:NAME")]
Statuses = Annotated[str, _reader(parse_statuses, "status codes, such as 200-299")]
File = Annotated[Path, _reader(parse_file, "a path"), PlainSerializer(str)]
Upstream = Annotated[
    UpstreamAddress, _reader(parse_upstream, "host:port or unix:/path"), PlainSerializer(str)
]
Listen = Annotated[TcpAddress, _reader(parse_listen, "IP:port"), PlainSerializer(str)]
Workers = Annotated[int | Literal["auto"], PlainValidator(_read_workers)]
PortNumber = Annotated[int, BeforeValidator(_read_number), Field(ge=1, le=MAX_PORT)]
Count = Annotated[int, BeforeValidator(_read_number), Field(ge=1)]
Weight = Annotated[int, BeforeValidator(_read_number), Field(ge=1, le=MAX_WEIGHT)]
Bytes = Annotated[int, BeforeValidator(_read_number), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_read_number), Field(gt=0, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, BeforeValidator(_read_number), Field(ge=0, allow_inf_nan=False)]

_ZERO_IS_UNLIMITED = {"body_bytes", "connection_age"}


def _limits_table() -> type[Section]:
    """The ``[limits]`` table as a model: each field of ``Limits``, checked and with its key."""
    hints = get_type_hints(Limits)
    table: dict[str, Any] = {}
    for field in fields(Limits):
        kind: object = Seconds if hints[field.name] is float else Count
        if field.name in _ZERO_IS_UNLIMITED:
            kind = SecondsOrNone if hints[field.name] is float else Bytes
        table[field.name] = (kind, field.default)
    return create_model("LimitsTable", __base__=Section, **table)


_LimitsTable = _limits_table()


def _read_limits(value: object) -> Limits:
    # A ValidationError raised here keeps its keys: pydantic puts ours before them.
    return (
        value if isinstance(value, Limits) else Limits(**dict(_LimitsTable.model_validate(value)))
    )


LimitsField = Annotated[Limits, PlainValidator(_read_limits), PlainSerializer(asdict)]
