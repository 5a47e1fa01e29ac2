"""A finished run's report.json, read back into the report it was written from."""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from credence.core.errors import ConfigError
from credence.report import control, schema, talks
from credence.report.control import ControlReport
from credence.report.schema import Report
from credence.report.talks import TalkReport
from credence.study.examples import read_text


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ConfigError: no such file, broken, or not an object.
    """
    try:
        data = json.loads(read_text(path, "report"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}. The run may have been cut off while writing.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, an object is needed: it was not written by credence.")
    return data


def read_report(path: Path) -> Report:
    """The report of a run: the inverse of Report.to_json, tested in tests/unit/test_stored.py.

    Raises:
        ConfigError: as read_json; another schema; or a field that is missing or of another kind.
    """
    return _read(Report, _of_schema(path, schema.SCHEMA), str(path))


def read_talks(path: Path) -> TalkReport:
    """The report of a dialogue run: the inverse of TalkReport.to_json.

    Raises:
        ConfigError: as read_report.
    """
    return _read(TalkReport, _of_schema(path, talks.SCHEMA), str(path))


def read_control(path: Path) -> ControlReport:
    """The report of a control run: the inverse of ControlReport.to_json.

    Raises:
        ConfigError: as read_report.
    """
    return _read(ControlReport, _of_schema(path, control.SCHEMA), str(path))


def _of_schema(path: Path, wanted: int) -> dict[str, Any]:
    data = read_json(path)
    if data.get("schema") != wanted:
        raise ConfigError(f"{path} has schema {data.get('schema')!r}, this credence reads {wanted}. Run it again.")
    return data


def _read(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - walks types and JSON side by side
    if kind is Any:
        return value
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(next(k for k in get_args(kind) if k is not type(None)), value, where)
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {value!r} found, an object is needed.")
        hints, known = get_type_hints(kind), {f.name for f in fields(kind)}
        if known - set(value):
            raise ConfigError(f"{where} lacks {', '.join(sorted(known - set(value)))}: it was not written by credence.")
        return kind(**{name: _read(hints[name], value[name], f"{where}: {name}") for name in known})  # pyright: ignore
    if origin is tuple:
        return tuple(_read(get_args(kind)[0], v, where) for v in value)
    if kind is float:
        return _float(value, where)
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return {name: _read(get_args(kind)[1], v, f"{where}: {name}") for name, v in value.items()}
    if not isinstance(value, kind):
        raise ConfigError(f"{where}: {value!r} found, {kind.__name__} is needed.")
    return value


def _float(value: Any, where: str) -> float:  # noqa: ANN401 - whatever JSON held
    if value is None:
        return math.nan
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: {value!r} found, a number is needed.")
    return float(value)
