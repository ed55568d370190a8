import ast
import inspect
import json
import os
import textwrap

import pytest

from workloads import pydocs
from workloads.pydocs import docstrings
from workloads.texts import DataError


def write(root, path, source):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source), encoding="utf-8")


@pytest.fixture
def library(tmp_path):
    """A small standard library: `abc` and `json` are names of it, whatever the Python version."""
    root = tmp_path / "lib"
    write(root, "abc.py", '"""Abstract base classes."""')
    return root


@pytest.fixture
def parsed(monkeypatch):
    """How many sources have been parsed so far, as a list that grows."""
    sources = []
    parse = ast.parse
    monkeypatch.setattr(pydocs.ast, "parse", lambda *args: sources.append(args[0]) or parse(*args))
    return sources


def test_docstrings_of_modules_classes_and_functions_come_in_the_order_of_the_source(library):
    write(
        library,
        "abc.py",
        '''
        """Module."""
        def plain():
            """Function."""
            def inner():
                """Inner function."""
        class Shape:
            """Class."""
            async def area(self):
                """Method."""
        if True:
            try:
                x = 1
            except ValueError:
                def in_handler():
                    """In a handler."""
            else:
                def in_else():
                    """In else."""
        match x:
            case 1:
                def in_case():
                    """In a case."""
        with x:
            def last():
                """Last."""
        def without(): pass
        "a string, not a docstring"
        ''',
    )
    assert docstrings(folder=library) == [
        "Module.",
        "Function.",
        "Inner function.",
        "Class.",
        "Method.",
        "In a handler.",
        "In else.",
        "In a case.",
        "Last.",
    ]


def test_files_come_in_the_order_of_their_paths_and_repetitions_stay_out(library):
    write(library, "json/__init__.py", '"""JSON."""')
    write(library, "json/tool.py", '"""Abstract base classes."""')
    write(library, "cmd.py", '"""Commands."""')
    assert docstrings(folder=library) == ["Abstract base classes.", "Commands.", "JSON."]


@pytest.mark.parametrize(
    "path",
    [
        "test/test_json.py",
        "json/tests/test_all.py",
        "idlelib/editor.py",
        "lib2to3/main.py",
        "turtledemo/clock.py",
        "pydoc_data/topics.py",
        "site-packages/numpy/core.py",
        "sitecustomize.py",
        "numpy.py",
        "json/notes.txt",
    ],
)
def test_what_is_not_the_library_stays_out(library, path):
    write(library, path, '"""Not to be read."""')
    assert docstrings(folder=library) == ["Abstract base classes."]


def test_indentation_is_cleaned_and_blank_docstrings_stay_out(library):
    source = '''
        def indented():
            """

            Summary.

                code()

            End.
            """
        def blank():
            """   """
        '''
    write(library, "abc.py", source)
    assert docstrings(folder=library) == ["Summary.\n\n    code()\n\nEnd."]


def test_doubtful_literals_are_read_without_a_warning(library):
    # "\d" is an invalid escape, which newer Pythons warn about, and warnings are errors here; "\ud800" is no text.
    write(library, "abc.py", r'"""Digits \d and \ud800."""')
    assert docstrings(folder=library) == ["Digits \\d and ?."]


def test_sources_are_parsed_once_per_content(library, tmp_path, parsed):
    write(library, "cmd.py", '"""Commands."""')
    for _ in range(3):
        assert docstrings(tmp_path / "cache", library) == ["Abstract base classes.", "Commands."]
    assert len(parsed) == 2  # two files, once each


def test_an_edit_that_keeps_size_and_time_stamp_is_seen(library, tmp_path):
    file = library / "abc.py"
    docstrings(tmp_path / "cache", library)
    before = file.stat()
    write(library, "abc.py", '"""Abstract CASE classes."""')
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert docstrings(tmp_path / "cache", library) == ["Abstract CASE classes."]


def test_a_python_without_sources_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"pydocs: this Python has no library sources in .*; use a .txt or .jsonl file"):
        docstrings(folder=tmp_path / "nowhere")


def test_the_running_interpreter_has_thousands_of_distinct_docstrings():
    texts = docstrings()
    # 6,500 to 7,400 on CPython 3.11 to 3.13.
    assert len(texts) > 5000
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and text for text in texts)
    assert inspect.cleandoc(json.dumps.__doc__) in texts


def test_the_sources_of_this_python_are_read_once_by_a_process(library, monkeypatch):
    monkeypatch.setattr(pydocs.sysconfig, "get_path", lambda _name: str(library))
    pydocs._of_this_python.cache_clear()
    try:
        first = docstrings()
        write(library, "abc.py", '"""Something else."""')
        first.clear()  # each caller has a list of its own
        assert docstrings() == ["Abstract base classes."]
    finally:
        pydocs._of_this_python.cache_clear()
