"""From a command line to jobs, packs and places."""

import dataclasses
import math
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import open_dict

from bench.__main__ import main
from bench.engines.batched import _SWEEPS, Batched
from bench.engines.compiled import Compiled
from bench.engines.fused import Fused
from bench.jobs.compose import composed, plain
from bench.jobs.composer import Composer
from bench.jobs.job import checked_job
from bench.sweep import executors as places
from bench.sweep import planning, progress, worker
from bench.sweep.execution import engines
from bench.sweep.executors import PackJob, TaskExecutor, WorkerExecutor
from bench.sweep.launcher import PackLauncher
from bench.sweep.packs import packs, taken, taken_once
from bench.sweep.progress import SweepProgress
from bench.sweep.sweeper import union
from bench.sweep.worker import Order
from bench.training.data import CHUNK
from tests.conftest import choices

BIG = 2.0**40
PARSER = OverridesParser.create()
REMEDIES = choices("remedies")[:2]
DRY = "hydra.launcher.dry_run=true"


def test_union_of_products_without_duplicates():
    jobs = union([["a=1", "b=1,2"], ["a=1,3", "b=2"]], ["seed=0,1"], PARSER)
    assert jobs == [
        *(["seed=" + s, "a=1", "b=" + b] for s in "01" for b in "12"),
        *(["seed=" + s, "a=3", "b=2"] for s in "01"),
    ]


def test_command_line_replaces_a_key_of_every_set():
    assert union([["a=1", "seed=range(3)"], ["a=2", "seed=range(3)"]], ["seed=7"], PARSER) == [
        ["seed=7", "a=1"],
        ["seed=7", "a=2"],
    ]


def test_without_sets_it_is_hydras_product():
    assert union([], ["x=1,10,.inf", "y=range(2)"], PARSER) == [
        [f"x={x}", f"y={y}"] for x in ("1", "10", ".inf") for y in (0, 1)
    ]
    assert union([], [], PARSER) == [[]]


@pytest.fixture
def loader():
    search_path: ConfigSearchPath = create_automatic_config_search_path(None, None, "pkg://conf")
    return ConfigLoaderImpl(config_search_path=search_path)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["cell=lstm", "seed=3"],
        ["cell=irnn", "initializer=orthogonal", "initializer.recurrent.gain=0.5"],
        ["task=copying", "task.length=7", "clipping=value", "clipping.threshold=.inf"],
        ["measurement=[spectrum]", "optimizer=rmsprop", "optimizer.lr=0.01", "evaluation.every=5"],
        [f"remedies=[{','.join(REMEDIES)}]", f"remedies.{REMEDIES[0]}._target_=any", "schedule=cosine"],
        ["extensions=[one,two]", "engine=eager", "+measurement.spectrum.extra=1"],
    ],
)
def test_fast_composition_equals_hydras_own(loader, overrides):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    slow = loader.load_sweep_config(master, list(overrides))
    with open_dict(slow):
        del slow["hydra"]
    composer = Composer(loader, master)
    composer.compose(["cell=lstm"])
    assert plain(composer.compose(overrides)) == plain(slow)


def test_a_sweep_composes_once_per_choice_of_files_and_parses_every_override_once(loader, monkeypatch):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    composer, composed, parsed = Composer(loader, master), [], []
    whole = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *rest: composed.append(rest) or whole(*rest))
    parse = composer._parser.parse_overrides
    monkeypatch.setattr(composer._parser, "parse_overrides", lambda texts: parsed.extend(texts) or parse(texts))
    sweep = [[f"cell={cell}", f"seed={seed}", "updates=9"] for cell in ("tanh", "lstm") for seed in range(20)]
    for overrides in sweep:
        composer.compose(overrides)
        composer.choices(overrides)
    assert len(composed) == 2
    assert len(parsed) == len(set(parsed)) == 2 + 20 + 1


def test_choices_name_the_yaml_of_every_group(loader):
    master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
    chosen = Composer(loader, master).choices(["cell=irnn", "seed=4"])
    assert chosen["cell"] == "irnn"
    assert chosen["task"] == "adding"
    assert chosen["initializer/recurrent"] == "identity"
    assert "engine" not in chosen


def jobs(**counts):
    result = []
    for cell, count in counts.items():
        job = checked_job(composed(f"cell={cell}"))
        seeds = range(count)
        result += [dataclasses.replace(job, replica=dataclasses.replace(job.replica, seed=seed)) for seed in seeds]
    return result


