"""Addresses that nothing is ever sent to, in every spelling."""

from __future__ import annotations

import pytest

from aiq.providers.addresses import is_forbidden


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_link_local_and_metadata_are_forbidden(address: str) -> None:
    assert is_forbidden(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "1.1.1.1", "2600::1", "name", ""]
)
def test_all_others_are_not(address: str) -> None:
    assert not is_forbidden(address)
