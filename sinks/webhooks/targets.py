"""Decides where a webhook may go: the form of the URL, then each resolved address. Pure; it resolves nothing.

The names in the address space come from the IANA special-purpose registries, written out here because
`ipaddress.is_global` changes between Python's patch releases. It must not know receivers or HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from jianguan.errors import JianguanError

Address = IPv4Address | IPv6Address

URL_LENGTH_MAX = 2048


class TargetRefusedError(JianguanError):
    """A URL or an address that we do not connect to. `code` is a stable slug; the text has no path or query."""

    exit_code = 4

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """What the operator allows for one receiver. `ports` None: any."""

    allow_http: bool = False
    allow_private: bool = False
    ports: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The checked parts of a URL. `literal` is set when the host is an address and needs no resolution."""

    scheme: str
    host: str
    port: int
    literal: Address | None = None

    @property
    def origin(self) -> str:
        """`https://host:port`: what may be shown; a path or query may hold a token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class AddressKind(StrEnum):
    """What an address is for. Only `public` is always allowed, `private` and `loopback` on request."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    METADATA = "metadata"
    LINK_LOCAL = "link-local"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"


_ON_REQUEST = (AddressKind.PRIVATE, AddressKind.LOOPBACK)

# The first match wins. Metadata: AWS and others, Alibaba Cloud, Oracle, Azure's wire server, Tencent Cloud.
_V4: tuple[tuple[IPv4Network, AddressKind], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("169.254.169.254/32", AddressKind.METADATA),
        ("100.100.100.200/32", AddressKind.METADATA),
        ("192.0.0.192/32", AddressKind.METADATA),
        ("168.63.129.16/32", AddressKind.METADATA),
        ("169.254.0.23/32", AddressKind.METADATA),
        ("0.0.0.0/8", AddressKind.UNSPECIFIED),
        ("10.0.0.0/8", AddressKind.PRIVATE),
        ("100.64.0.0/10", AddressKind.PRIVATE),
        ("127.0.0.0/8", AddressKind.LOOPBACK),
        ("169.254.0.0/16", AddressKind.LINK_LOCAL),
        ("172.16.0.0/12", AddressKind.PRIVATE),
        ("192.0.0.0/24", AddressKind.RESERVED),
        ("192.0.2.0/24", AddressKind.RESERVED),
        ("192.88.99.0/24", AddressKind.RESERVED),
        ("192.168.0.0/16", AddressKind.PRIVATE),
        ("198.18.0.0/15", AddressKind.RESERVED),
        ("198.51.100.0/24", AddressKind.RESERVED),
        ("203.0.113.0/24", AddressKind.RESERVED),
        ("224.0.0.0/4", AddressKind.MULTICAST),
        ("240.0.0.0/4", AddressKind.RESERVED),
    )
)
_V6: tuple[tuple[IPv6Network, AddressKind], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("fd00:ec2::254/128", AddressKind.METADATA),
        ("fd20:ce::254/128", AddressKind.METADATA),
        ("::/128", AddressKind.UNSPECIFIED),
        ("::1/128", AddressKind.LOOPBACK),
        ("fc00::/7", AddressKind.PRIVATE),
        ("fe80::/10", AddressKind.LINK_LOCAL),
        ("ff00::/8", AddressKind.MULTICAST),
        ("2001::/23", AddressKind.RESERVED),  # protocol assignments, Teredo among them
        ("2001:db8::/32", AddressKind.RESERVED),
        ("3fff::/20", AddressKind.RESERVED),
        ("2000::/3", AddressKind.PUBLIC),
    )
)
# Forms that carry an IPv4 address: where it starts, in bits from the right.
_V4_INSIDE: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def kind_of_address(address: Address) -> AddressKind:
    """What `address` is for; an IPv6 form that carries an IPv4 address is what the inner one is."""
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), AddressKind.PUBLIC)
    bare = IPv6Address(int(address))  # without a zone, which makes `in` miss
    for network, shift in _V4_INSIDE:
        if bare in network:
            return kind_of_address(IPv4Address((int(bare) >> shift) & 0xFFFFFFFF))
    # Whatever is outside 2000::/3 and has no name above (v4-compatible, local NAT64) is not the public internet.
    return next((kind for network, kind in _V6 if bare in network), AddressKind.RESERVED)


