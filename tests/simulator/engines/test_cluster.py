"""What can be known of a Ray cluster before Ray is asked: whether anybody listens at its address."""

import socket

import pytest

from devices.problems import InputError
from simulator.engines import cluster


@pytest.fixture(autouse=True)
def _with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _name: object())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "[::1]:1"])
def test_an_address_at_which_nobody_listens_is_an_error_that_names_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match="cannot be reached") as told:
        cluster.check_reachable()
    assert address in str(told.value)


def test_an_address_at_which_somebody_listens_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        cluster.check_reachable()


@pytest.mark.parametrize("address", ["", "auto"])
def test_no_address_or_one_that_ray_finds_itself_is_not_knocked_at(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    cluster.check_reachable()


def test_without_ray_a_user_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install .splitft\[ray\]"):
        cluster.check_reachable()
