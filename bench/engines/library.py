"""torch.nn.RNN, GRU and LSTM, one replica at a time: what one would write without this suite, and its yardstick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engines.batched import Batched
from bench.engines.engine import NO_INTERVENTIONS, NO_MASKS, Answers, Engine, Gradients, Interventions, Masks, Program
from bench.nets.cells.elman import Elman
from bench.nets.cells.gru import GRU
from bench.nets.cells.lstm import LSTM
from bench.nets.network import Network
from tasks.task import Batch, Task

# ours are the last rows of theirs: of a GRU's second bias only the candidate's, else all
_COUNTERPARTS = {"W_hh": "weight_hh_l0", "W_xh": "weight_ih_l0", "b": "bias_ih_l0", "b_hn": "bias_hh_l0"}


@dataclass(frozen=True)
class Library(Engine):
    """torch.nn's recurrent nets; of their second bias a GRU's b_hn is trained, all else is zero and stays so.

    They give no trace: `Batched` measures it.

    tf32: whether cuDNN may round what it multiplies to 10 bits on a GPU, as it does where nobody forbids it.
    """

    intervenes = False

    tf32: bool

    def supports(self, network: Network, device: torch.device) -> bool:
        cell = network.cell
        return isinstance(cell, GRU | LSTM) or (isinstance(cell, Elman) and cell.activation in ("tanh", "relu"))

    def program(self, network: Network, task: Task, interventions: Interventions = NO_INTERVENTIONS) -> Program:
        return LibraryProgram(network, task, interventions, self.tf32)


@contextmanager
def cudnn_multiplies(tf32: bool) -> Iterator[None]:
    """Meanwhile recurrent nets in cuDNN multiply in TF32, or in float32 as IEEE has it."""
    told: tuple[Any, str, object] = torch.backends.cudnn.rnn, "fp32_precision", "tf32" if tf32 else "ieee"
    if not hasattr(*told[:2]):  # before torch 2.9
        told = torch.backends.cudnn, "allow_tf32", tf32
    place, name, value = told
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


class LibraryProgram(Program):
    """One torch.nn module, loaded with each replica's parameters in turn."""

    def __init__(self, network: Network, task: Task, interventions: Interventions, tf32: bool) -> None:
        super().__init__(network, task, interventions)
        self.tf32 = tf32
        self._measuring = Batched().program(network, task)
        self._counterparts = {name: _COUNTERPARTS[name] for name in network.cell.parameters}
        self._modules: dict[tuple[torch.device, torch.dtype], torch.nn.RNNBase] = {}

    def gradients(self, flat: Tensor, batch: Batch, trace: bool = False, masks: Masks = NO_MASKS) -> Gradients:
        with cudnn_multiplies(self.tf32):
            rows = [self._gradient(flat[r], batch.at(r)) for r in range(len(flat))]
        losses, gradients = (torch.stack(column) for column in zip(*rows, strict=True))
        return Gradients(losses, gradients, self._measuring.gradients(flat, batch, True).trace if trace else {})

    def _gradient(self, flat: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        module, weights = self._loaded(flat)
        trained = {name: weights[name] for name in ("W_hy", "b_y")}
        for weight in trained.values():
            weight.requires_grad_()
        trained |= {name: getattr(module, theirs) for name, theirs in self._counterparts.items()}
        with torch.enable_grad():
            loss = self.mean_loss(self._outputs(module, weights, batch)[0], batch.targets)
            gradients = torch.autograd.grad(loss, list(trained.values()))
        gradient = torch.zeros_like(flat)
        views = self.network.views(gradient)
        for name, values in zip(trained, gradients, strict=True):
            views[name].copy_(values.flatten()[-views[name].numel() :].view_as(views[name]))
        return loss.detach(), gradient

    def answers(self, flat: Tensor, batch: Batch) -> Answers:
        with torch.no_grad(), cudnn_multiplies(self.tf32):
            rows = []
            for r, replica in enumerate(flat):
                outputs, hidden = self._outputs(*self._loaded(replica), batch.at(r))
                rows.append((outputs, (hidden != 0).any()))
        return Answers(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def _outputs(self, module: torch.nn.RNNBase, weights: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs of the scored steps [B, A, O] and all hidden states [B, T, H]."""
        hidden, _ = module(batch.inputs)
        outputs = self.network.readout(weights, hidden[..., self.read.start : self.read.stop, :])
        return self.scored(outputs, batch), hidden

    def _loaded(self, flat: Tensor) -> tuple[torch.nn.RNNBase, dict[str, Tensor]]:
        key = (flat.device, flat.dtype)
        if key not in self._modules:
            self._modules[key] = self._module().to(*key)
        module, weights = self._modules[key], self.network.views(flat.detach())
        with torch.no_grad():
            for name, theirs in self._counterparts.items():
                values = weights[name].flatten()
                getattr(module, theirs).view(-1)[-len(values) :] = values
        return module, weights

    def _module(self) -> torch.nn.RNNBase:
        cell = self.network.cell
        if isinstance(cell, Elman):
            module: torch.nn.RNNBase = torch.nn.RNN(
                self.network.inputs, cell.hidden, nonlinearity=cell.activation, batch_first=True
            )
        else:
            kind = torch.nn.GRU if isinstance(cell, GRU) else torch.nn.LSTM
            module = kind(self.network.inputs, cell.hidden, batch_first=True)
        second = module.get_parameter("bias_hh_l0").requires_grad_(False).zero_()
        second.requires_grad_("b_hn" in self._counterparts)
        return module
