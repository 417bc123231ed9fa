"""A key that nothing reads, that is missing, or that has another name here: one line says which, and what is meant."""

import pytest

from bench.__main__ import main
from bench.jobs.build import ConfigError
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from bench.jobs.keys import NEEDED
from bench.jobs.suggestions import OURS, SYNONYMS, meant
from bench.runs.tables import flat

KNOWN = list(flat(composed()))
SMALL = ["task.length=6", "cell.hidden=4", "updates=3", "hydra.launcher.dry_run=true"]


def refused(capsys, tmp_path, *overrides):
    """What is said of a mistake; nothing is left behind."""
    assert main([*overrides, f"results={tmp_path / 'results'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not any(tmp_path.iterdir())
    return line.removeprefix("bench: ")


@pytest.mark.parametrize(
    ("key", "ours"),
    [
        ("learning_rate", "optimizer.lr"),
        ("lr", "optimizer.lr"),
        ("epochs", "updates"),
        ("hidden_size", "cell.hidden"),
        ("hidden", "cell.hidden"),
        ("batch", "batch_size"),
        ("bs", "batch_size"),
        ("clip", "clipping.threshold"),
        ("T", "task.length"),
        ("random_seed", "seed"),
        ("sed", "seed"),
        ("optimizer.learning_rate", "optimizer.lr"),
        ("optim.learning_rate", "optimizer.lr"),
        ("clipping.max_norm", "clipping.threshold"),
        ("task.lenght", "task.length"),
        ("lenght", "task.length"),
        ("initializer/recurent", "initializer/recurrent"),
        ("optimizer.rl", "optimizer.lr"),
        ("task.quux", None),
        ("quux", None),
    ],
)
def test_a_key_is_found_by_its_meaning_before_its_letters(key, ours):
    assert meant(key, [*KNOWN, "initializer.recurrent"]) == ours


def test_every_synonym_leads_to_a_key_that_there_is():
    last = {key.rpartition(".")[2] for key in [*KNOWN, *NEEDED]}
    assert set(SYNONYMS) <= last
    assert len(OURS) == sum(len(theirs) for theirs in SYNONYMS.values())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["+learning_rate=0.1,0.2", "+epochs=5"], "learning_rate: no such key; did you mean optimizer.lr?"),
        (["+depth=1"], "depth: no such key; `python -m bench --cfg job` shows all keys"),
        (["++sed=1"], "sed: no such key; did you mean seed?"),
        (["+my.own.key=1"], "my: no such key; `python"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(capsys, tmp_path, overrides, said):
    assert refused(capsys, tmp_path, *SMALL, *overrides).startswith(said)


# Where null says the same, or the yaml file is chosen apart from the value, there is nothing to miss.
OPTIONAL = ("measurement", "remedies", "experiment", "logger", "selection", "start")


@pytest.mark.parametrize("key", [name for name in NEEDED if name not in OPTIONAL])
def test_a_top_level_key_that_is_deleted_is_named(key):
    with pytest.raises(ConfigError) as error:
        checked_job(composed(f"~{key}"))
    assert str(error.value) == f"{key}: missing, and every run needs it; leave ~{key} out"


@pytest.mark.parametrize(
    ("deletion", "value"), [("~cell", "cell.hidden=4"), ("~evaluation", "evaluation.final=4"), ("~task", "seed=0,1")]
)
def test_a_value_below_a_deleted_key_is_not_the_mistake(capsys, tmp_path, deletion, value):
    key = deletion[1:]
    assert refused(capsys, tmp_path, value, deletion) == f"{key}: missing, and every run needs it; leave ~{key} out"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task=mnist", "task.length=6"], "task.length: no such key; task has variant, path"),
        (["task=mnist,adding", "task.length=6"], "task.length: no such key; task has variant, path"),
        (["optimizer=sgd", "optimizer.moment=1"], "optimizer.moment: no such key; did you mean optimizer.momentum?"),
        (["optimizer=sgd,adam", "optimizer.amsgrad=1"], "optimizer.amsgrad: no such key; optimizer has lr, "),
        (["optimizer.learning_rate=1"], "optimizer.learning_rate: no such key; did you mean optimizer.lr?"),
        (["+optimizer.learning_rate=1"], "optimizer.learning_rate: no such setting of Adam; did you mean lr?"),
        (["experiment=digits", "task.length=6"], "task.length: no such key; task has variant"),
        (["workers=2"], "workers: no such key; did you mean hydra.launcher.workers?"),
        (["hydra.launcher.wdith=2"], "hydra.launcher.wdith: no such key; did you mean hydra.launcher.width?"),
    ],
)
def test_suggestions_come_from_the_configuration_that_was_chosen(capsys, tmp_path, overrides, said):
    assert refused(capsys, tmp_path, *overrides).startswith(said)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("results=null", "results=null: must be the name of a folder, such as results/mine"),
        ("results=", "results=: must be the name of a folder"),
        ("results=' '", "results= : must be the name of a folder"),
        ("results=[a]", "results=['a']: must be the name of a folder"),
        ("results=true", "results=True: must be the name of a folder"),
        ("extensions=null", "extensions=None: must be a list of packages, such as [my_package]"),
        ("extensions=mine", "extensions=mine: must be a list of packages"),
        ("extensions=[5]", "extensions=[5]: must be a list of packages"),
        ("selection=5", "selection=5: must be words that say how settings were chosen, or null"),
        ("checkpoint=null", "checkpoint=None: must be a component with its settings"),
        ("budget=3", "budget=3: must be a component with its settings"),
        ("sweep=5", "sweep=5: must be a list of command lines"),
        ("sweep=abc", "sweep=abc: must be a list of command lines"),
        ("sweep=[5]", "sweep=[5]: must be a list of command lines"),
        ('sweep=["seed=\'1"]', "sweep: seed='1: No closing quotation"),
        ("task=null", "task=null: must name a choice, such as task=adding"),
        ("logger=7", "logger=7: must name a choice"),
        ("task=", "task=: no such choice; use one of adding, copying"),
    ],
)
def test_what_says_how_a_run_is_carried_out_has_a_type_too(capsys, tmp_path, monkeypatch, mistake, said):
    monkeypatch.chdir(tmp_path)
    assert main([mistake]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: {said}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", [".inf", ".Inf", ".INF", "+.inf", "inf", "Inf", "+inf", "Infinity"])
def test_infinity_is_a_number_however_yaml_or_hydra_spells_it(text):
    threshold = composed(f"clipping.threshold={text}")["clipping"]["threshold"]
    assert threshold == (float("inf") if text != "Infinity" else "Infinity")
    assert composed("clipping.threshold=-.Inf")["clipping"]["threshold"] == float("-inf")
    assert composed("+cell.numbers=[1,.inf]")["cell"]["numbers"] == [1, float("inf")]
    assert composed("clipping.threshold=.NaN")["clipping"]["threshold"] != composed()["clipping"]["threshold"]
