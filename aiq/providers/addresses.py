"""
Addresses that mean something: this machine, and those that nothing of ours has business with.

Link-local ones are where machines of a cloud hand out their credentials to whoever asks; so are a
few others that vendors chose for it.
"""

from __future__ import annotations

import ipaddress

_METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # Amazon
        "fd20:ce::254",  # Google
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_this_machine(host: str) -> bool:
    """Tell whether a host, as a URL names it, is this machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # 0.0.0.0 and :: are what servers print when they listen everywhere; as a target: this machine.
    return address.is_loopback or address.is_unspecified


def is_forbidden(address: str) -> bool:
    """Tell whether an address is link-local, multicast or a cloud's metadata; no address is not."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        found = _embedded(found) or found
    return found.is_link_local or found.is_multicast or found in _METADATA


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the address of the older kind that one of the newer kind leads to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
