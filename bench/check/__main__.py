"""`python -m bench.check cell=lstm task=copying`: the gradient that training uses against differences of the loss.

`python -m bench.check --engines device=cuda`: every engine that serves there, against `eager` in float64, and timed.
"""

from __future__ import annotations

import argparse
import sys

import torch

from bench.jobs.foreign import in_the_way


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all agree, 1 some parameter does not, 2 a mistake on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.check",
        description="Compare the gradient of every parameter with differences of the loss, for a small net and a "
        "short task where the command line does not say otherwise.",
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for python -m bench: cell=lstm seed=3")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="largest relative error (default: %(default)s)")
    parser.add_argument(
        "--engines",
        action="store_true",
        help="compare every engine with float64 on this device instead, and time it: of the cell named, or of all",
    )
    arguments = parser.parse_intermixed_args(argv)
    foreign = in_the_way()
    if foreign:
        return _said(foreign, 2)
    from bench.check.engines import engines  # not at the top: they import tasks
    from bench.check.gradcheck import check
    from bench.sweep.command import DONE, FAILED, MISTAKE, mistake

    if not arguments.tolerance > 0:
        return _said(f"--tolerance {arguments.tolerance:g}: must be greater than 0", MISTAKE)
    torch.set_num_threads(1)  # as in training
    try:
        if arguments.engines:
            found = engines(arguments.overrides)
            print(
                f"{found.device}: how many times as fast as eager, of those that agree with float64\n\n{found.table}\n"
            )
            return _said("; ".join(found.faults), FAILED) if found.faults else DONE
        result = check(arguments.overrides, arguments.tolerance)
    except Exception as error:
        said = mistake(error, arguments.overrides)
        if said is None:
            raise
        return _said(said, MISTAKE)
    print(f"{result.checked}\n\n{result.table}\n")
    if result.faults:
        return _said(result.faults, FAILED)
    print(f"all agree to {result.tolerance:g}")
    return DONE


def _said(message: str, code: int) -> int:
    print(f"bench.check: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
