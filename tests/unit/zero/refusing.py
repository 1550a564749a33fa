"""Why `watchword.zero` refuses something."""

from collections.abc import Callable

import pytest

from watchword.credentials.zkproof import ZeroError


def refused(attempt: Callable[[], object]) -> str:
    """Return the reason for which an attempt is refused."""
    with pytest.raises(ZeroError) as error:
        attempt()
    return error.value.reason
