"""Which hosts can only be this machine: what may travel unencrypted there, and nowhere else."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
