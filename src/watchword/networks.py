"""RFC 4291 §2.5.5.2: IP networks as people name them; an IPv4 address in IPv6 notation is that IPv4 address."""

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAPPED_BITS = 96  # before the IPv4 address


def read_network(text: str) -> Network:
    """Return the network, or the one address, that a text names; raise ValueError for anything else, also for one with a zone."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv4Network):
        return network
    if network.network_address.scope_id is not None:  # no address is compared with it
        raise ValueError("a zone")
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_BITS))


def read_address(text: str) -> Address:
    """Return the address that a text names; raise ValueError for anything else."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
