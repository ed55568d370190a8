"""What may be assumed of the power of a device, and that nothing is assumed unasked."""

import dataclasses

import pytest

from devices.catalogue.lookup import Catalogue
from devices.defaults import defaults
from devices.power import POWERS, assumed_power, missing_powers, with_assumed_power
from devices.profiles import DeviceProfile


@pytest.fixture(scope="module")
def board() -> DeviceProfile:
    return Catalogue().device("rpi5-8gb")


def test_the_catalogue_states_active_power_alone(board: DeviceProfile) -> None:
    assert missing_powers(board) == ("power_idle_w", "power_transmit_w", "power_receive_w")
    assert set(POWERS) < {field.name for field in dataclasses.fields(DeviceProfile)}


def test_what_is_missing_is_filled_in_from_the_tier_as_assumed(board: DeviceProfile) -> None:
    filled, tier = with_assumed_power(board), assumed_power().tiers["sbc"]
    assert board.power_active_w is not None
    idle_w = 0.45 * board.power_active_w  # of an sbc
    assert tier.idle_frac.value == 0.45
    assert filled.power_idle_w == pytest.approx(idle_w)
    # The radio comes on top of waiting.
    assert filled.power_transmit_w == pytest.approx(idle_w + 0.7)
    assert filled.power_receive_w == pytest.approx(idle_w + 0.5)
    assert missing_powers(filled) == ()
    assert {filled.provenance[name].kind for name in missing_powers(board)} == {"assumed"}
    assert all(filled.provenance[name].source for name in missing_powers(board))


def test_what_a_device_states_is_believed(board: DeviceProfile) -> None:
    stated = dataclasses.replace(board, power_idle_w=1.0, power_receive_w=9.0)
    filled = with_assumed_power(stated)
    # The radio adds to the idle power that is stated.
    assert (filled.power_idle_w, filled.power_transmit_w, filled.power_receive_w) == (1.0, 1.7, 9.0)
    assert "power_receive_w" not in filled.provenance


def test_active_power_is_never_assumed(board: DeviceProfile) -> None:
    unknown = dataclasses.replace(board, power_active_w=None)
    assert with_assumed_power(unknown) == unknown
    of_no_tier = dataclasses.replace(board, tier="toaster")
    assert with_assumed_power(of_no_tier) == of_no_tier


def test_every_tier_has_something_to_assume() -> None:
    assert set(assumed_power().tiers) == set(defaults().tiers)


def test_no_device_of_the_catalogue_sends_or_receives_at_more_than_it_computes_but_waits_at_less() -> None:
    catalogue = Catalogue()
    for name in catalogue.ids("devices"):
        device = with_assumed_power(catalogue.device(name))
        assert device.power_active_w is not None
        assert device.power_idle_w is not None
        assert device.power_transmit_w is not None
        assert device.power_receive_w is not None
        assert 0 < device.power_idle_w < device.power_receive_w <= device.power_transmit_w
        assert device.power_transmit_w < device.power_active_w
