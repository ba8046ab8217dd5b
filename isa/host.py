"""What the host allows this process. Imports nothing that takes long: the front door asks when a library has failed."""

from __future__ import annotations


def most_address_space() -> int:
    """Bytes that this process may reserve in all, 0 where there is no limit."""
    try:
        import resource
    except ImportError:             # there are hosts without
        return 0
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit
