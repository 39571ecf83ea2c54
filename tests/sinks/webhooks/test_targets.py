"""Where a webhook may go."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.webhooks.targets import (
    AddressKind,
    TargetPolicy,
    TargetRefusedError,
    check_address,
    check_resolved,
    check_url,
    kind_of_address,
)

STRICT = TargetPolicy()
PRIVATE = TargetPolicy(allow_private=True)
HTTP = TargetPolicy(allow_http=True)


def refusal(url: str, policy: TargetPolicy = STRICT) -> str:
    with pytest.raises(TargetRefusedError) as caught:
        check_url(url, policy)
    return caught.value.code


def test_an_https_url_gives_its_host_and_port() -> None:
    target = check_url("https://Hooks.Example.gov.cn/a?token=x", STRICT)
    assert (target.scheme, target.host, target.port, target.literal) == ("https", "hooks.example.gov.cn", 443, None)
    assert target.origin == "https://hooks.example.gov.cn:443"
    assert check_url("https://[2606:4700::1]:8443/", STRICT).origin == "https://[2606:4700::1]:8443"


def test_http_needs_permission() -> None:
    assert refusal("http://hooks.example.cn/") == "scheme"
    assert check_url("http://hooks.example.cn/", HTTP).port == 80


@pytest.mark.parametrize(
    "url", ["ftp://a.cn/", "file:///etc/passwd", "//a.cn/", "a.cn", "", "gopher://a.cn", "javascript:x"]
)
def test_other_schemes_are_refused(url: str) -> None:
    assert refusal(url, HTTP) in ("scheme", "url-characters")


@pytest.mark.parametrize("url", ["https://u:p@a.cn/", "https://u@a.cn/", "https://a.cn@b.cn/", "https://@a.cn/"])
def test_credentials_are_refused(url: str) -> None:
    assert refusal(url) == "credentials"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.cn/\r\nx", "https://a.cn/ x", "https://a.cn\\@b.cn/", "https://a.cn/#f", "https://市场监管.cn/",
        "https://１２７.0.0.1/", "https://127。0。0。1/", "https://a.cn/\x00", "https://a.cn/\t", "https://a.cn/{x}",
    ],
)  # fmt: skip
def test_characters_that_two_parsers_could_read_differently_are_refused(url: str) -> None:
    assert refusal(url) == "url-characters"


@pytest.mark.parametrize(
    "url",
    [
        "https://", "https:///x", "https://.cn/", "https://a..cn/", "https://a.cn./", "https://-a.cn/", "https://a%2eb/",
        "https://[::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[1.2.3.4]/", "https://[::g]/", "https://[v1.x]/",
        "https://" + "a" * 64 + ".cn/", "https://a.cn:0/", "https://a.cn:/", "https://a.cn:65536/", "https://a.cn:x/",
        "https://[::1/", "https://a,b/", "https://a.cn/" + "x" * 2048,
    ],
)  # fmt: skip
def test_a_malformed_host_or_port_is_refused(url: str) -> None:
    assert refusal(url) in ("host", "port", "url-invalid", "url-too-long")


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "0", "017700000001", "1.2.3", "0x",
        "8.8.8.08", "1.2.3.4.5", "256.1.1.1", "a.1", "0xA9FEA9FE", "4294967295", "8.8.8.0x8",
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", [STRICT, PRIVATE])
def test_numbers_that_some_libraries_take_for_an_address_are_refused(host: str, policy: TargetPolicy) -> None:
    assert refusal(f"https://{host}/", policy) == "host-number"


def test_ports_can_be_restricted() -> None:
    policy = TargetPolicy(ports=frozenset((443, 8443)))
    assert check_url("https://a.cn:8443/", policy).port == 8443
    assert refusal("https://a.cn:22/", policy) == "port"


ADDRESSES = {
    AddressKind.PUBLIC: [
        "8.8.8.8", "1.1.1.1", "223.5.5.5", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0",
        "2606:4700::1", "2400:3200::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
    AddressKind.PRIVATE: [
        "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1",
        "fd12:3456::1", "::ffff:10.0.0.1", "64:ff9b::192.168.0.1", "2002:a00:1::1", "::ffff:0:10.0.0.1",
    ],
    AddressKind.LOOPBACK: [
        "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
    AddressKind.METADATA: [
        "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "169.254.0.23", "fd00:ec2::254",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    ],
    AddressKind.LINK_LOCAL: ["169.254.1.1", "fe80::1", "fe80::1%2", "::ffff:169.254.1.1", "febf::1"],
    AddressKind.MULTICAST: ["224.0.0.1", "239.255.255.255", "ff02::1"],
    AddressKind.UNSPECIFIED: ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"],
    AddressKind.RESERVED: [
        "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "192.88.99.1",
        "2001:db8::1", "2001::1", "64:ff9b:1::1", "::7f00:1", "100::1", "5f00::1", "fec0::1", "3fff::1", "4000::1",
    ],
}  # fmt: skip
LISTED = [(text, kind) for kind, texts in ADDRESSES.items() for text in texts]


@pytest.mark.parametrize(("text", "kind"), LISTED)
def test_an_address_is_what_the_registry_says(text: str, kind: AddressKind) -> None:
    assert kind_of_address(ip_address(text)) is kind


@pytest.mark.parametrize(("text", "kind"), LISTED)
def test_only_public_addresses_pass_and_private_ones_on_request(text: str, kind: AddressKind) -> None:
    for policy, allowed in (
        (STRICT, (AddressKind.PUBLIC,)),
        (PRIVATE, (AddressKind.PUBLIC, AddressKind.PRIVATE, AddressKind.LOOPBACK)),
    ):
        if kind in allowed:
            assert check_resolved("a.cn", [text], policy) == (ip_address(text),)
        else:
            with pytest.raises(TargetRefusedError, match=str(kind)):
                check_resolved("a.cn", [text], policy)


@given(st.ip_addresses(v=4))
def test_no_address_outside_the_public_internet_passes_in_any_disguise(address: IPv4Address) -> None:
    kind = kind_of_address(address)
    number = int(address)
    disguises = [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    assert all(kind_of_address(disguise) is kind for disguise in disguises)
    if not address.is_global and kind is AddressKind.PUBLIC:
        raise AssertionError(f"{address} is not global by the standard library")


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_global_unicast(address: IPv6Address) -> None:
    if kind_of_address(address) is AddressKind.PUBLIC and int(address) >> 96 != 0x64FF9B:
        assert int(address) >> 125 == 1 or int(address) >> 32 in (0xFFFF, 0xFFFF0000)


def test_a_literal_in_the_url_is_checked_at_once() -> None:
    assert refusal("https://127.0.0.1/") == "address-loopback"
    assert refusal("https://[::ffff:10.1.2.3]/") == "address-private"
    assert refusal("https://[::ffff:a9fe:a9fe]/", PRIVATE) == "address-metadata"
    assert check_url("https://127.0.0.1/", PRIVATE).literal == IPv4Address("127.0.0.1")


def test_one_private_answer_among_public_ones_refuses_the_name() -> None:
    with pytest.raises(TargetRefusedError) as caught:
        check_resolved("a.cn", ["8.8.8.8", "10.0.0.1"], STRICT)
    assert caught.value.code == "address-private"
    assert "allow_private" in str(caught.value)


def test_an_empty_or_strange_answer_refuses_the_name() -> None:
    with pytest.raises(TargetRefusedError, match="no address"):
        check_resolved("a.cn", [], STRICT)
    with pytest.raises(TargetRefusedError, match="is no address"):
        check_resolved("a.cn", ["8.8.8.8", "b.cn"], STRICT)


def test_addresses_that_come_twice_are_kept_once_in_order() -> None:
    answer = check_resolved("a.cn", ["8.8.4.4", "8.8.8.8", "8.8.4.4"], STRICT)
    assert [str(address) for address in answer] == ["8.8.4.4", "8.8.8.8"]


def test_a_refusal_does_not_repeat_the_path_of_the_url() -> None:
    with pytest.raises(TargetRefusedError) as caught:
        check_url("https://10.0.0.1/hook?token=geheim", STRICT)
    assert "geheim" not in str(caught.value)


def test_a_refusal_never_offers_to_open_what_stays_closed() -> None:
    with pytest.raises(TargetRefusedError) as caught:
        check_address("a.cn", ip_address("169.254.169.254"), STRICT)
    assert "allow_private" not in str(caught.value)
