"""Waits for the workers of a cluster: TensorFlow itself waits an hour for them, in silence."""

import contextlib
import socket
import sys
import time

_POLL_SECONDS = 0.5
_TELL_SECONDS = 10.0
_END_SECONDS = 60.0


def wait_for_workers(cluster: dict[str, list[str]], task: str, index: int, seconds: float) -> None:
    """Waits until every worker listens on its port, and listens on this one's meanwhile.

    It prints whom it waits for, every 10 seconds.

    Args:
        cluster: addresses "host:port" of the tasks of each type, as in TF_CONFIG.
        task: the type of this process's task, such as "worker".
        index: its place among those of its type.
        seconds: how long to wait, 300 for example.

    Raises:
        ValueError: if an address has no port, this worker's port is taken, or a worker is not
            there in time.
    """
    addresses = {
        f"{kind} {number}": _host_and_port(address)
        for kind in ("chief", "worker")
        for number, address in enumerate(cluster.get(kind, ()))
    }
    if f"{task} {index}" not in addresses:
        raise ValueError(
            f"The task of TF_CONFIG, {task} {index}, is no worker of its cluster: expected one of "
            f"{[*addresses]}. (There are no parameter servers or evaluators.)"
        )
    _, port = own = addresses.pop(f"{task} {index}")
    if not addresses:
        return
    with _listening(port, f"{task} {index} at {_text(own)}"):
        began = told = time.monotonic()
        while missing := _unreachable(addresses):
            now = time.monotonic()
            waited_for = ", ".join(
                f"{name} at {_text(addresses[name])} ({reason})" for name, reason in missing.items()
            )
            if now - began >= seconds:
                raise ValueError(
                    f"Not all workers of TF_CONFIG were there within {seconds:g} s. Missing: "
                    f"{waited_for}. Start all of them with the same cluster, each with its own "
                    "index, and look whether the network lets them reach each other."
                )
            if told == began or now - told >= _TELL_SECONDS:
                told = now
                left = max(seconds - (now - began), 0.0)
                print(
                    f"Waiting for {waited_for}, for {left:.0f} s at most.",
                    file=sys.stderr,
                    flush=True,
                )
            addresses = {name: addresses[name] for name in missing}
            time.sleep(_POLL_SECONDS)


def wait_until_chief_has_ended(cluster: dict[str, list[str]], task: str, index: int) -> None:
    """Lets another worker than the chief end after it, a minute later at most.

    The last exchange of numbers is over on one worker before it is on the other. If that one's
    process ends, the chief's exchange is cut off.

    Args:
        cluster: as of `wait_for_workers`.
        task: the type of this process's task, such as "worker".
        index: its place among those of its type.
    """
    kind = "chief" if cluster.get("chief") else "worker"
    if (task, index) == (kind, 0):
        return
    chief = {kind: _host_and_port(cluster[kind][0])}
    until = time.monotonic() + _END_SECONDS
    while time.monotonic() < until and not _unreachable(chief):
        time.sleep(_POLL_SECONDS)


def _host_and_port(address):
    host, _, port = str(address).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f'An address in TF_CONFIG must be "host:port", such as "10.0.0.1:12345"; got '
            f"{address!r}."
        )
    return host.strip("[]"), int(port)


def _text(address):
    return "{}:{}".format(*address)


def _unreachable(addresses):
    """Names of those that do not answer, with the reason."""
    missing = {}
    for name, address in addresses.items():
        try:
            socket.create_connection(address, timeout=2.0).close()
        except OSError as error:
            missing[name] = error.strerror or str(error)
    return missing


@contextlib.contextmanager
def _listening(port, who):
    """Lets other workers find this one before TensorFlow's server listens on its port."""
    try:
        both = socket.has_dualstack_ipv6()
        server = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            backlog=1024,
            dualstack_ipv6=both,
        )
    except OSError as error:
        raise ValueError(
            f"This worker, {who}, can't listen on its port: {error.strerror or error}. Another "
            "program has it, or another worker was started with the same index in TF_CONFIG."
        ) from error
    with server:
        yield
