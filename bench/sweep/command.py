"""The command line around Hydra: its mistakes in one line, its exit codes, Ctrl-C."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench.jobs.composer import unknown_key
from bench.jobs.errors import ConfigError
from bench.sweep.sweeper import RunsFailed

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130
# Hydra's flags that say something in place of a sweep
SHOWS = ("--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc")


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit code of `python -m bench`."""
    try:
        carry_out(argv)
    except RunsFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILED
    except ConfigError as error:
        print(f"bench: {error}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt as interrupt:
        done = str(interrupt) or "what is finished is kept, and the same command goes on from there"
        print(f"bench: interrupted; {done}", file=sys.stderr)
        return INTERRUPTED
    return DONE


def carry_out(argv: Sequence[str]) -> None:
    """Carry out a command line.

    Raises ConfigError, in one line, on a mistake in it; RunsFailed if some runs could not be carried out;
    KeyboardInterrupt, with what is kept, where it is interrupted.
    """
    try:
        _refuse_single_runs(argv)
        with _hydra_reads(argv):
            _application()
    except RunsFailed:
        raise
    except (ValueError, RuntimeError, HydraException, OmegaConfBaseException) as error:
        said = mistake(error, [argument for argument in argv if not argument.startswith("-")])
        if said is None:
            raise
        raise ConfigError(said) from None


@hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")
def _application(config: DictConfig) -> None:
    raise AssertionError("every command is a sweep, carried out by the launcher")


def _refuse_single_runs(argv: Sequence[str]) -> None:
    """Raises ConfigError where Hydra is to call the application itself, which would leave a folder of its own."""
    for argument in argv:
        if re.match(r"\+*hydra\.mode=(?!MULTIRUN$)", argument):
            raise ConfigError(f"{argument}: one run is a sweep of one; leave it out")


@contextlib.contextmanager
def _hydra_reads(argv: Sequence[str]) -> Iterator[None]:
    """Hydra takes its arguments from sys.argv, and lets errors through only if the environment says so.

    It composes every command line twice, only to see in the first what its mode is. Here that is no question.
    """
    arguments, full_error, get_mode = sys.argv, os.environ.get("HYDRA_FULL_ERROR"), Hydra.get_mode
    handlers = list(logging.getLogger().handlers)
    rest = [argument for argument in argv if argument not in ("-m", "--multirun", "-r", "--run")]
    # always -m, and first: without it Hydra takes a mistake for one in how it was called
    flags = [] if any(argument.split("=")[0] in SHOWS for argument in rest) else ["-m"]
    # a shell completes the installed command; it cannot complete `python -m`
    name = "recurrent-memory-bench" if {"-sc", "--shell-completion"} & set(rest) else "bench"
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [name, *flags, *rest], "1"
    Hydra.get_mode = lambda *_, **__: RunMode.MULTIRUN  # type: ignore[method-assign]
    try:
        yield
    finally:
        sys.argv = arguments
        Hydra.get_mode = get_mode  # type: ignore[method-assign]
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
        logging.getLogger().handlers[:] = handlers  # Hydra has put its own in their place


def mistake(error: Exception, overrides: Sequence[str]) -> str | None:
    """The line that tells a mistake on the command line `overrides`; None where the error is none."""
    if isinstance(error, InstantiationException) and error.__cause__:
        error = _of_a_plugin(error, error.__cause__)
    return _one_line(error, overrides) if isinstance(error, ConfigError) or _from_hydra(error) else None


def _of_a_plugin(error: InstantiationException, cause: BaseException) -> Exception:
    """What went wrong in making a launcher or a sweeper, without the words that Hydra wraps around it."""
    if isinstance(cause, ValueError):
        return ConfigError(str(cause))
    node = re.search(r"full_key: (\S+)", str(error))
    name = re.search(r"(unexpected|missing).*?argument:? '(\w+)'", str(cause))
    if not node or not name:
        return error
    said = (
        "no such key; `python -m bench --cfg hydra` shows all keys"
        if name[1] == "unexpected"
        else f"missing; leave ~{node[1]}.{name[2]} out"
    )
    return ConfigError(f"{node[1]}.{name[2]}: {said}")


def _from_hydra(error: Exception) -> bool:
    """Whether Hydra or OmegaConf raised it: their way to say that a command line makes no sense."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals["__name__"].split(".")[0] in ("hydra", "omegaconf")


def _one_line(error: Exception, overrides: Sequence[str]) -> str:
    """What was given, what is accepted, what to do."""
    text = str(error).split("Config search path")[0]
    unknown = unknown_key(error)
    if unknown:
        from bench.jobs.compose import chosen  # not at the top: it imports torch
        from bench.jobs.keys import no_such_key

        return no_such_key(unknown, chosen(overrides))
    if "Config group override must be" in text:
        text = _no_name(overrides) or text
    missing = re.search(r"Could not find '(.+)/([^']*)'.*Available options in '\1':(.*)", text, re.DOTALL)
    if missing:
        return f"{missing[1]}={missing[2]}: no such choice; use one of {', '.join(missing[3].split())}"
    return " ".join(text.split())


def _no_name(overrides: Sequence[str]) -> str | None:
    """What is said of a group of yaml files that is given a number or null."""
    from bench.jobs.compose import chosen

    groups = chosen(()).hydra.runtime.choices
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        if one.key_or_group in groups and not one.is_sweep_override() and not isinstance(one.value(), str | list):
            example = groups[one.key_or_group]
            return f"{one.input_line}: must name a choice" + (
                f", such as {one.key_or_group}={example}" if example else ""
            )
    return None
