"""The command line as these tests call it: in their own process, so that it stays quick."""

import sys

import pytest

from splitft import cli


@pytest.fixture
def call(capsys, monkeypatch):
    """Return a function that calls the command line and returns (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["splitft", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call
