"""A C source becomes a library once per machine: with the system's compiler, at first use, in a cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

COMPILERS = ("cc", "gcc", "clang")  # tried in this order, after $CC
# No -ffast-math: it switches off denormals in the whole process and assumes that there is no NaN.
FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
SECONDS = 120  # a compiler that takes longer does not work


class NoCompiler(Exception):
    """Why the source cannot be compiled here."""


def load(source: Path, *definitions: str, march: str = "native") -> ctypes.CDLL:
    """The library of a source with preprocessor definitions, from the cache or compiled now.

    march: the compiler's name of an instruction set that this CPU has; "native" is all that it has.

    Its name is a digest of the source and the headers beside it, the command, and what the compiler says of itself and
    of this CPU. Where the cache cannot be written, or nothing can be run from there, it is compiled into a temporary
    folder.
    Raises NoCompiler.
    """
    compiler = _compiler()
    command = [*compiler, *FLAGS, f"-march={march}", *(f"-D{name}" for name in definitions)]
    about = _run([*command, "-dM", "-E", "-x", "c", os.devnull])  # its version and all that it can tell of the CPU
    text = b"".join(path.read_bytes() for path in (source, *sorted(source.parent.glob("*.h"))))
    digest = hashlib.blake2b(text + repr(command).encode() + about, digest_size=12).hexdigest()
    try:
        return _loaded(command, source, cache_folder() / f"{source.stem}-{digest}.so")
    except OSError:
        with tempfile.TemporaryDirectory() as folder:  # once loaded, a library needs no file
            return _loaded(command, source, Path(folder) / f"{source.stem}.so")


def instruction_sets() -> tuple[str, ...]:
    """Those of this CPU whose vectors differ in length, by the compiler's names for them, the longest first.

    Raises NoCompiler.
    """
    about = _run([*_compiler(), "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    return ("native", "x86-64-v3") if b" __AVX512F__ " in about else ("native",)


def cache_folder() -> Path:
    """Where libraries are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recurrent-memory-bench"


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CC", ""))
    for command in (named, *([name] for name in COMPILERS)):
        if command and shutil.which(command[0]):
            return command
    raise NoCompiler(f"found no C compiler ($CC, {', '.join(COMPILERS)})")


def _loaded(command: Sequence[str], source: Path, library: Path) -> ctypes.CDLL:
    """Several processes may come here at once: each compiles under a name of its own, and the last one's stays."""
    library.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not library.exists():
        handle, temporary = tempfile.mkstemp(suffix=".so", dir=library.parent)
        os.close(handle)
        try:
            _run([*command, "-shared", "-fPIC", str(source), "-o", temporary, "-lm"])
            os.replace(temporary, library)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return ctypes.CDLL(str(library))


def _run(command: Sequence[str]) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").splitlines()
        raise NoCompiler(f"{command[0]} failed: {said[0] if said else error}") from None