def test_packs_hold_every_job_once_and_one_shape_each():
    asked = jobs(tanh=5, irnn=7, lstm=3)
    planned = packs(asked, width=4, memory=BIG, places=1)
    assert sorted(k for pack in planned for k in pack.jobs) == list(range(15))
    assert all(len({asked[k].replica.pack_key for k in pack.jobs}) == 1 for pack in planned)
    assert Counter(pack.width for pack in planned) == {4: 1, 3: 3, 2: 1}
    assert [pack.cost for pack in planned] == sorted((pack.cost for pack in planned), reverse=True)


def test_runs_that_stand_at_different_updates_train_apart():
    planned = packs(jobs(tanh=5), width=4, memory=BIG, places=1, reached=[0, 7, 0, 7, 0])
    assert sorted(pack.jobs for pack in planned) == [(0, 2, 4), (1, 3)]


def test_the_pack_that_takes_longest_comes_first():
    short, long = (checked_job(composed(f"updates={updates}")) for updates in (10, 1000))
    first, _ = packs([short, long], width=4, memory=BIG, places=1)
    assert first.jobs == (1,)


def test_no_place_stands_idle():
    assert len(packs(jobs(tanh=8), width=32, memory=BIG, places=2)) == 2
    assert len(packs(jobs(tanh=1), width=32, memory=BIG, places=8)) == 1


