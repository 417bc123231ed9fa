"""Weights & Biases: `logger=wandb`, then `wandb sync results/custom/wandb/offline-run-*`."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bench.exports.logger import Logger, need, series
from bench.runs.tables import Source, Tables
from tasks.ranges import OneOf


@dataclass(frozen=True)
class WandB(Logger):
    """A run of W&B for every run: its settings, its series with the update as the step, its outcome, and figures of it.

    Offline, everything stays in FOLDER/wandb, and W&B's own `wandb sync` uploads it.

    project: its name at W&B. folder: made if it is not there. mode: `offline`, or `online` for who is logged in.
    figures: names of figures of the report, drawn of this run alone as PNG files of one artifact; a figure for which
        the run has no data is left out.
    Raises ValueError if wandb is not installed, or for a name that no figure of the suite has.
    """

    name = "wandb"

    project: str
    folder: str
    mode: Annotated[str, OneOf(("offline", "online"))]
    figures: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        need("wandb", "wandb")
        from bench.analysis.figures.figure import all_figures  # not at the top: seaborn takes a second

        names = [figure.name for figure in all_figures()]
        if unknown := [name for name in self.figures if name not in names]:
            raise ValueError(f"figures: there is no figure {unknown[0]}; there are {', '.join(names)}")

    def export(self, run: Source) -> None:
        import wandb

        folder = Path(self.folder).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for old in (folder / "wandb").glob(f"*run-*-{run.run_id}"):
            shutil.rmtree(old)
        pictures = self._drawn(run, folder / "wandb" / "figures" / run.run_id)
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        for name, updates, values in series(run):
            for update, value in zip(updates.tolist(), values.tolist(), strict=True):
                rows[update][name] = value
        made = wandb.init(
            project=self.project,
            id=run.run_id,
            name=run.run_id,
            mode=self.mode,
            dir=str(folder),
            config={**run.config, "chosen": run.overrides["choices"], "made with": run.environment},
            reinit="create_new",  # a notebook may have a run of its own
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )
        for update in sorted(rows):
            made.log(rows[update], step=update)
        made.summary.update({f"outcome/{name}": value for name, value in run.outcome.items()})
        if pictures:
            artifact = wandb.Artifact(f"figures-{run.run_id}", "figures")
            for path in pictures:
                artifact.add_file(str(path), policy="immutable", skip_cache=True)  # not copied elsewhere
            made.log_artifact(artifact)
        made.finish(exit_code=int(run.outcome["outcome"] == "failed"))

    def _drawn(self, run: Source, folder: Path) -> list[Path]:
        """The figures as files. They stay: an offline run refers to them until it is uploaded."""
        from bench.analysis.figures.figure import all_figures
        from bench.analysis.figures.plot import NothingToDraw

        shutil.rmtree(folder, ignore_errors=True)
        results, drawn = Tables([run]), []
        for figure in (one for one in all_figures() if one.name in self.figures):
            try:
                picture = figure(results)._repr_png_()
            except NothingToDraw:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            drawn.append(folder / f"{figure.name}.png")
            drawn[-1].write_bytes(picture)
        return drawn
