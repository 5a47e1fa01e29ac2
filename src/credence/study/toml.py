"""From a TOML file, a profile and `--set` to a checked RunConfig, and back to a commented file."""

import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from credence.core.errors import ConfigError, nearest
from credence.study.config import Placed, RunConfig
from credence.study.data import find_source
from credence.study.engine import EngineConfig
from credence.study.examples import read_text
from credence.study.functions import check_function
from credence.study.learner import LearnerConfig
from credence.study.section import Section

PROFILES = ("fast", "long")
NONE = "none"
"""What --set writes to take an optional setting or table out: TOML has no word for it."""
_BOUNDS = {f"{how}_than{equal}" for how in ("greater", "less") for equal in ("", "_equal")}
Table = dict[str, Any]
CHEERFUL: Table = {"reward": {"fn": "vader", "beta": 0.1, "bound": 1.0, "on_prefix": True}}
"""The evidence that commands use where no file is given."""


def load_config(path: Path | str | None, overrides: Sequence[str] = (), profile: str = "") -> RunConfig:
    """Read and check a run's settings; nothing is loaded, no model touched.

    Args:
        path: a TOML file; None takes the defaults with VADER's sentiment at beta 0.1.
        overrides: "evidence.reward.beta=0.2", values in TOML syntax (a bare word is a string; none takes a setting or
            table out that may be missing). They win.
        profile: "", "fast" or "long": the file's table of that name overrides the rest.

    Raises:
        ConfigError: no such file, broken TOML, an unknown key (with the nearest), a value that cannot be.
    """
    table, folder = _read_table(RunConfig, path, overrides, profile)
    config = _checked(RunConfig, table).at(folder)
    for i, reward in enumerate(config.evidence.reward):
        check_function(reward.fn, folder, _dotted(_written(table, ("evidence", "reward", i, "fn"))))
    if config.measure.gold:
        check_function(config.measure.gold, folder, "measure.gold")
    find_source(config.prompts.source, config.folder)
    return config


Kind = TypeVar("Kind", bound=Placed)


def read_config(kind: type[Kind], path: Path | str | None, overrides: Sequence[str] = (), profile: str = "") -> Kind:
    """Settings of this kind, from a file, a profile and overrides; see load_config.

    Raises:
        ConfigError: as load_config, but for what the settings name.
    """
    table, folder = _read_table(kind, path, overrides, profile)
    return _checked(kind, table).at(folder)


