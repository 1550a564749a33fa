"""Hardened outbound HTTP: requests to URLs that somebody else has named."""

from watchword.fetch.request import (
    MAX_BYTES,
    MAX_KEPT,
    Fetched,
    FetchError,
    Names,
    Networks,
    Resolver,
    check_address,
    fetch,
    parse_target,
    post_form,
    resolve,
    split_address,
)

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
