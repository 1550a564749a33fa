"""Hardened outbound HTTP: requests to URLs that somebody else has named."""

from watchword.fetch.addresses import Networks, check_address, parse_target, split_address
from watchword.fetch.errors import FetchError
from watchword.fetch.names import Names, Resolver, resolve
from watchword.fetch.request import MAX_BYTES, MAX_KEPT, Fetched, fetch, post_form

__all__ = [
    "MAX_BYTES",
    "MAX_KEPT",
    "FetchError",
    "Fetched",
    "Names",
    "Networks",
    "Resolver",
    "check_address",
    "fetch",
    "parse_target",
    "post_form",
    "resolve",
    "split_address",
]
