"""Values of parameters as people write them, in YAML files and behind ``-p NAME=VALUE``, read by one rule.

The rule is that of YAML 1.2 and of papermill where YAML 1.1 surprises: ``010`` is ten and not eight, ``1:30`` and
``2021-01-01`` are texts, ``1e3`` is a number, ``off`` and ``no`` are words. A name that stands twice, a value that refers to
itself and references that multiply are refused.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from cxrlib.words import shortened

MAXIMUM_BYTES = 1 << 20
MAXIMUM_VALUES = 100_000


class WrittenInt(int):
    """A whole number that remembers how it was written, for parameters that are texts: a folder called ``010``."""

    written: str


class WrittenFloat(float):
    """A fraction that remembers how it was written."""

    written: str


class _Loader(yaml.SafeLoader):
    """Safe YAML with the scalars of the rule above."""


_KEPT = {"tag:yaml.org,2002:merge"}
_Loader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT])
}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|None|", "~nN\0"),
    ("int", r"[-+]?[0-9][0-9_]*", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
):
    _letters = [*_first.replace("\0", "")] + ([""] if "\0" in _first else [])
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _letters)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    value = WrittenInt(node.value.replace("_", ""))
    value.written = node.value
    return value


def _fraction(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.replace("_", "")
    value = WrittenFloat(text.replace(".", "", 1) if "inf" in text.lower() or "nan" in text.lower() else text)
    value.written = node.value
    return value


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"'{shortened(key.value)}' is given twice; keep one", key.start_mark)
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _fraction)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_value(text: str) -> Any:
    """A value, or any other YAML document, by the rule of this module.

    Raises:
        ValueError: with the line, if it is not YAML, holds what is not data, or unfolds to more than 100,000 values.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}, set()) > MAXIMUM_VALUES:
            raise ValueError(f"its references (& and *) unfold to more than {MAXIMUM_VALUES:,} values; write them out")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{place}{error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise ValueError(f"it holds a character that is not text ({error.reason})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError):  # as PyYAML answers '!!bool maybe' and '!!timestamp x'
        raise ValueError("a tag (!!) does not fit its value; leave it out") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError((str(error).splitlines() or ["a value cannot be read"])[0]) from None
    finally:
        if loader is not None:
            loader.dispose()


def _size(node: yaml.Node, known: dict[int, int], open_nodes: set[int]) -> int:
    """Values in a node once its references are written out."""
    if id(node) in open_nodes:
        raise ValueError("a value refers to itself; write it out")
    if id(node) not in known:
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else []
        open_nodes.add(id(node))
        known[id(node)] = 1 + sum(_size(child, known, open_nodes) for child in children)
        open_nodes.discard(id(node))
    return known[id(node)]


def read_parameters(file: Path) -> dict[str, Any]:
    """The ``name: value`` lines of a YAML file; none of an empty one.

    Raises:
        ValueError: naming the file, and the line where there is one, if it is no such file.
        OSError: if it cannot be read.
    """
    file = Path(file)
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{file}: not a file but a folder, a device or a pipe; give a YAML file with 'name: value' lines")
    if status.st_size > MAXIMUM_BYTES:
        raise ValueError(f"{file}: {status.st_size:,} bytes are more than {MAXIMUM_BYTES:,}; give a YAML file with 'name: value' lines")
    try:
        values = read_value(file.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: byte {error.start} is not UTF-8; save it as UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}; write one 'name: value' a line, lists as [1, 2]") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError(f"{file}: it must hold 'name: value' lines, such as 'seed: 1'")
    return values


def expanded(folder: Path | str) -> Path:
    """A path with ``~`` and ``~name`` replaced by home folders, as a shell does it unless the text is quoted."""
    path = Path(folder)
    try:
        return path if path.exists() else path.expanduser()
    except (RuntimeError, OSError):  # no such user
        return path