@pytest.mark.parametrize("engine", [Batched(), Compiled()])
def test_memory_bounds_the_width(engine):
    """Whoever takes one replica at a time needs what is kept for the way back once."""
    asked = [dataclasses.replace(job, engine=engine) for job in jobs(lstm=8)]
    each, once = sum(taken(asked[0]).values()), sum(taken_once(asked[0]).values())
    assert (taken_once(asked[0])["engine"] > 0) == (engine == Compiled())
    for memory, width in ((BIG, 8), (once + 2.5 * each, 2), (once + each, 1), (1.0, 1)):
        assert [pack.width for pack in packs(asked, width=32, memory=memory, places=1)] == [width] * (8 // width)


def test_memory_is_the_sum_of_what_is_kept():
    said = (
        "task=adding task.length=500 cell=lstm cell.hidden=100 engine=batched precision=float64 updates=70 device=cpu"
    )
    job = checked_job(composed(*said.split(), "batch_size=16"))
    gates, cells, rows = 4 * 112, 2 * 112, 112 + 2 + 1 + 5  # H is stored as 112, rows are padded to a multiple of 8
    assert taken(job) == {
        "engine": 8 * 500 * 16 * (gates + cells + rows),
        "judging": 0,
        "parameters": 8 * 10 * job.replica.network.flat_size,
        "sequences": 8 * (1024 + 64) * 500 * 2,
        "outputs": 8 * 3 * 64 * 1 * 16,  # judged are 64 at a time
        "drawing": 24 * 64 * 500,
        "series": 33 * 70,
    }
    assert taken_once(job) == {"engine": 0, "ahead": 8 * 2**20 + 24 * (2**20 // 3)}
    on_a_gpu = dataclasses.replace(job, engine=Fused(), device="cuda")
    assert taken(on_a_gpu)["judging"] == 8 * 64 * 1 * 112
    assert taken_once(on_a_gpu)["ahead"] == 8 * 2**26 + 24 * (2**26 // 3)


@pytest.mark.parametrize("cell", ["tanh", "silu", "gru", "lstm"])
def test_engines_keep_what_they_say(cell):
    """By the buffers of a pass for 20 steps against those for 10."""
    job = checked_job(composed(f"cell={cell}", "cell.hidden=20", "engine=batched", "device=cpu"))
    network, flat = job.replica.network, torch.zeros(1, job.replica.network.flat_size)
    short, long = (storage(_SWEEPS[type(network.cell)](network, flat, 3, slots)) for slots in (10, 20))
    assert long - short == job.engine.activation_count(network, 10, 3)


def storage(sweep):
    """Numbers that the buffers of a sweep hold, each storage once."""
    tensors = [t for value in vars(sweep).values() for t in (value if isinstance(value, list | tuple) else [value])]
    found = [t.untyped_storage() for t in tensors if isinstance(t, torch.Tensor)]
    return sum({one.data_ptr(): one.nbytes() // 4 for one in found}.values())


class Slots(TaskExecutor):
    """TaskExecutor that take as long as is written in `lasting`, in looks; notes the slot of each."""

    def __init__(self, at_once, lasting):
        super().__init__(at_once)
        self.lasting, self.slots = list(lasting), []

    def start(self, order, slot):
        self.slots.append(slot)
        return Lasting(order, self.lasting.pop(0))


class Lasting(PackJob):
    crash = None

    def __init__(self, order, looks):
        super().__init__(order)
        self.looks = looks

    def has_ended(self, progress):
        self.looks -= 1
        return self.looks == 0

    def ask_to_end(self):
        raise AssertionError("all have ended")

    end = ask_to_end

    @staticmethod
    def pause(tasks):
        pass


def test_tasks_side_by_side_have_different_slots(tmp_path):
    job = dataclasses.replace(jobs(tanh=1)[0], results=str(tmp_path))
    executor = Slots(3, [3, 1, 2, 9, 1, 1])
    executor.run([Order([job], [{}], [{}])] * 6, SweepProgress({}, {}, 6).__enter__())
    assert executor.slots == [0, 1, 2, 1, 2, 0]


def test_workers_side_by_side_have_a_gpu_each(monkeypatch):
    monkeypatch.setattr(places, "WorkerJob", lambda order, gpu: gpu)
    assert [WorkerExecutor(2, gpus=2).start(None, slot) for slot in (0, 1)] == [0, 1]
    assert [WorkerExecutor(4, gpus=2).start(None, slot) for slot in range(4)] == [0, 1, 0, 1]
    assert WorkerExecutor(2).start(None, 1) is None


@pytest.mark.parametrize(
    ("device", "workers", "at_once", "gpus"), [("cuda", None, 3, 3), ("cuda", 2, 2, 3), ("cpu", 2, 2, 0)]
)
def test_there_is_a_worker_for_every_gpu(monkeypatch, device, workers, at_once, gpus):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    launcher = PackLauncher("workers", workers, width=8, memory=1.0, settings={}, dry_run=False)
    executor = launcher._executor(dataclasses.replace(jobs(tanh=1)[0], device=device))
    assert (executor.at_once, executor.gpus) == (at_once, gpus)


def test_a_worker_trains_on_the_gpu_that_it_is_given(monkeypatch):
    chosen = []
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.setattr(worker, "train", lambda *rest: worker.Lost())
    monkeypatch.setattr(worker.signal, "signal", lambda *rest: None)
    for gpu in (1, None, 0):
        worker.work(None, SimpleNamespace(send=lambda message: None), gpu)
    assert chosen == [1, 0]


# --- only planned


def test_a_dry_run_tells_the_packs_and_writes_nothing(tmp_path, capsys, monkeypatch):
    paces = {4: planning.Pace(36.0, 0.0), 5: planning.Pace(72.0, 0.0)}
    timed = []
    monkeypatch.setattr(planning, "pace", lambda jobs: timed.append(jobs) or paces[jobs[0].replica.cell.hidden])
    sweep = ["task.length=6", "cell.hidden=4,5", "updates=100", "seed=range(4)", f"results={tmp_path / 'results'}"]
    assert main([*sweep, "engine=batched", "hydra.launcher.workers=2", "hydra.launcher.width=2", DRY, "-m"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "runs: 8, finished before: 0",
        "runs to train: 8, packs: 4 of width 2",
        "engine: batched on cpu",
        "   2 x adding tanh H=5, width 2, 100 updates, batched on cpu: 2 h each",
        "   2 x adding tanh H=4, width 2, 100 updates, batched on cpu: 1 h each",
        "about 3 h, 2 at a time; measurements not counted",
    ]
    assert [len(jobs) for jobs in timed] == [2, 2]  # once a kind
    assert not any(tmp_path.iterdir())


def test_a_dry_run_counts_what_is_left(tmp_path, capsys):
    small = ["task.length=6", "cell.hidden=4", "evaluation.sequences=4", "evaluation.final=4", "measurement=[]"]
    sweep = [*small, "updates=30", "seed=0,1", f"results={tmp_path}", "hydra.launcher.workers=0", "-m"]
    assert main([*sweep, "budget.run_seconds=1e-9"]) == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert main([*sweep, DRY]) == 0
    said = capsys.readouterr().err
    assert "runs to train: 2 (2 go on from a checkpoint), packs: 1 of width 2" in said
    assert "   1 x adding tanh H=4, width 2, 29 updates" in said
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    assert main(sweep) == 0
    capsys.readouterr()
    assert main([*sweep, DRY]) == 0
    assert capsys.readouterr().err == "runs: 2, finished before: 2\n"


def test_a_pack_takes_its_updates_and_what_is_judged():
    job = checked_job(composed("updates=100", "evaluation.every=10", "evaluation.sequences=5", "evaluation.final=7"))
    pace = planning.Pace(update=2.0, sequence=0.5)
    assert pace.seconds(job, 0) == 100 * 2.0 + (11 * 5 + 7) * 0.5
    assert pace.seconds(job, 35) == 65 * 2.0 + (7 * 5 + 7) * 0.5


def test_the_pace_of_a_pack_is_that_of_its_later_updates(monkeypatch):
    """By a clock that goes on with the work: an update takes T seconds, the first ten times as long, judging 16."""
    clock = [0.0]

    class Clocked(planning.Training):
        def advance(self, update, *rest):
            super().advance(update, *rest)
            clock[0] += self.task.steps * (1 if update else 10)

        def finish(self):
            clock[0] += 16
            return super().finish()

    monkeypatch.setattr(planning, "Training", Clocked)
    monkeypatch.setattr(planning.time, "process_time", lambda: clock[0])
    for length in (10, 40):
        job = checked_job(composed("engine=batched", "cell.hidden=8", "device=cpu", f"task.length={length}"))
        assert planning.pace([job]) == planning.Pace(update=length, sequence=16 / CHUNK)


def test_packs_side_by_side_end_with_the_last():
    assert planning.makespan([1.0, 2.0, 3.0], math.inf) == 3
    assert planning.makespan([1.0, 2.0, 3.0], 1) == 6
    assert planning.makespan([2.0, 2.0, 3.0, 1.0], 2) == 4
    assert planning.makespan([], 2) == 0


def progress_said(monkeypatch, caplog, done, standing):
    """What the log says of two runs of 100 updates; done: of them before. standing: seconds and updates of one."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "tqdm", lambda **rest: SimpleNamespace(update=lambda done: None, disable=True))
    caplog.set_level("INFO")
    with_bar = SweepProgress({"a": 100, "b": 100}, done, packs=1).__enter__()
    for seconds, update in standing:
        clock[0] = seconds
        with_bar.advance({"a": (update, False, 0.5)})
    return caplog.messages


def test_a_run_that_begins_anew_counts_from_there(monkeypatch, caplog):
    """Its checkpoint said 80 updates, but was of no use."""
    assert progress_said(monkeypatch, caplog, {"a": 80}, ((31, 31),)) == [
        "0/1 packs, 0/2 runs, best skill 0.50, 0 solved; 16 % of the updates at 1 per second, 169 s left"
    ]


def test_a_sweep_that_has_no_pace_yet_makes_no_forecast(monkeypatch, caplog):
    assert progress_said(monkeypatch, caplog, {}, ((31, 0), (62, 62))) == [
        "0/1 packs, 0/2 runs, best skill 0.50, 0 solved; 0 % of the updates at 0 per second",
        "0/1 packs, 0/2 runs, best skill 0.50, 0 solved; 31 % of the updates at 1 per second, 138 s left",
    ]


def test_the_bar_says_packs_runs_and_the_best_skill_from_its_start(monkeypatch):
    """A pack of two that crashes is two packs in its place."""
    said, ticked = [], threading.Event()
    shown = SimpleNamespace(
        **{"update": lambda done: None, "disable": False, "set_postfix_str": said.append},
        **{"refresh": ticked.set, "close": lambda: None},
    )
    monkeypatch.setattr(progress, "tqdm", lambda **rest: shown)
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.001)
    with SweepProgress({"a": 9, "b": 9, "c": 9}, {}, packs=2) as bar:
        assert ticked.wait(60)  # its clock goes on while nothing is heard
        bar.advance({"a": (0, False, -math.inf), "b": (0, False, -0.125)})
        bar.finish([], halves=2)
        bar.advance({"a": (5, True, 0.96), "b": (5, False, 0.25)})
        bar.finish(["a"])
    assert said == [
        "0/2 packs, 0/3 runs",
        "0/2 packs, 0/3 runs, best skill -0.12, 0 solved",
        "1/4 packs, 0/3 runs, best skill -0.12, 0 solved",
        "1/4 packs, 0/3 runs, best skill 0.96, 1 solved",
        "2/4 packs, 1/3 runs, best skill 0.96, 1 solved",
    ]


def test_the_log_says_which_engine_serves_and_why_no_faster_one_does(monkeypatch):
    (tanh,) = jobs(tanh=1)
    compiled = "compiled on cpu" if tanh.engine == Compiled() else "batched on cpu"
    assert engines([tanh, tanh])[0].startswith(compiled)
    assert len(engines([tanh, tanh])) == 1
    monkeypatch.setattr(Compiled, "supports", lambda self, network, device: False)
    slower = dataclasses.replace(tanh, engine=Batched())
    assert engines([slower]) == ["batched on cpu (compiled cannot train elman on cpu)"]
