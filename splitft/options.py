"""Problems in the words of the command line: with the option that was typed, not the argument or key that it became."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from devices.problems import InputError, Problem
from simulator.overrides import SOURCE

OUT = "out"
"""The argument that names a folder to make: the key of problems with it."""


@contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Blame options for problems with what they have set.

    Args:
        options: by argument of a function, or key of a scenario.
    """
    try:
        yield
    except InputError as error:
        raise type(error)(*(_named(problem, options) for problem in error.problems)) from error


def _named(problem: Problem, options: Mapping[str, str]) -> Problem:
    if problem.file in {None, SOURCE} and problem.key is not None and problem.key in options:
        return replace(problem, file=options[problem.key], key=None)
    return problem
