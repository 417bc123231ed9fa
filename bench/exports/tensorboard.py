"""TensorBoard: `logger=tensorboard`, then `tensorboard --logdir results/custom/tensorboard`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.exports.logger import Logger, final, need, series
from bench.runs.tables import Source


@dataclass(frozen=True)
class TensorBoard(Logger):
    """An event file for every run, in FOLDER/RUN ID; numbers in double precision, as on disk.

    folder: made if it is not there. Raises ValueError if tensorboard is not installed.
    """

    name = "tensorboard"

    folder: str

    def __post_init__(self) -> None:
        super().__post_init__()
        need("tensorboard", "tensorboard")

    def export(self, run: Source) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = Path(self.folder) / run.run_id
        for old in path.glob("events.*"):
            old.unlink()
        with SummaryWriter(str(path)) as writer:
            for name, updates, values in series(run):
                for update, value in zip(updates.tolist(), values.tolist(), strict=True):
                    writer.add_scalar(name, value, update, new_style=True, double_precision=True)
            last = run.config["updates"]
            for name, value in final(run).items():
                writer.add_scalar(f"outcome/{name}", value, last, new_style=True, double_precision=True)
            for name, facts in (
                ("configuration", run.config),
                ("outcome", run.outcome),
                ("made with", run.environment),
            ):
                lines = yaml.safe_dump(facts, sort_keys=False).splitlines()
                writer.add_text(name, "\n".join(f"    {line}" for line in lines))
