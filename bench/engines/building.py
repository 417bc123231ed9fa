"""C text becomes a library once per machine: with the system's compiler, at first use, in a cache folder."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

log = logging.getLogger(__name__)

COMPILERS = ("cc", "gcc", "clang")  # tried in this order, after $CC
# No -ffast-math: it switches off denormals in the whole process and assumes that there is no NaN.
FLAGS = ("-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
SECONDS = 120  # a compiler that takes longer does not work


class NoCompiler(Exception):
    """Why the source cannot be compiled here."""


def load(
    text: str, *definitions: str, headers: Path | None = None, part: str | None = None, march: str = "native"
) -> ctypes.CDLL:
    """The library of a C text with preprocessor definitions, from the cache or compiled now.

    headers: the folder of the files that it includes. part: another text, which is compiled once for all that it is
    linked with. march: the compiler's name of an instruction set that this CPU has; "native" is all that it has.

    A file's name is a digest of the text, the headers, the command, and what the compiler says of itself
    and of this CPU. Where the cache cannot be written, or nothing can be run from there, all is compiled into a
    temporary folder.
    Raises NoCompiler.
    """
    command = [*_compiler(), *FLAGS, f"-march={march}", "-fPIC", *(f"-D{name}" for name in definitions)]
    files = sorted(headers.glob("*.h")) if headers else []
    about = [*(file.read_bytes() for file in files), repr(command).encode(), _about(tuple(command))]
    command += [f"-I{headers}"] if headers else []

    def built(folder: Path) -> ctypes.CDLL:
        parts = [] if part is None else [_built(command, part, folder, ".o", [], about)]
        return ctypes.CDLL(str(_built(command, text, folder, ".so", parts, [*about, (part or "").encode()])))

    try:
        return built(cache_folder())
    except OSError:
        with tempfile.TemporaryDirectory() as folder:  # once loaded, a library needs no file
            return built(Path(folder))


def module(text: str) -> ModuleType:
    """A Python text as a module, from a file in the cache: Triton reads the text of its functions there.

    Where the cache cannot be written, the file is a temporary one.
    """
    name = f"kernel_{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"

    def imported(folder: Path) -> ModuleType:
        file = folder / f"{name}.py"
        if not file.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(suffix=".py", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(text)
            os.replace(temporary, file)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        return made

    try:
        return imported(cache_folder())
    except OSError:
        with tempfile.TemporaryDirectory() as folder:  # once imported, its text is in memory
            return imported(Path(folder))


def instruction_sets() -> tuple[str, ...]:
    """Instruction sets of this CPU whose vectors differ in length, by the compiler's names, the longest first.

    Raises NoCompiler.
    """
    about = _run([*_compiler(), "-march=native", "-dM", "-E", "-x", "c", os.devnull])
    return ("native", "x86-64-v3") if b" __AVX512F__ " in about else ("native",)


@functools.cache
def fingerprint() -> str:
    """Digest of the compiler and of the CPU that it builds for; empty where there is no compiler."""
    try:
        return hashlib.blake2b(_about((*_compiler(), *FLAGS, "-march=native")), digest_size=12).hexdigest()
    except NoCompiler:
        return ""


@functools.cache
def _about(command: tuple[str, ...]) -> bytes:
    """The compiler's version and all that it can tell of the CPU."""
    return _run([*command, "-dM", "-E", "-x", "c", os.devnull])


def cache_folder() -> Path:
    """Where libraries are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recurrent-memory-bench"


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CC", ""))
    for command in (named, *([name] for name in COMPILERS)):
        if command and shutil.which(command[0]):
            return command
    raise NoCompiler(f"found no C compiler ($CC, {', '.join(COMPILERS)})")


def _built(
    command: Sequence[str], text: str, folder: Path, ending: str, parts: Sequence[Path], about: Sequence[bytes]
) -> Path:
    """Several processes may come here at once: each compiles under a name of its own, and the last one's stays."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.blake2b(b"\0".join([text.encode(), *about]), digest_size=12).hexdigest()
    file = folder / f"kernel-{digest}{ending}"
    if not file.exists():
        handle, temporary = tempfile.mkstemp(suffix=ending, dir=folder)
        os.close(handle)
        kind = ["-c"] if ending == ".o" else ["-shared"]
        linked = ["-x", "none", *map(str, parts), "-lm"] if ending == ".so" else []
        try:
            _run([*command, *kind, "-x", "c", "-", "-o", temporary, *linked], text)
            os.replace(temporary, file)
        finally:
            Path(temporary).unlink(missing_ok=True)
    return file


def _run(command: Sequence[str], text: str = "") -> bytes:
    try:
        return subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=SECONDS).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").splitlines()
        first = next((line for line in said if "error" in line), said[0] if said else error)
        raise NoCompiler(f"{command[0]} failed: {first}") from None
