"""`pydocs`: the docstrings of the Python standard library, real English prose that every Python installation carries.

They are read with `ast` from the sources of the running interpreter; nothing is imported. Another Python version has
other docstrings, hence another content digest, which a run records: compare runs only where the digests are equal.
"""

import ast
import functools
import hashlib
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workloads.array_cache import Arrays, cached_arrays
from workloads.texts import DataError

# Programs beside the library: an editor, a deprecated converter, demonstrations; and help topics (slow, no docstring).
_SKIPPED_MODULES = frozenset({"idlelib", "lib2to3", "turtledemo", "pydoc_data"})
_SKIPPED_FOLDERS = frozenset({"__pycache__", "test", "tests"})

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(cache_dir: Path | None = None, folder: Path | None = None) -> list[str]:
    """Return the distinct docstrings of the standard library, by file path, then by place in the file.

    Tests, site-packages and whatever `sys.stdlib_module_names` does not list stay out. Indentation is cleaned as by
    `inspect.cleandoc`.

    Parsing takes seconds, so the result is kept under the digest of all the sources. Each process reads them again, but
    those of its own interpreter only once: sizes and time stamps would tell changes less surely.

    Args:
        cache_dir: where the result is kept; None keeps nothing.
        folder: the folder of the standard library; None is that of the running interpreter.

    Raises:
        DataError: if the interpreter came without its sources, as some embedded ones do.
    """
    return list(_of_this_python(cache_dir) if folder is None else _read(cache_dir, folder))


@functools.lru_cache(maxsize=1)
def _of_this_python(cache_dir: Path | None) -> tuple[str, ...]:
    return tuple(_read(cache_dir, Path(sysconfig.get_path("stdlib"))))


def _read(cache_dir: Path | None, root: Path) -> list[str]:
    sources = {path: (root / path).read_bytes() for path in _source_paths(root)}
    if not sources:
        raise DataError(
            f"dataset pydocs: this Python has no library sources in {root}; use a .txt or .jsonl file instead"
        )
    key = {
        "sources": _sources_digest(sources),
        "python": [sys.implementation.name, *sys.version_info[:3]],
        "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    kept = cached_arrays(cache_dir, "pydocs", key, lambda: _pack(_distinct_docstrings(sources)))
    return _unpack(kept)


def _source_paths(root: Path) -> list[str]:
    modules = sys.stdlib_module_names - _SKIPPED_MODULES
    paths = []
    for folder, subfolders, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        top = inside == Path()
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS and (not top or name in modules)]
        wanted = [name for name in files if name.endswith(".py") and (not top or name.removesuffix(".py") in modules)]
        paths += [(inside / name).as_posix() for name in wanted]
    return sorted(paths)


def _sources_digest(sources: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, content in sources.items():
        digest.update(f"{path} {len(content)};".encode())
        digest.update(content)
    return digest.hexdigest()


def _distinct_docstrings(sources: dict[str, bytes]) -> list[str]:
    distinct: dict[str, None] = {}
    with warnings.catch_warnings():
        # Old sources hold escapes such as "\d" that newer Pythons warn about; they are not ours to mend.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        for content in sources.values():
            for node in _documented(ast.parse(content)):
                text = (ast.get_docstring(node) or "").strip()
                if text:
                    distinct.setdefault(text)
    return list(distinct)


def _documented(tree: ast.Module) -> Iterator[_Documented]:
    """Yield the nodes that may carry a docstring, in the order of the source; expressions are not descended into."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, _Documented):
            yield node
        children = [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]
        stack.extend(reversed(children))


def _pack(texts: list[str]) -> Arrays:
    # An escape in a literal can make half of a surrogate pair, which UTF-8 cannot hold.
    encoded = [text.encode(errors="replace") for text in texts]
    return {
        "utf8": np.frombuffer(b"".join(encoded), np.uint8),
        "ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
    }


def _unpack(arrays: Arrays) -> list[str]:
    utf8 = arrays["utf8"].tobytes()
    ends = arrays["ends"].tolist()
    return [utf8[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
