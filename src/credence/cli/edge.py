"""Where exceptions become messages and exit codes: 2 a setting or usage, 1 anything else, 130 Ctrl-C."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup


class Edge(TyperGroup):
    """The command group that turns errors into one clear message; CREDENCE_DEBUG=1 lets the traceback through."""

    def invoke(self, ctx: typer.Context) -> Any:  # noqa: ANN401  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the command; see the module's table of exit codes."""
        as_json = wants_json(sys_args(ctx))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            told(as_json, "stopped.", "KeyboardInterrupt")
            raise typer.Exit(130) from None
        except Exception as error:
            if os.environ.get("CREDENCE_DEBUG") == "1" or passes(error):
                raise
            usage = getattr(error, "format_message", None)  # a mistake on the command line itself
            if usage is not None:
                if not as_json:
                    raise
                told(True, usage(), "UsageError")
                raise typer.Exit(2) from None
            told(as_json, *explained(error))
            from credence.core.errors import ConfigError

            raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from None


def passes(error: Exception) -> bool:
    """Whether typer itself knows what to do: an exit, an abort, a closed pipe."""
    return isinstance(error, typer.Exit | typer.Abort | BrokenPipeError)


def explained(error: Exception) -> tuple[str, str]:
    """Message and kind of an error."""
    from credence.core.errors import CredenceError

    kind = type(error).__name__
    if isinstance(error, CredenceError):
        return str(error), kind
    return f"{kind}: {error}. This was not foreseen; CREDENCE_DEBUG=1 shows where it arose.", kind


def sys_args(ctx: typer.Context) -> Sequence[str]:
    """The words after `credence`, as this invocation got them."""
    return [*getattr(ctx, "_protected_args", []), *ctx.args]


def wants_json(args: Sequence[str]) -> bool:
    """Whether --json stands among the options (not behind a bare --)."""
    options = args[: args.index("--")] if "--" in args else args
    return "--json" in options


def told(as_json: bool, message: str, kind: str) -> None:
    """Say it on stderr in words, or on stdout as JSON."""
    if as_json:
        import json

        typer.echo(json.dumps({"error": message, "kind": kind}, ensure_ascii=False))
        return
    from credence.report.phrases import visible

    if sys.stderr.isatty():
        typer.secho(f"credence: {visible(message)}", fg=typer.colors.RED, err=True)
    else:
        typer.echo(f"credence: {visible(message)}", err=True)
