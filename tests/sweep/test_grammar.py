"""Every form of Hydra's override grammar, and every value that README and the documentation name."""

import re

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.types import RunMode

from bench import status
from bench.__main__ import main
from bench.jobs.groups import Groups
from bench.runs.directory import RunDirectory
from bench.runs.tables import load
from bench.sweep import planning
from bench.sweep.executors import InThisProcess
from bench.sweep.launcher import PackLauncher
from bench.sweep.sweeper import UnionSweeper, union
from tests.conftest import PAGES, choices, text_of

SMALL = [
    *("task.length=6", "cell.hidden=4", "batch_size=2", "updates=3", "measurement=[]"),
    *("evaluation.sequences=4", "evaluation.final=4", "hydra.launcher.where=here"),
]
TEXT = "\n".join(text_of(page) for page in PAGES)
NN = [name for name in choices("cell") if name.endswith("nn")]


@pytest.fixture(scope="module")
def parser():
    search_path = create_automatic_config_search_path(None, None, "pkg://conf")
    loader = ConfigLoaderImpl(config_search_path=search_path)
    return Groups(loader, loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)).parser()


@pytest.mark.parametrize(
    ("override", "jobs"),
    [
        ("seed=3", ["seed=3"]),
        ("seed=1,2", ["seed=1", "seed=2"]),
        ("seed=choice(1,2)", ["seed=1", "seed=2"]),
        ("seed=range(3)", ["seed=0", "seed=1", "seed=2"]),
        ("seed=range(0,6,step=3)", ["seed=0", "seed=3"]),
        ("optimizer.lr=range(.1,.3,.1)", ["optimizer.lr=0.1", "optimizer.lr=0.2"]),
        ("cell=glob(*nn)", [f"cell={name}" for name in NN]),
        ("cell=glob([*nn,lstm],exclude=i*)", [f"cell={name}" for name in sorted([*NN, "lstm"]) if name[0] != "i"]),
        ("cell=sort(tanh,lstm)", ["cell=lstm", "cell=tanh"]),
        ("seed=sort(range(3),reverse=true)", ["seed=2", "seed=1", "seed=0"]),
        ("seed=tag(a,b,choice(1,2))", ["seed=1", "seed=2"]),
        ("seed=int(choice(3.0,4.0))", ["seed=3", "seed=4"]),
        ("++seed=1,2", ["++seed=1", "++seed=2"]),
        ("+task.depth=1,2", ["+task.depth=1", "+task.depth=2"]),
        ("~schedule", ["~schedule"]),
        ("~schedule=constant", ["~schedule=constant"]),
        ("measurement=[spectrum,state],[]", ["measurement=[spectrum,state]", "measurement=[]"]),
        ("evaluation={every:1},{every:2}", ["evaluation={every:1}", "evaluation={every:2}"]),
        ("selection='a, b',\"c=d\"", ["selection='a, b'", 'selection="c=d"']),
        ("selection=it\\,s", ["selection=it\\,s"]),
        ("initializer/input@mine=he,normal", ["initializer/input@mine=he", "initializer/input@mine=normal"]),
        ("batch_size=${seed},5", ["batch_size=$\\{seed\\}", "batch_size=5"]),  # read again, it is ${seed}
    ],
)
def test_every_form_of_a_sweep_is_its_jobs(parser, override, jobs):
    assert union([], [override], parser) == [[job] for job in jobs]