def check_address(host: str, address: Address, policy: TargetPolicy) -> None:
    """Raises TargetRefusedError unless a connection to `address` is allowed.

    `allow_private` opens private and loopback addresses. Link-local, metadata, multicast, unspecified and reserved
    ones stay closed: no receiver lives there.
    """
    kind = kind_of_address(address)
    if kind is AddressKind.PUBLIC or (policy.allow_private and kind in _ON_REQUEST):
        return
    hint = "; set allow_private for this receiver if it is meant" if kind in _ON_REQUEST else ""
    raise TargetRefusedError(f"address-{kind}", f"{host} leads to a {kind} address{hint}")


def check_resolved(host: str, addresses: Sequence[str], policy: TargetPolicy) -> tuple[Address, ...]:
    """The addresses of a resolved name, each one checked; one that is refused refuses all.

    A name that has a public and a private address is a mistake or an attack, so none is picked from it.
    Raises TargetRefusedError, also when an answer is empty or not an address.
    """
    if not addresses:
        raise TargetRefusedError("name-without-address", f"{host} has no address")
    checked: list[Address] = []
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError as error:
            raise TargetRefusedError("address-invalid", f"the resolver's answer for {host} is no address") from error
        check_address(host, address, policy)
        checked.append(address)
    return tuple(dict.fromkeys(checked))


_PORTS = {"https": 443, "http": 80}
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)", re.ASCII)


def check_url(url: str, policy: TargetPolicy) -> Target:
    """Checks everything that can be checked before resolution. Raises TargetRefusedError.

    Only plain RFC 3986 characters pass, so that no two URL parsers can read different hosts out of it. A host
    that some libraries take for an IPv4 address (2130706433, 0x7f.1, 0177.0.0.1) must be a plain dotted quad.
    """
    if len(url) > URL_LENGTH_MAX:
        raise TargetRefusedError("url-too-long", f"a URL has at most {URL_LENGTH_MAX} characters")
    if not _URL_CHARACTERS.fullmatch(url):
        raise TargetRefusedError(
            "url-characters",
            "a URL has only ASCII characters, no space, no backslash, no fragment; write a host in punycode",
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetRefusedError("url-invalid", "the URL cannot be read") from error
    scheme = parts.scheme
    if scheme not in _PORTS:
        raise TargetRefusedError("scheme", "a webhook URL starts with https://")
    if scheme == "http" and not policy.allow_http:
        raise TargetRefusedError("scheme", "http is not encrypted; use https, or set allow_http for this receiver")
    if "@" in parts.netloc:
        raise TargetRefusedError(
            "credentials", "a webhook URL has no user or password; it is the signature that counts"
        )
    if port == 0 or parts.netloc.endswith(":"):
        raise TargetRefusedError("port", "the port of the URL is not valid")
    port = port or _PORTS[scheme]
    if policy.ports is not None and port not in policy.ports:
        raise TargetRefusedError("port", f"port {port} is not among the allowed ones")
    host = (parts.hostname or "").lower()
    literal = _literal(host, bracketed="[" in parts.netloc)
    if literal is not None:
        check_address(str(literal), literal, policy)
        return Target(scheme, str(literal), port, literal)
    return Target(scheme, host, port)


def _literal(host: str, *, bracketed: bool) -> Address | None:
    """The address that a host is, or None for a name. Raises TargetRefusedError for what is neither."""
    if bracketed:
        try:
            if "%" in host:
                raise ValueError("an address with a zone")
            return IPv6Address(host)
        except ValueError as error:
            raise TargetRefusedError("host", "the address in brackets is not plain IPv6") from error
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefusedError("host", "the host of the URL is not a name or an address")
    if not _NUMBER.fullmatch(labels[-1]):
        return None
    try:
        return IPv4Address(host)  # refuses leading zeros and short forms
    except ValueError as error:
        raise TargetRefusedError(
            "host-number", "a host that ends in a number must be a plain IPv4 address such as 203.0.113.9"
        ) from error
