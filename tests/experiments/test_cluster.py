"""Waiting for the workers of a cluster."""

import concurrent.futures
import contextlib
import json
import math
import socket
import threading
import time

import pytest

from ecl_tf.experiments import cluster, strategies


def free_ports(number):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


def tf_config(addresses, index=0):
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


def test_a_worker_that_is_missing_is_named_and_not_waited_for_in_eternity(monkeypatch, capsys):
    one, two = free_ports(2)
    monkeypatch.setenv("TF_CONFIG", tf_config([f"127.0.0.1:{one}", f"127.0.0.1:{two}"]))
    with pytest.raises(ValueError, match=rf"within 1 s. Missing: worker 1 at 127.0.0.1:{two}"):
        strategies.use("multi_worker", wait_seconds=1)
    assert f"Waiting for worker 1 at 127.0.0.1:{two}" in capsys.readouterr().err


def test_workers_that_come_one_after_the_other_find_each_other():
    ports = free_ports(3)
    chief, *others = (f"127.0.0.1:{port}" for port in ports)
    all_found = threading.Barrier(3)

    def come(seconds, port, task, index):
        time.sleep(seconds)
        cluster.wait_for_workers({"chief": [chief], "worker": others}, task, index, 30)
        with socket.create_server(("", port)):  # As TensorFlow's server does from here on.
            all_found.wait(30)

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(come, (0, 0, 1), ports, ("chief", "worker", "worker"), (0, 0, 1)))


def test_an_address_without_a_port_and_a_port_that_is_taken(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["localhost", "localhost:1"]))
    with pytest.raises(ValueError, match=r"must be \"host:port\".*got 'localhost'"):
        strategies.use("multi_worker")
    with pytest.raises(ValueError, match=r"ps 0, is no worker .* expected one of \['worker 0'\]"):
        cluster.wait_for_workers({"ps": ["h:1"], "worker": ["h:2"]}, "ps", 0, 1)
    with socket.create_server(("", 0)) as other:
        own = f"127.0.0.1:{other.getsockname()[1]}"
        monkeypatch.setenv("TF_CONFIG", tf_config([own, "127.0.0.1:1"]))
        with pytest.raises(ValueError, match=r"worker 0 at .* can't listen .* with the same index"):
            strategies.use("multi_worker")


def test_a_worker_ends_after_the_chief_and_the_chief_waits_for_nobody(monkeypatch):
    monkeypatch.setattr(cluster, "_END_SECONDS", math.inf)
    server = socket.create_server(("127.0.0.1", 0))  # As the chief's, which ends after a second.
    chief = f"127.0.0.1:{server.getsockname()[1]}"
    others = {"worker": [chief, "127.0.0.1:1"]}
    closing = threading.Timer(1, server.close)
    cluster.wait_until_chief_has_ended(others, "worker", 0)
    assert closing.start() is None and server.fileno() != -1
    cluster.wait_until_chief_has_ended(others, "worker", 1)
    assert server.fileno() == -1


def test_a_worker_does_not_wait_in_eternity_for_the_chiefs_end(monkeypatch):
    monkeypatch.setattr(cluster, "_END_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        chief = f"127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        cluster.wait_until_chief_has_ended({"chief": [chief], "worker": ["h:1"]}, "worker", 0)
        assert time.monotonic() - began >= 0.5
