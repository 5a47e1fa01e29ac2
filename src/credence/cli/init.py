"""`credence init`: a config to start from."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Json


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("credence.toml"),
    dialogue: Annotated[bool, typer.Option("--dialogue", help="For `credence dialogue train`.")] = False,
    lang: Annotated[
        str, typer.Option("--lang", help="Of a dialogue: en writes answers, zh chooses among answers found.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Write a commented config. Every setting with its value; an existing file is never touched."""
    from credence.cli.terminal import emit
    from credence.core.errors import ConfigError

    if lang and not dialogue:
        raise ConfigError(f"--lang {lang} is the language of a dialogue: credence init --dialogue --lang {lang}.")
    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist. Make it, or name another place.")
    text = _dialogue(lang or "en") if dialogue else _run()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        asked = f" --dialogue{f' --lang {lang}' if lang else ''}" if dialogue else ""
        raise ConfigError(
            f"{path} exists and is not overwritten. Name another file: credence init other.toml{asked}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    if as_json:
        emit({"path": str(path)})
    elif dialogue:
        typer.echo(f"wrote {path}. Next: credence knowledge import debian-faq:{lang or 'en'}   (once)")
        typer.echo(f"then: credence dialogue train {path} --fast")
    else:
        typer.echo(f"wrote {path}. Next: credence run {path} --fast")


def _run() -> str:
    from credence.study.toml import template

    return template()


def _dialogue(language: str) -> str:
    from credence.study.dialogue_template import dialogue_template

    return dialogue_template(language)
