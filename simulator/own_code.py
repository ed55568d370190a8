"""The user's own policies, selections and rules of aggregation: found by name, executed only in a run.

A scenario names them as `path/to/file.py:name`, relative to itself, or as `module:name` of an installed package. What
is looked up is text: its sha256 is a part of the run's identity, and a check finds out whether the function is there
without executing it.
"""

import ast
import hashlib
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, TypeVar

from devices.problems import InputError, Problem, did_you_mean
from simulator.models import beside
from simulator.scenario import Scenario

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class OwnCode:
    """A function of the user's, as its file was when it was looked up.

    Attributes:
        key: of the scenario that names it.
        kind: the value there.
        file: where it was found.
        name: of the function.
        source: text of the file.
        package: that its relative imports start from; empty for a file that is named by its path.
    """

    key: str
    kind: str
    file: Path
    name: str
    source: bytes
    package: str = ""

    @property
    def sha256(self) -> str:
        """Return the digest of the file in hex."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def words(self) -> str:
        """Return what a user is told of it before it is executed."""
        return f"this scenario runs code: {self.key} is '{self.name}' of {self.file} (sha256 {self.sha256[:12]})"

    def load(self) -> Callable[..., Any]:
        """Execute `source` and return the function.

        What is executed is what was digested, never what Python has cached or imported before. The module therefore
        has a name of its own, beside its real one, so that relative imports find what they would find there.

        Raises:
            InputError: the file fails, or the name is nothing that can be called.
        """
        name = f"splitft_own_{self.sha256[:16]}"
        spec = ModuleSpec(f"{self.package}.{name}" if self.package else name, loader=None, origin=str(self.file))
        module = module_from_spec(spec)
        module.__file__ = str(self.file)
        sys.modules[module.__name__] = module  # where dataclasses look for their own module
        self.guarded(lambda: exec(compile(self.source, str(self.file), "exec"), module.__dict__))  # noqa: S102
        function = vars(module).get(self.name)
        if not callable(function):
            raise self.problem(f"'{self.name}' is no function")
        loaded: Callable[..., Any] = function
        return loaded

    def guarded(self, call: Callable[[], Any]) -> Any:
        """Return what a call of the user's code returns.

        Raises:
            InputError: it raised something or wanted to exit; the message says what and in which line of the file.
        """
        try:
            return call()
        except (Exception, SystemExit) as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == str(self.file)]
            place = f", line {lines[-1]}" if lines else ""
            raise self.problem(f"'{self.name}' failed: {type(error).__name__}: {error}{place}") from error

    def answer(self, call: Callable[[], Any], usable: Callable[[Any], T]) -> T:
        """Return what `usable` makes of what a call of the user's code returns.

        Raises:
            InputError: the call failed, as in `guarded`; or `usable` raised something, and the message says what.
        """
        returned = self.guarded(call)
        try:
            return usable(returned)
        except Exception as error:  # there are no bounds to what a user's function may return
            raise self.problem(f"'{self.name}' returned what cannot be used: {error}") from error

    def problem(self, message: str) -> InputError:
        """Return an error that blames this code."""
        return InputError(Problem(f"{message} ({self.file})", key=self.key, value=self.kind))


def own_code(scenario: Scenario) -> Mapping[str, OwnCode]:
    """Return the user's own code that a scenario names, by key; nothing is executed.

    Raises:
        InputError: a file cannot be read or is no Python, or has no such name.
    """
    named = {
        "policy.kind": scenario.policy.kind,
        "selection.kind": scenario.selection.kind,
        "protocol.aggregator": scenario.protocol.aggregator,
    }
    return {key: _found(scenario, key, kind) for key, kind in named.items() if ":" in kind}


def _found(scenario: Scenario, key: str, kind: str) -> OwnCode:
    place, _, name = kind.rpartition(":")
    is_file = place.endswith(".py")
    file = Path(beside(scenario, place)) if is_file else _module_file(place)
    try:
        if file is None:
            raise InputError(Problem(f"there is no module '{place}' with a Python file", key=key, value=kind))
        package = "" if is_file else _package(place, file)
        code = OwnCode(key=key, kind=kind, file=file, name=name, source=file.read_bytes(), package=package)
        names = _names(ast.parse(code.source))
    except OSError as error:
        raise InputError(Problem(f"{file}: {error.strerror}", key=key, value=kind)) from None
    except (SyntaxError, ValueError) as error:
        raise InputError(Problem(f"{file} is not valid Python: {error}", key=key, value=kind)) from None
    if name not in names:
        raise code.problem(f"has no '{name}'; it has {', '.join(names) or 'nothing'}{did_you_mean(name, names)}")
    return code


def _module_file(module: str) -> Path | None:
    """Return the file of a module; no package is imported for that, which would execute it."""
    top, *inner = module.split(".")
    with suppress(ImportError, ValueError):
        spec = find_spec(top)
        for name in inner:
            places = None if spec is None else spec.submodule_search_locations
            # Not by its full name: of a folder without `__init__.py` Python would then want the parent imported.
            spec = None if places is None else PathFinder.find_spec(name, list(places))
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            return Path(spec.origin)
    return None


def _package(module: str, file: Path) -> str:
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def _names(tree: ast.Module) -> list[str]:
    """Return what a module defines at its top level: functions, classes, assignments and imports."""
    names: list[str] = []
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.append(name)
            case ast.Assign(targets=targets):
                names += [target.id for target in targets if isinstance(target, ast.Name)]
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names += [alias.asname or alias.name for alias in aliases]
            case _:
                pass
    return names
