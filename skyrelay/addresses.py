"""Is this the address of a machine that anybody may reach, or of one that only we can?"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Addresses of IPv4 in the words of IPv6, by way of a translator.
_TRANSLATED = (
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("64:ff9b:1::/48"),
)


def is_public(address: Address) -> bool:
    """Whether the address is one of the open Internet, however it is written."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
        if address.teredo or any(address in network for network in _TRANSLATED):
            return False
    return address.is_global and not address.is_multicast
