import pytest

from devices.availability import HyperexponentialDuration, LognormalDuration, WeibullDuration
from devices.availability_file import availability_profile
from devices.catalogue.lookup import Catalogue
from devices.strict_yaml import InputError, parse_document


def test_durations_and_times_are_in_seconds() -> None:
    profile = Catalogue().availability("stunner-charged")

    assert profile.on == (LognormalDuration(ln_mu_s=8.28, ln_sigma=1.34, ks=0.046),)
    # 0.61 h, 10.25 h and 5.54 h in s
    assert profile.off == (
        HyperexponentialDuration(first_frac=0.32, mean1_s=2196.0, mean2_s=36_900.0, ks=0.046),
        WeibullDuration(shape=0.69, scale_s=19_944.0, ks=0.055),
    )
    assert profile.on_mean_s == 9540.0  # 2.65 h
    assert profile.client_beta == (1.16, 3.64)


def test_a_profile_that_is_always_on_needs_nothing_else() -> None:
    profile = Catalogue().availability("always-on")

    assert (profile.process, profile.on, profile.period_s, profile.dropout_frac) == ("always", (), None, None)


def test_a_daily_course_has_its_period_in_seconds() -> None:
    profile = Catalogue().availability("diurnal-desktop")

    assert (profile.process, profile.period_s, profile.diurnal_ratio) == ("sinusoid", 86_400.0, 2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("process: sometimes", "a.yaml:1: process: expected 'always', 'on-off-renewal', "),
        ("process: always\non: [{kind: normal}]", "a.yaml:2: on.0.kind: unknown kind 'normal'; allowed: lognormal, "),
        ("process: always\ndropout_frac: [0.1]", "a.yaml:2: dropout_frac.1: this key is required"),
        ("process: always\ndropout_frac: [0.9, 0.1]", "a.yaml:2: dropout_frac: the lowest share comes first"),
        ("process: always\navailable_frac: 2", "a.yaml:2: available_frac: expected a number of at most 1, got 2"),
        (
            "process: always\non_mean_h: 1e300",
            "a.yaml:2: on_mean_h: expected a number of at most 1,000,000,000, got 1e+300",
        ),
        (
            "process: always\non: [{kind: lognormal, ln_mu_s: 800, ln_sigma: 1}]",
            "a.yaml:2: on.0.ln_mu_s: expected a number of at most 20, got 800",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_and_key(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        availability_profile(parse_document(text, "a.yaml"), "a")

    assert str(caught.value).startswith(message)


LONG = "{kind: lognormal, ln_mu_s: 8, ln_sigma: 10}"  # a mean of exp(8 + 50) s
USUAL = "{kind: lognormal, ln_mu_s: 8, ln_sigma: 1}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"on: [{LONG}]\noff: [{USUAL}]", "a.yaml:2: on: clients would be there practically always: a mean share of "),
        (f"on: [{USUAL}]\noff: [{LONG}]", "a.yaml:2: on: clients would be there practically never: a mean share of "),
        (
            f"on: [{USUAL}]\noff: [{USUAL}]\nclient_beta: [1e9, 1e-9]",
            "a.yaml:4: client_beta: clients would be there practically always: a mean share of time of 1 (by ",
        ),
        (
            f"on: [{USUAL}]\noff: [{{kind: weibull, shape: 0.001, scale_h: 1}}]",
            "a.yaml:3: off.0: the mean of these times is more than a number can say",
        ),
    ],
)
def test_times_by_which_nobody_ever_comes_or_goes_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        availability_profile(parse_document(f"process: on-off-renewal\n{text}", "a.yaml"), "a")

    assert str(caught.value).startswith(message)
