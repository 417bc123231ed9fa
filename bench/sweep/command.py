"""The command line around Hydra: its mistakes in one line, its exit codes, Ctrl-C."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import sys
from collections.abc import Iterator

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bench.sweep.sweeper import RunsFailed

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def run(argv: list[str]) -> int:
    """Carry out a command line; returns the exit code of `python -m bench`."""
    try:
        with _hydra_reads(argv):
            _application()
    except (ValueError, HydraException, OmegaConfBaseException) as error:
        said = mistake(error)
        if said is None:
            raise
        print(f"bench: {said}", file=sys.stderr)
        return MISTAKE
    except RunsFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as interrupt:
        done = str(interrupt) or "what is finished is kept, and the same command goes on from there"
        print(f"bench: interrupted; {done}", file=sys.stderr)
        return INTERRUPTED
    return DONE


@hydra.main(config_path="pkg://conf", config_name="config", version_base="1.3")
def _application(config: DictConfig) -> None:
    raise AssertionError("every command is a sweep, carried out by the launcher")


@contextlib.contextmanager
def _hydra_reads(argv: list[str]) -> Iterator[None]:
    """Hydra takes its arguments from sys.argv, and lets errors through only if the environment says so."""
    arguments, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    handlers = list(logging.getLogger().handlers)
    flags_first = sorted(argv, key=lambda argument: argument not in ("-m", "--multirun"))  # -m may stand anywhere
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = ["bench", *flags_first], "1"
    try:
        yield
    finally:
        sys.argv = arguments
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
        logging.getLogger().handlers[:] = handlers  # Hydra has put its own in their place


def mistake(error: Exception) -> str | None:
    """The line that tells a mistake on the command line; None where the error is none."""
    from bench.jobs.build import ConfigError

    return _one_line(error) if isinstance(error, ConfigError) or _from_hydra(error) else None


def _from_hydra(error: Exception) -> bool:
    """Whether Hydra or OmegaConf raised it: their way to say that a command line makes no sense."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals["__name__"].split(".")[0] in ("hydra", "omegaconf")


def _one_line(error: Exception) -> str:
    """What was given, what is accepted, what to do."""
    text = str(error).split("Config search path")[0]
    unknown = re.search(r"Could not override '([^'@]+)'", text)
    if unknown:
        return f"{unknown[1]}: no such key; {_similar(unknown[1])}"
    missing = re.search(r"Could not find '([^']+)/([^'/]+)'.*Available options in '[^']+':(.*)", text, re.DOTALL)
    if missing:
        return f"{missing[1]}={missing[2]}: no such choice; use one of {', '.join(missing[3].split())}"
    return " ".join(text.split())


def _similar(key: str) -> str:
    from bench.jobs.compose import composed
    from bench.runs.tables import flat

    known = flat(composed())
    known |= dict.fromkeys(".".join(name.split(".")[:depth]) for name in known for depth in (1, 2))
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else "`python -m bench --cfg job` shows all keys"
