"""What the tests of the demo share."""

import socket

import pytest

import polypool as pp
from polypool.demo.shared import shared_pools


@pytest.fixture
def pools() -> dict[str, pp.Pooling]:
    return shared_pools()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach another machine fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("the demo asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
