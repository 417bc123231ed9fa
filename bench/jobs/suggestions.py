"""What a key that does not exist was meant to be: by its meaning first, then by its letters."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

# What other libraries call a key, by the last part of its name here.
SYNONYMS = {
    "batch_size": ("batch", "batchsize", "bs", "minibatch"),
    "cell": ("model", "net", "network", "rnn"),
    "device": ("gpu", "cuda"),
    "hidden": ("hidden_size", "hidden_dim", "num_hidden", "n_hidden", "units"),
    "initializer": ("init", "initialization"),
    "length": ("t", "seq_len", "sequence_length", "delay"),
    "lr": ("learning_rate", "step_size"),
    "optimizer": ("optim", "optimiser"),
    "precision": ("dtype",),
    "results": ("out", "output", "output_dir", "save_dir", "folder"),
    "seed": ("random_seed", "rng"),
    "task": ("data", "dataset", "problem"),
    "threshold": ("clip", "clip_norm", "grad_clip", "gradient_clip", "max_norm"),
    "updates": ("epochs", "iterations", "iters", "max_steps", "num_steps", "steps"),
    "weight_decay": ("wd", "l2"),
}
OURS = {theirs: ours for ours, others in SYNONYMS.items() for theirs in others}


def meant(key: str, known: Sequence[str]) -> str | None:
    """The known key that `key` was meant to be; None if none comes near.

    A key is looked for in its own section by its last part's synonym, by that part itself, and by its letters; where
    there is no such section, by letters that nearly agree; then anywhere by synonym, part, and letters.
    """
    section, _, last = key.replace("/", ".").rpartition(".")
    inside = [other for other in known if section and other.startswith(f"{section}.")]
    found = _by_meaning(last, inside) or _by_letters(last, inside, 0.5)
    if found is None and section and not inside:
        found = _close(key, known, 0.8)
    found = found or _by_meaning(last, known)
    if found is None and not inside:
        found = _close(key, known, 0.6) or _by_letters(last, known, 0.6)
    return found and (found.replace(".", "/") if "/" in key else found)


def _by_meaning(last: str, known: Sequence[str]) -> str | None:
    names = (OURS.get(last.lower()), last.lower())
    return next((other for name in names for other in known if _last(other) == name), None)


def _by_letters(last: str, known: Sequence[str], cutoff: float) -> str | None:
    close = difflib.get_close_matches(last, [_last(other) for other in known], n=1, cutoff=cutoff)
    return next((other for other in known if _last(other) in close), None)


def _close(key: str, known: Sequence[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(key.replace("/", "."), known, n=1, cutoff=cutoff)), None)


def _last(key: str) -> str:
    return key.rpartition(".")[2]