@pytest.mark.parametrize("override", ["seed=shuffle(1,2,3)", "seed=shuffle(range(1,4))", "seed=choice(1,2,3)"])
def test_shuffled_jobs_are_the_same_jobs(parser, override):
    assert sorted(union([], [override], parser)) == [["seed=1"], ["seed=2"], ["seed=3"]]


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.parametrize(
    ("overrides", "runs"),
    [
        (["cell=glob([tan*,ls*])"], 2),
        (["seed=shuffle(range(3))", "clipping.threshold=sort(inf,2)"], 6),
        (["seed=tag(a,choice(1,2))", "++optimizer.lr=float(1),float(2)"], 4),
        (["~cell.hidden", "+cell.hidden=3,4"], 2),
        (['selection="a, b"', "batch_size=${task.length}"], 1),
    ],
)
def test_they_train_with_and_without_the_multirun_flag(tmp_path, flags, overrides, runs):
    assert main([*flags, *SMALL, *overrides, f"results={tmp_path}"]) == 0
    assert len(load(tmp_path).runs) == runs


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=interval(1e-4,1e-1)", "an interval cannot be run through; give values or a range, or let hydra"),
        ("cell=glob(zzz*)", "cell=glob(zzz*): comes to no value"),
        ("seed=glob(*)", "seed=glob(*): comes to no value"),
        ("seed=range(0)", "seed=range(0): comes to no value"),
        ("seed=choice()", "empty choice is not legal"),
        ("seed=sqrt(4)", "Unknown function 'sqrt'"),
        ("seed=1,,2", "extraneous input ','"),
        ("+seed=1", "An item is already at 'seed'"),
        ("~seeds", "'seeds' does not exist"),
        ("selection='a", "selection='a"),
        ("batch_size=${nowhere}", "Interpolation key 'nowhere' not found"),
        ("experiment=quick,digits", "experiment=quick,digits: one at a time, for each has a `sweep:` of its own"),
        ("hydra.launcher.width=8,16", "Sweeping over Hydra's configuration is not supported"),
        ("hydra.mode=RUN", "hydra.mode=RUN: one run is a sweep of one; leave it out"),
        ("hydra.launcher=null", "Hydra launcher is not configured"),
    ],
)
def test_a_form_that_makes_no_sense_is_one_line(tmp_path, capsys, override, said):
    assert main([*SMALL, override, f"results={tmp_path / 'results'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not any(tmp_path.iterdir())


def test_a_mistake_beside_a_sweep_is_the_one_that_is_told(tmp_path, capsys):
    """Without -m Hydra would call the sweep ambiguous."""
    assert main(["seed=0,1", "updats=3", f"results={tmp_path / 'results'}"]) == 2
    assert capsys.readouterr().err == "bench: updats: no such key; did you mean updates?\n"


# --- the launcher's own settings


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "hydra.launcher.where=there",
            "hydra.launcher.where=there: must be one of here, workers, submitit, slurm, ray",
        ),
        ("hydra.launcher.workers=abc", "hydra.launcher.workers=abc: must be a whole number"),
        ("hydra.launcher.workers=1.5", "hydra.launcher.workers=1.5: must be a whole number"),
        ("hydra.launcher.width=null", "hydra.launcher.width=None: must be a whole number"),
        ("hydra.launcher.memory=inf", "hydra.launcher.memory=inf: must be a finite number >= 0.01"),
        ("hydra.launcher.dry_run=maybe", "hydra.launcher.dry_run=maybe: must be true or false"),
        ("hydra.launcher.settings=5", "hydra.launcher.settings=5: use +hydra.launcher.settings.NAME=VALUE"),
        ("+hydra.launcher.depth=5", "hydra.launcher.depth: no such key; `python -m bench --cfg hydra` shows all keys"),
        ("+hydra.sweeper.depth=5", "hydra.sweeper.depth: no such key; `python -m bench --cfg hydra` shows all keys"),
        ("~hydra.launcher.width", "hydra.launcher.width: missing; leave ~hydra.launcher.width out"),
    ],
)
def test_a_wrong_setting_of_the_launcher_is_told_in_our_words(tmp_path, capsys, override, said):
    assert main([override, f"results={tmp_path / 'results'}"]) == 2
    assert capsys.readouterr().err == f"bench: {said}\n"


def test_no_other_launcher_or_sweeper_swallows_a_sweep(tmp_path, capsys):
    assert main(["hydra/launcher=basic", f"results={tmp_path}"]) == 2
    assert capsys.readouterr().err == "bench: hydra/launcher: BasicLauncher trains nothing; use packs\n"
    assert main(["hydra/sweeper=basic", "experiment=quick", f"results={tmp_path}"]) == 2
    assert "does not read an experiment's `sweep:`; use union or search" in capsys.readouterr().err


@pytest.mark.parametrize("setting", [{"where": "here", "workers": 3}, {"where": "workers", "workers": 0}])
def test_here_and_no_workers_are_this_process(setting):
    made = PackLauncher(**setting, width=8, memory=1.0, settings={}, dry_run=False)
    assert type(made._executor(None)).__name__ == "InThisProcess"


# --- README and docs/


def in_pages():
    """Overrides in the tables and the running text: `key=value`, and `key=value` or `value`, `value`."""
    found = []
    for line in TEXT.splitlines():
        for quoted, more in re.findall(r"`([^`]+)`((?:,? (?:or )?`\w+`)*)", line):
            words = quoted.replace("python -m bench ", "").split()
            if not all(re.fullmatch(r"[+~]*(?!--)[a-z_/@.]+=\S+", word.replace("'", "")) for word in words):
                continue
            words = [word.replace("'", "") for word in words]
            found.append(words)
            key = words[-1].partition("=")[0]
            found += [[*words[:-1], f"{key}={other}"] for other in re.findall(r"`(\w+)`", more)]
    return [words for words in dict.fromkeys(map(tuple, found)) if not re.search(r"FOLDER|\.\.\.", "".join(words))]


def listed():
    """The choices of the table: | `cell=` | tanh, irnn, ... |."""
    for group, row in re.findall(r"^\| `(\w+)=(?:\[\.\.\.\])?` \| (.*) \|$", TEXT, re.MULTILINE):
        for word in re.findall(r"\w+", row.partition("; or by role")[0]):
            if word in choices(group):
                yield group, word


