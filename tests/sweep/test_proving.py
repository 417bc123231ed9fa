"""An engine that errs on this machine is found, named, and does not train."""

import dataclasses
import json

import pytest
import torch

from bench.__main__ import main
from bench.check import engines
from bench.check.__main__ import main as check_main
from bench.engines import auto, proof
from bench.engines.batched import Batched, BatchedProgram
from bench.engines.eager import Eager
from bench.engines.engine import NO_INTERVENTIONS
from bench.engines.proof import Question, fault
from bench.jobs.compose import composed
from bench.jobs.job import checked_job
from tests.conftest import choices

CPU = torch.device("cpu")
SMALL = ("cell.hidden=8", "task.length=10", "updates=2", "batch_size=4", "evaluation.sequences=8", "evaluation.final=8")


@dataclasses.dataclass(frozen=True)
class Erring(Batched):
    """An engine that is right but for one thing, `wrong`, in packs of one width."""

    wrong: str = "nothing"
    width: int = 7

    def program(self, network, task, interventions=NO_INTERVENTIONS):
        return ErringProgram(self, network, task, interventions)


class ErringProgram(BatchedProgram):
    def __init__(self, engine, network, task, interventions):
        super().__init__(network, task, interventions)
        self.engine = engine

    def gradients(self, flat, batch, *rest, **options):
        found = super().gradients(flat, batch, *rest, **options)
        if len(flat) != self.engine.width:
            return found
        if self.engine.wrong == "gradient":
            wrong = found.gradient.clone()
            wrong[-1] *= 1.001
            return found._replace(gradient=wrong)
        if self.engine.wrong == "lengths" and batch.lengths is not None:
            return found._replace(loss=found.loss + 0.01)
        if self.engine.wrong == "trace" and found.trace:
            return found._replace(trace={name: norms.roll(1, -1) for name, norms in found.trace.items()})
        if self.engine.wrong == "nan":
            return found._replace(loss=torch.full_like(found.loss, torch.nan))
        if self.engine.wrong == "crash":
            raise RuntimeError("no such kernel image")
        return found

    def answers(self, flat, batch):
        found = super().answers(flat, batch)
        return found._replace(outputs=found.outputs + 0.1) if self.engine.wrong == "answers" else found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "folder", lambda: tmp_path / "proofs")
    fault.cache_clear()
    yield
    fault.cache_clear()


def question(*overrides, **fields):
    replica = checked_job(composed("cell.hidden=8", "task.length=10", *overrides)).replica
    return Question(replica.network, replica.dtype, CPU, replica.clipping, **fields)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("gradient", "packs of 7, one length: gradient off by 1.0e-03"),
        ("lengths", "packs of 7, lengths of their own: loss off by"),
        ("trace", "packs of 7, one length: ||dL/dh_t|| off by"),
        ("nan", "packs of 7, one length: loss off by inf"),
        ("answers", "packs of 1, one length: answers off by"),
        ("crash", "RuntimeError: no such kernel image"),
    ],
)
def test_an_engine_that_errs_in_one_case_is_found_and_the_case_named(wrong, said):
    asked = question("cell=tanh")
    assert fault(Erring(wrong="nothing"), asked) is None
    assert fault(Erring(wrong=wrong), asked).startswith(said)


@pytest.mark.parametrize(
    "asked",
    [
        *([f"cell={name}"] for name in choices("cell")),
        ["task=copying", "cell=lstm"],
        ["clipping=state_norm"],
        ["remedies=[recurrent_dropout]"],
    ],
    ids=" ".join,
)
def test_every_engine_that_serves_here_agrees_with_float64(asked):
    replica = checked_job(composed("cell.hidden=8", "task.length=10", *asked)).replica
    for engine in auto.BY_SPEED:
        if engine.refusal(replica.network, CPU, replica.interventions) is None:
            assert fault(engine, question(*asked)) is None


def test_a_verdict_is_kept_for_the_next_process(monkeypatch, tmp_path):
    asked = question()
    assert fault(Erring(wrong="gradient"), asked)
    fault.cache_clear()
    monkeypatch.setattr(proof, "_tried", lambda engine, question: pytest.fail("tried again"))
    assert "gradient off" in fault(Erring(wrong="gradient"), asked)
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        fault(Erring(wrong="trace"), asked)
    (file,) = (tmp_path / "proofs").glob("*.json")
    file.write_text("{")
    fault.cache_clear()
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        fault(Erring(wrong="gradient"), asked)


def run(tmp_path, *overrides):
    code = main([*SMALL, "measurement=[]", "hydra.launcher.where=here", f"results={tmp_path / 'results'}", *overrides])
    (directory,) = (path.parent for path in (tmp_path / "results").glob("*/outcome.json"))
    return code, *(json.loads((directory / f"{name}.json").read_text()) for name in ("outcome", "environment"))


def test_auto_falls_back_on_the_next_engine_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(auto, "BY_SPEED", (Erring(wrong="gradient"), Batched(), Eager()))
    code, outcome, environment = run(tmp_path)
    assert code == 0
    assert outcome["engine"] == environment["engine"] == "batched"
    assert (
        "engine erring does not agree with float64 on this machine (packs of 7, one length: gradient"
        in capsys.readouterr().err
    )


def test_an_engine_that_was_named_and_errs_trains_only_unchecked(tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "_tried", lambda engine, question: "packs of 7: loss off by 1")
    code, outcome, _ = run(tmp_path, "engine=batched")
    assert code == 1
    assert outcome["message"].startswith("engine batched does not agree with float64 on this machine (packs of 7")
    assert outcome["message"].endswith("engine.unchecked=true trains with it even so")
    code, outcome, _ = run(tmp_path, "engine=batched", "engine.unchecked=true")
    assert (code, outcome["engine"]) == (0, "batched")


def test_the_check_by_hand_shows_every_engine_and_fails_where_one_disagrees(monkeypatch, capsys):
    asked = ["--engines", "cell=tanh", "cell.hidden=8", "task.length=10"]
    assert check_main(asked) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if "tanh" in line or "compiled" in line]
    assert [word.strip() for word in rows[0][1:-1]] == ["cell", "compiled", "batched", "eager"]
    assert all(word.strip().endswith("x") for word in rows[1][2:-1])
    monkeypatch.setattr(auto, "BY_SPEED", (Erring(wrong="nan"), Eager()))
    monkeypatch.setattr(engines, "BY_SPEED", auto.BY_SPEED)
    assert check_main(asked) == 1
    assert "erring on elman: packs of 7, one length: loss off by inf" in capsys.readouterr().err
