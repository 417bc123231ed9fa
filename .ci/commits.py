"""Import every module of every commit that is not on origin/main yet, so that a search by bisection meets no hole.

    python .ci/commits.py [RANGE]       RANGE: as `git rev-list` takes it; without one, the commits since origin/main,
                                        or the last few where there are none or no such branch

Exit code: 0 all can be imported, or there is no history to look at; 1 some cannot, each named with its reason.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

LAST = 10  # commits that are looked at where there is no range
PACKAGES = ("tasks", "bench", "hydra_plugins")


def main(argv: list[str]) -> int:
    commits = listed(argv[0]) if argv else listed("origin/main..HEAD") or listed("HEAD", f"--max-count={LAST}")
    broken = {commit: reason for commit in commits if (reason := refusal(commit))}
    for commit, reason in broken.items():
        print(f"{commit[:12]} cannot be imported: {reason}", file=sys.stderr)
    print(f"{len(commits) - len(broken)} of {len(commits)} commits can be imported")
    return 1 if broken else 0


def listed(*chosen: str) -> list[str]:
    """Commits, oldest first; none where git does not know of any."""
    command = ["git", "rev-list", "--reverse", *chosen, "--"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []


def refusal(commit: str) -> str:
    """Why the suite cannot be imported at a commit; the empty word where it can."""
    with tempfile.TemporaryDirectory() as folder:
        files = subprocess.run(["git", "archive", commit], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(folder, filter="data")
        reading, writing = os.pipe()
        child = os.fork()  # what is imported here already, such as torch, is not imported once a commit
        if not child:
            os.close(reading)
            os.write(writing, first_mistake(Path(folder)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        return said or ("" if status == 0 else f"the import ended with status {status}")


def first_mistake(folder: Path) -> str:
    """Why one of the modules in a folder cannot be imported; a package that is not installed here is no mistake."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for module in modules(folder):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] in PACKAGES:
                return f"{module}: {error}"
        except BaseException as error:  # whatever a module does at import, the others are of no interest then
            return f"{module}: {type(error).__name__}: {error}"
    return ""


def modules(folder: Path) -> list[str]:
    """Dotted names of all modules, those that run at import (`__main__`) or only under pytest left out."""
    files = (path.relative_to(folder) for package in PACKAGES for path in sorted((folder / package).rglob("*.py")))
    chosen = [path for path in files if path.stem != "__main__" and not path.stem.startswith("test_")]
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in chosen]


if __name__ == "__main__":
    import hydra  # noqa: F401
    import seaborn as sns  # noqa: F401
    import torch  # noqa: F401

    sys.exit(main(sys.argv[1:]))
