"""Commands whose options are made only when they are called, so that the list of commands is there at once."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, TypeAlias

import typer
from typer.core import TyperGroup

Command: TypeAlias = Callable[[Any, Any], None]  # takes its settings and an `options.Invocation`
# The command of a function, by its name, with options; the last describes fields of `Invocation` in another way.
WithOptions: TypeAlias = Callable[[Command, str, Mapping[str, str | None]], Any]

HELP: Any = {"help_option_names": ["-h", "--help"]}


class Group(TyperGroup):
    """The commands, each without options until it is called."""

    def get_params(self, ctx: Any) -> list[Any]:
        return without_needless_types(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        empty: Any = found  # None while a line is completed
        return name, empty and empty.callback.with_options(), rest


def command(
    app: typer.Typer, name: str, with_options: WithOptions, **descriptions: str | None
) -> Callable[[Command], Command]:
    """Add a command whose options are made by `with_options` when it is called."""

    def add(function: Command) -> Command:
        def called() -> None:
            raise AssertionError("a command is called with its options")

        called.__doc__ = function.__doc__
        called.with_options = cache(partial(with_options, function, name, descriptions))  # type: ignore[attr-defined]
        app.command(name)(called)
        return function

    return add


def without_needless_types(params: list[Any]) -> list[Any]:
    """The parameters; their help shows no type beside a flag that takes no value, nor beside a positional argument."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = " "
        elif param.param_type_name == "argument":
            param.display_type_rich = lambda ctx: None  # instead of <list[str]>
    return params
