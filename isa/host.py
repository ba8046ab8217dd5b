"""What the host allows this process. Imports nothing that takes long: the front door asks when a library has failed."""

from __future__ import annotations

try:                                # at once: where address space is short, it could not be loaded later
    import resource
except ImportError:                 # there are hosts without
    resource = None                 # type: ignore[assignment]


def most_address_space() -> int:
    """Bytes that this process may reserve in all, 0 where there is no limit."""
    if resource is None:
        return 0
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def free_memory() -> int:
    """Bytes of memory that programs may still use without swapping, 0 where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            return next((1024 * int(line.split()[1]) for line in stream if line.startswith("MemAvailable:")), 0)
    except OSError:
        return 0
