"""From import paths to the functions that run jobs. In worker processes.

Only what the pool was told is imported, and nothing that a job says: a job names a
type, and the types are those of the functions found here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

from aurora_actors.client.jobs_function import JobFunction, Runtime, runtime_of
from aurora_actors.errors import ConfigError

__all__ = ["Handler", "check_allowed", "load_handlers"]


class Handler(NamedTuple):
    """What runs the jobs of one type.

    Attributes:
        job_type: The type.
        function: The function.
        runtime: Where it runs.
        takes_payload: It is given the payload as arguments, not the context alone.
    """

    job_type: str
    function: Callable[..., object]
    runtime: Runtime
    takes_payload: bool = True


def check_allowed(paths: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse import paths outside of the allowed modules and packages.

    Raises:
        ConfigError: one of them is; names the setting.
    """
    for path in paths:
        module = path.partition(":")[0]
        if allowed and not any(
            module == each or module.startswith(f"{each}.") for each in allowed
        ):
            raise ConfigError(
                f"handlers may not come from {module!r}: jobs.handler_modules allows "
                f"{', '.join(allowed)}",
                key="jobs.handler_modules",
            )


def load_handlers(
    paths: str | Sequence[str] | Mapping[str, str],
) -> dict[str, Handler]:
    """Import handlers; slow, and runs their modules' code.

    Args:
        paths: ``module`` for all functions marked with ``@job`` in it,
            ``module:function`` for one, or a mapping of types to the latter.

    Raises:
        ConfigError: one cannot be imported, or is no handler.
    """
    found: dict[str, Handler] = {}
    if isinstance(paths, Mapping):
        for job_type, path in paths.items():
            _add(found, _handler(path, job_type))
        return found
    for path in [paths] if isinstance(paths, str) else paths:
        if ":" in path:
            _add(found, _handler(path, None))
        else:
            for handler in _marked(_import(path), path):
                _add(found, handler)
    return found


def _add(found: dict[str, Handler], handler: Handler) -> None:
    other = found.get(handler.job_type)
    if other is not None and other.function is not handler.function:
        raise ConfigError(
            f"two handlers are called {handler.job_type!r}: {_where(other.function)} "
            f"and {_where(handler.function)}"
        )
    found[handler.job_type] = handler


def _where(function: Callable[..., object]) -> str:
    return f"{function.__module__}:{getattr(function, '__qualname__', function)}"


def _import(name: str) -> ModuleType:
    if name == "__main__":
        raise ConfigError(
            "handlers must be in a module that can be imported, not in a script: worker "
            "processes import them by name"
        )
    try:
        return importlib.import_module(name)
    except SystemExit as exc:
        raise ConfigError(f"{name} ends the process when it is imported") from exc
    except Exception as exc:  # a module may fail in any way
        raise ConfigError(f"cannot import {name}: {type(exc).__name__}: {exc}") from exc


def _marked(module: ModuleType, path: str) -> list[Handler]:
    found = [
        _of_function(value)
        for value in vars(module).values()
        if isinstance(value, JobFunction)
    ]
    if not found:
        raise ConfigError(f"{path} has no function marked with @job")
    return found


def _of_function(function: JobFunction[..., object]) -> Handler:
    return _described(function.job_type, function.function, function.runtime)


def _described(
    job_type: str, function: Callable[..., object], runtime: Runtime
) -> Handler:
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # of a function in C, which does not say
        return Handler(job_type, function, runtime)
    return Handler(job_type, function, runtime, len(parameters) != 1)


def _handler(path: str, job_type: str | None) -> Handler:
    name, _, attributes = path.partition(":")
    value: object = _import(name)
    for attribute in attributes.split(".") if attributes else ():
        value = getattr(value, attribute, None)
    if isinstance(value, JobFunction):
        handler = _of_function(value)
        return handler if job_type is None else handler._replace(job_type=job_type)
    if not callable(value) or inspect.isclass(value):
        raise ConfigError(f"{path} is no function")
    return _described(job_type or attributes, value, runtime_of(value))