def test_the_table_lists_every_choice():
    named = {}
    for group, name in listed():
        named.setdefault(group, set()).add(name)
    for group in ("cell", "initializer", "clipping", "nonfinite", "optimizer", "schedule", "remedies"):
        assert named[group] == set(choices(group)), group


def test_pages_are_read():
    found = in_pages()
    assert ("hydra.launcher.where=here",) in found
    assert ("hydra.launcher.where=ray",) in found
    assert ("logger=mlflow",) in found
    assert len(found) > 25


# what is named beside the component whose setting it is
BESIDE = {"evaluation.rule=historical": "task=memorization", "logger.": "logger=wandb"}
NEEDS = {"device=cuda", "engine=fused", "engine=graphed", "engine.tf32=true", "logger=", "hydra/sweeper=search"}


@pytest.mark.parametrize("words", in_pages(), ids=" ".join)
def test_what_pages_name_is_accepted(tmp_path, capsys, monkeypatch, words):
    """As a plan; what needs a GPU, a cluster or an extra says that it does, and nothing else."""
    monkeypatch.setattr(planning, "pace", lambda jobs: planning.Pace(1.0, 1.0))
    monkeypatch.setattr(PackLauncher, "_executor", lambda *rest: InThisProcess())
    launched = UnionSweeper.launched
    monkeypatch.setattr(UnionSweeper, "launched", lambda self, jobs: launched(self, jobs[:1]))  # an experiment has 4320
    for start, beside in BESIDE.items():
        if words[0].startswith(start):
            words = (beside, *words)
    code = main([*words, f"results={tmp_path / 'results'}", "hydra.launcher.dry_run=true"])
    said = capsys.readouterr().err
    if code:
        assert any(word.startswith(need) for word in words for need in NEEDS), said
        assert re.search(r"there is no CUDA device|cannot train|needs |pip install|a search decides", said), said
    assert not any(tmp_path.iterdir())


# --- several results folders


def complete(folder, capsys):
    assert status.main([str(folder)]) == 0
    return capsys.readouterr().out.splitlines()[0]


def test_every_results_folder_has_its_notes(tmp_path, capsys):
    sweep = [*SMALL, "task.length=6,7", "seed=0,1", f"results={tmp_path}/T${{task.length}}"]
    assert main(sweep) == 0
    for length in (6, 7):
        folder = tmp_path / f"T{length}"
        assert complete(folder, capsys) == f"{folder}: 2 runs"
        assert set(load(folder).runs["task.length"]) == {length}
    assert main(sweep) == 0
    assert "runs: 4, finished before: 4" in capsys.readouterr().err


def test_a_run_that_is_asked_for_in_two_folders_stands_in_both(tmp_path, capsys):
    a, b = tmp_path / "a", tmp_path / "b"
    assert main([*SMALL, "seed=0,1", f"results={a}"]) == 0
    assert main([*SMALL, "seed=1,2", f"results={a},{b}"]) == 0
    assert "runs: 4, finished before: 1" in capsys.readouterr().err
    assert complete(a, capsys) == f"{a}: 3 runs"
    assert complete(b, capsys) == f"{b}: 2 runs"
    both = [load(folder).runs.set_index("seed")["final_loss"] for folder in (a, b)]
    assert both[0][1] == both[1][1]
    assert both[0][2] == both[1][2]


@pytest.mark.parametrize("wrong", ["/dev/null", "/proc/nowhere"])
def test_a_folder_that_cannot_be_made_stops_all_of_them(tmp_path, capsys, wrong):
    assert main([*SMALL, f"results={tmp_path}/new/a,{wrong}"]) == 2
    assert capsys.readouterr().err.startswith(f"bench: results={wrong}: ")
    assert not any(tmp_path.iterdir())


def test_failures_are_counted_in_runs_and_point_to_a_log_that_is_there(tmp_path, capsys, monkeypatch):
    """Four jobs are two runs, of which one cannot be written: there is no log of it."""
    begin = RunDirectory.begin

    def refused(self, *rest):
        if self.run_id == lost:
            raise OSError(28, "No space left on device")
        begin(self, *rest)

    assert main([*SMALL, "seed=0", f"results={tmp_path / 'once'}"]) == 0
    (path,) = (tmp_path / "once").glob("[!.]*")
    lost = path.name
    monkeypatch.setattr(RunDirectory, "begin", refused)
    capsys.readouterr()
    assert main([*SMALL, "seed=0,1", "device=auto,cpu", f"results={tmp_path / 'r'}"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    where = tmp_path / "r" / lost
    assert last == f"bench: 1 of 2 runs failed, the first with {where}: cannot be written, No space left on device"
