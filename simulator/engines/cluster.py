"""A connection to Ray (https://docs.ray.io): RAY_ADDRESS names a cluster; without one Ray is started on this machine.

Every machine of a cluster has splitft installed and sees the same folders under the same paths.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from devices.problems import InputError, Problem

ADDRESS_VARIABLE = "RAY_ADDRESS"
PATIENCE_S = 5.0  # with a cluster that does not answer


def check_reachable() -> None:
    """Raise InputError where Ray is not installed, or nobody listens at the address of the cluster; connect to none."""
    if find_spec("ray") is None:
        raise InputError(
            Problem("Ray is not installed here: pip install 'splitft[ray]', or --engine local", key="--engine")
        )
    with _told_to_users():
        _knock(_address())


@contextmanager
def connected(*, num_cpus: int | None, environment: Mapping[str, str]) -> Iterator[Any]:
    """Connect to the cluster that the user names, or to one of this machine alone; yield Ray's module.

    Args:
        num_cpus: of this machine alone; None: as many as it has. A cluster says itself.
        environment: variables that workers get besides their machine's own.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    check_reachable()
    import ray  # noqa: PLC0415 -- an optional extra, which takes a second to load

    logging.getLogger("ray").setLevel(logging.ERROR)
    address = _address()
    alone = {"num_cpus": num_cpus, "include_dashboard": False} if address is None else {"address": address}
    try:
        with _told_to_users(), _unchanged_handler():
            ray.init(
                **alone,
                runtime_env={"env_vars": dict(environment)},
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
            )
        yield ray
    finally:
        ray.shutdown()


def _address() -> str | None:
    """Return the address of the user's cluster; None where they name none."""
    return os.environ.get(ADDRESS_VARIABLE) or None


def first_line(error: Exception) -> str:
    """Return what kind of error it is, and the first line of what Ray says of it."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


@contextmanager
def _told_to_users() -> Iterator[None]:
    try:
        yield
    except (ConnectionError, RuntimeError, ValueError, OSError, OverflowError) as error:
        address, reason = _address(), str(error).partition("\n")[0]
        message = f"the Ray cluster {address or 'of this machine'} cannot be reached: {reason}"
        raise InputError(Problem(message, key=ADDRESS_VARIABLE, value=address)) from None


@contextmanager
def _unchanged_handler() -> Iterator[None]:
    """Keep what this process does when it is asked to end: Ray would end it with another exit code."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _knock(address: str | None) -> None:
    """Raise OSError where nobody listens at an address: Ray itself would end this process."""
    host, colon, port = (address or "").rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
