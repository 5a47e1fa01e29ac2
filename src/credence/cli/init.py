"""`credence init`: a config to start from."""

from pathlib import Path
from typing import Annotated

import typer

from credence.cli.options import Json


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("credence.toml"), as_json: Json = False
) -> None:
    """Write a commented config. Every setting with its default; an existing file is never touched."""
    from credence.cli.terminal import emit
    from credence.core.errors import ConfigError
    from credence.study.toml import template

    if not path.parent.is_dir():
        raise ConfigError(f"the folder {path.parent} does not exist. Make it, or name another place.")
    text = template()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists and is not overwritten. Name another file: credence init other.toml"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    if as_json:
        emit({"path": str(path)})
    else:
        typer.echo(f"wrote {path}. Next: credence run {path} --fast")
