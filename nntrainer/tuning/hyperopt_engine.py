"""Hyperopt: one process, its trials as lines of JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nntrainer.config import Config
from nntrainer.config.tuning import Range, Tune
from nntrainer.tuning.engine import (
    Result,
    Share,
    State,
    Trial,
    TuningError,
    identity,
    is_integer,
    refuse_other,
    seed_of,
)

JOURNAL = "journal.jsonl"


class HyperoptEngine:
    """Hyperopt's choice of values from the trials so far.

    Its own storages are pickles, MongoDB and Spark. Here a line of JSON is added when a trial begins, after each epoch
    and when it ends, from which the next process goes on; nothing is shared by several processes at a time.

    Args:
        config: the configuration.
        search: its tune block.
        folder: the directory of the journal.
        share: which trials of the search it holds.
    """

    def __init__(self, config: Config, search: Tune, folder: Path, share: Share) -> None:
        import hyperopt
        from hyperopt import rand, tpe

        self._hyperopt = hyperopt
        self._suggest = tpe.suggest if search.sampler == "tpe" else rand.suggest
        self._config, self._search, self._share = config, search, share
        self._path = folder / JOURNAL
        space = {key: self._distribution(key, values) for key, values in search.parameters.items()}
        # The function is never called: Hyperopt is only asked for values.
        self._domain = hyperopt.base.Domain(lambda values: 0.0, space)
        mine, lines = identity(search), self._lines()
        refuse_other(folder, mine, str(lines[0]["identity"]) if lines else mine)
        if not lines:
            self._add({"identity": mine})

    def _distribution(self, key: str, values: Range) -> Any:
        hp = self._hyperopt.hp
        if values.choices is not None:
            return hp.choice(key, list(range(len(values.choices))))
        low, high = values.low or 0, values.high or 0
        whole = is_integer(self._config, key, values)
        if whole and not values.log:
            step = int(values.step or 1)
            return low + step * hp.randint(key, (int(high) - int(low)) // step + 1)
        if values.log:
            return hp.loguniform(key, math.log(low), math.log(high))
        if values.step is not None:
            return low + values.step * hp.randint(key, math.floor((high - low) / values.step + 5e-4) + 1)
        return hp.uniform(key, low, high)

    def _lines(self) -> list[dict[str, Any]]:
        """Return the lines that are whole: a killed process may have left half of one at the end."""
        if not self._path.exists():
            return []
        text = self._path.read_text(encoding="utf-8")
        whole = text.rpartition("\n")[0]
        if len(whole) + 1 < len(text):
            os.truncate(self._path, len((whole + "\n").encode() if whole else b""))
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            raise TuningError(f"{self._path}: the journal is damaged; remove it to begin the search again") from None

    def _add(self, line: Mapping[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _trials(self) -> dict[int, dict[str, Any]]:
        """Return the trials by position: what Hyperopt drew, the values, the steps, how it ended."""
        found: dict[int, dict[str, Any]] = {}
        for line in self._lines()[1:]:
            trial = found.setdefault(line.pop("trial"), {"steps": {}, "state": "running", "value": None, "facts": {}})
            step = line.pop("step", None)
            if step is not None:
                trial["steps"][step] = line["value"]
            else:
                trial |= {**line, "facts": {**trial["facts"], **line.get("facts", {})}}
        return found

    def ask(self, worker: str) -> Trial | None:
        """Return the next trial, one that did not end first; None when there are enough."""
        there = self._trials()
        for position, trial in there.items():
            if trial["state"] == "running":
                return Trial(self._share.number(position), trial["values"], position)
        position = len(there)
        number = self._share.number(position)
        if number >= self._search.most:
            return None
        (document,) = self._suggest([position], self._domain, self._told(there), seed_of(self._config, number))
        drawn = {key: plain(values[0]) for key, values in document["misc"]["vals"].items()}
        values = self._values(drawn)
        self._add({"trial": position, "drawn": drawn, "values": values, "facts": {"worker": worker}})
        return Trial(number, values, position)

    def _values(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the keys for what Hyperopt drew."""
        found = {}
        for key, value in self._hyperopt.space_eval(self._domain.expr, dict(drawn)).items():
            values = self._search.parameters[key]
            if values.choices is not None:
                found[key] = values.choices[int(value)]
                continue
            value = min(max(plain(value), values.low or 0), values.high or 0)  # a logarithm there and back is not exact
            found[key] = round(value) if is_integer(self._config, key, values) else float(f"{value:.12g}")
        return {key: found[key] for key in self._search.parameters}

    def _told(self, there: Mapping[int, Mapping[str, Any]]) -> Any:
        """Return the trials as Hyperopt knows them; it minimises."""
        base = self._hyperopt.base
        sign = 1.0 if self._search.better == "minimize" else -1.0
        documents = []
        trials = base.Trials()
        for position, trial in there.items():
            misc = {
                "tid": position,
                "cmd": self._domain.cmd,
                "workdir": self._domain.workdir,
                "idxs": {key: [position] for key in trial["drawn"]},
                "vals": {key: [value] for key, value in trial["drawn"].items()},
            }
            done = trial["state"] == "done"
            result = {"status": "ok", "loss": sign * trial["value"]} if done else {"status": "fail"}
            (document,) = trials.new_trial_docs([position], [None], [result], [misc])
            documents.append({**document, "state": base.JOB_STATE_DONE if done else base.JOB_STATE_ERROR})
        trials.insert_trial_docs(documents)
        trials.refresh()
        return trials

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """Note the value after a step; no trial is given up."""
        self._add({"trial": trial.handle, "step": step, "value": value})
        return False

    def tell(self, trial: Trial, state: State, value: float | None, facts: Mapping[str, Any]) -> None:
        """Note how a trial ended."""
        self._add({"trial": trial.handle, "state": state, "value": value, "facts": dict(facts)})

    def results(self) -> list[Result]:
        """Return what is known of all trials, by number."""
        return [
            Result(
                self._share.number(position),
                trial["state"],
                trial["values"],
                trial["value"],
                trial["steps"],
                trial["facts"],
            )
            for position, trial in self._trials().items()
        ]


def plain(value: Any) -> Any:
    """Return a NumPy number as one of Python."""
    return value.item() if isinstance(value, np.generic | np.ndarray) else value