def _read_table(
    kind: type[Placed], path: Path | str | None, overrides: Sequence[str], profile: str
) -> tuple[Table, Path]:
    """The settings as written, profile and overrides laid over them, and the folder that paths in them start from."""
    table = {"evidence": CHEERFUL} if path is None else _read(Path(path))
    folder = Path() if path is None else Path(path).parent
    known = {name: table.pop(name, None) for name in PROFILES}
    for name, changes in known.items():
        if changes is not None and not isinstance(changes, dict):
            raise ConfigError(f"{name} = {changes!r}: a table of settings that override the others is needed.")
        if changes is not None:
            _checked(kind, merge(table, changes), f"in [{name}]: ")
    if profile:
        if known.get(profile) is None:
            raise ConfigError(f"{path} has no [{profile}] table, so --{profile} has nothing to change. Add one.")
        table = merge(table, known[profile] or {})
    for override in overrides:
        table = _override(kind, table, override)
    return table, folder


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(read_text(path, "config"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None


def merge(base: Table, changes: Table) -> Table:
    """`base` with `changes` laid over it, table by table; anything that is no table is replaced."""
    out = dict(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = merge(out[name], value) if both else value
    return out


def _override(kind: type[Placed], table: Table, override: str) -> Table:
    path, equals, text = override.partition("=")
    keys = [k.strip() for k in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {override}: write key=value, such as evidence.reward.beta=0.2.")
    value = None if text.strip() == NONE and _optional(kind, keys) else _value(text.strip())
    return _placed(table, keys, value, override)


def _optional(kind: type[Placed], keys: Sequence[str]) -> bool:
    """Whether the setting may be left out altogether: a table that changes how things are done, a bound."""
    field = section(keys[:-1], kind).model_fields.get(keys[-1])
    return field is not None and type(None) in get_args(field.annotation)


def _value(text: str) -> Any:  # noqa: ANN401 - any TOML value
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _placed(table: Any, keys: list[str], value: Any, override: str) -> Any:  # noqa: ANN401 - walks a TOML tree
    if not keys:
        return value
    first, *rest = keys
    if isinstance(table, list):
        if not first.isdigit() and len(table) == 1:
            return [_placed(table[0], keys, value, override)]
        if not first.isdigit() or int(first) >= len(table):
            places = ", ".join(str(i) for i in range(len(table)))
            raise ConfigError(f"--set {override}: several entries stand here; say which one, by number: {places}.")
        return [_placed(t, rest, value, override) if i == int(first) else t for i, t in enumerate(table)]
    if isinstance(table, dict):
        if first == "0" and first not in table:  # a single table stands for a list of one
            return _placed(table, rest, value, override)
        return {**table, first: _placed(table.get(first, {}), rest, value, override)}
    raise ConfigError(f"--set {override}: {first!r} cannot be set inside {table!r}, which is no table.")


def _checked(kind: type[Kind], table: Table, where: str = "") -> Kind:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        lines = [_sentence(kind, e["type"], _written(table, e["loc"]), e["msg"], e["input"]) for e in errors]
        raise ConfigError("\n".join(where + line for line in lines[:5])) from None


def _written(table: Table, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place as the user wrote it: a single table has no number, though it is read as a list of one."""
    here: Any = table
    out: list[int | str] = []
    for part in loc:
        if isinstance(part, int) and isinstance(here, dict):
            continue
        out.append(part)
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            here = None
    return tuple(out)


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)


def _sentence(root: type[Section], kind: str, loc: tuple[int | str, ...], message: str, given: object) -> str:
    dotted = _dotted(loc)
    if kind == "extra_forbidden":
        inside = section(loc[:-1], root)
        here, name = list(inside.model_fields), str(loc[-1])
        elsewhere = [p for p, _ in paths(root) if p.rpartition(".")[2] == name]
        hint = f" Did you mean {' or '.join(elsewhere)}?" if elsewhere else nearest(name, here)
        return f"{dotted}: there is no such setting.{hint} Known here: {', '.join(here) or 'none'}."
    if kind == "missing":
        field = section(loc[:-1], root).model_fields[str(loc[-1])]
        return f"{dotted} is missing: {field.description}."
    message = message.removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")
    needed = message if kind == "value_error" else f"{message} is needed"
    if kind in _BOUNDS:  # why there is a bound is seen from what the setting means
        field = section(loc[:-1], root).model_fields.get(str(loc[-1]))
        needed += f". It is: {field.description}" if field is not None and field.description else ""
    if kind == "string_type" and isinstance(given, bool | int | float):
        text = f'{dotted}="{toml_value(given)}"'
        needed += f"; in quotes it is one: {text}, on the command line --set '{text}'"
    shown = f"{dotted} = {given!r}" if not isinstance(given, dict) else dotted
    return f"{shown}: {needed}."


def inner(field: FieldInfo) -> type[Section] | None:
    """The section a field holds, alone or in a list; None for a plain value."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def section(loc: Sequence[int | str], root: type[Section] = RunConfig) -> type[Section]:
    """The section at a place in the file."""
    here = root
    for part in loc:
        if isinstance(part, str) and part in here.model_fields:
            here = inner(here.model_fields[part]) or here
    return here


def paths(model: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its dotted path, in the order of the file."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        if below := inner(field):
            yield from paths(below, f"{prefix}{name}.")


def toml_value(value: Any) -> str:  # noqa: ANN401 - any setting's value
    """A value in TOML syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def template() -> str:
    """A whole config file: every setting, its meaning above it, its default beside it; loads as it stands."""
    lines = [
        "# A run of credence: credence run THIS_FILE",
        "# Settings behind a # are optional; all others show their defaults.",
        "",
    ]
    lines += described(RunConfig, {"name": "my-run", "evidence": CHEERFUL})
    lines += ["", "# `credence run --fast` and `--long` lay these tables over the rest.", "[fast]"]
    lines += ["measure.draws = 64", "train.reinforce.steps = 4", "", "[long]", "train.reinforce.steps = 200"]
    return "\n".join(lines) + "\n"


def described(model: type[Section], given: Table, path: str = "") -> list[str]:
    """Lines of every setting under its meaning, with what is given for it, else its default. Tables in tables too.

    A table that may be left out, and was, stands behind #. An engine's table has one line a setting: there are many.

    Args:
        model: the section.
        given: values by name; a list of tables becomes one [[…]] each, of which the first is explained.
        path: where the section stands, with a dot behind it; empty at the top of the file.
    """
    lines = _plain_fields(model, given)
    for name, field in model.model_fields.items():
        below = inner(field)
        if below is None:
            continue
        if path == "evidence." and name == "constraint":
            lines += ["", "# [[evidence.constraint]]", '# contains = ["please", "thank"]', "# otherwise = -2.0"]
        elif name not in given and not isinstance(field.default, Section) and not field.is_required():
            head = f"# [{path}{name}]" if field.default is None else f"# [[{path}{name}]]"
            lines += ["", f"# {_purpose(below)}", head, *_beside(below, "# ")]
        elif issubclass(below, EngineConfig | LearnerConfig) and name not in given:
            lines += ["", f"# {_purpose(below)}", f"[{path}{name}]", *_beside(below)]
        elif isinstance(tables := given.get(name, {}), list):
            lines += _several(path + name, below, tables)
        else:
            lines += ["", f"# {_purpose(below)}", f"[{path}{name}]", *described(below, tables, f"{path}{name}.")]
    return lines


def _several(path: str, model: type[Section], tables: list[Table]) -> list[str]:
    first, *others = tables
    lines = ["", f"# {_purpose(model)}", f"[[{path}]]", *_plain_fields(model, first)]
    for table in others:
        lines += ["", f"[[{path}]]", *(f"{name} = {toml_value(value)}" for name, value in table.items())]
    return lines


def _beside(model: type[Section], mark: str = "") -> list[str]:
    """A line a setting, its default or an example and behind it what it means; every line behind `mark`."""
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if inner(field):
            continue
        setting, meaning = _setting(name, field, {}), field.description or ""
        line = (setting if setting.startswith("# ") else mark + setting) + f"  # {meaning}"
        lines += [line] if len(line) <= 120 else [*(f"# {part}" for part in wrap(meaning, 116)), line.split("  # ")[0]]
    return lines or ["# nothing to set"]


def _purpose(model: type[Section]) -> str:
    return (model.__doc__ or "").splitlines()[0]


def _plain_fields(model: type[Section], given: Table) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if inner(field):
            continue
        lines += [f"# {line}" for line in wrap(field.description or "", 116)]
        lines.append(_setting(name, field, given))
    return lines


def _setting(name: str, field: FieldInfo, given: Table) -> str:
    """name = value; behind a # with an example where there is neither a given value nor a default."""
    default = None if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    value = given.get(name, default)
    examples = field.examples or [None]
    unset = value is None or (value == "" and field.examples)
    return f"# {name} = {toml_value(examples[0])}" if unset else f"{name} = {toml_value(value)}"
