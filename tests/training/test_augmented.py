"""Training with augmentation: the seed decides it, it goes on where it stopped; without it the graph is as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nntrainer.config import Config
from nntrainer.errors import Interrupted
from nntrainer.networks.model import build_model
from nntrainer.rundir import RunDir
from nntrainer.training import loop
from nntrainer.training.distributed import alone
from nntrainer.training.load import load_training_data
from nntrainer.training.steps import Steps
from nntrainer.training.train import train

pytestmark = pytest.mark.slow

Make = Callable[..., Config]
DROP = {"name": "drop_jets", "probability": 0.5, "keep": 0, "allow_event_features": True}


def augmented(config: Config, **change: object) -> Config:
    given = config.dump()
    given["preparation"]["augmentation"] = [DROP]
    return Config.model_validate({**given, **change})


@pytest.mark.parametrize("batches", [{"batch_size": 32}, {"batch_size": 16, "accumulate": 2}], ids=str)
def test_a_seed_gives_one_result_also_after_a_stop(
    batches: dict[str, int], make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_config(model={"name": "dense", "layers": [8]}, epochs=2, **batches)
    config = augmented(plain)
    sums = [train(config, RunDir(tmp_path / name), folds=[0])[0].weights_sha256 for name in ("a", "b")]
    assert sums[0] == sums[1]
    assert train(plain, RunDir(tmp_path / "plain"), folds=[0])[0].weights_sha256 != sums[0]
    asked = iter([False] * 8 + [True] + [False] * 1000)
    monkeypatch.setattr(loop, "EVENTS_PER_CALL", 5 * 32)
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0)
    with monkeypatch.context() as patched:
        patched.setattr(loop.StopRequest, "requested", lambda self: next(asked))
        with pytest.raises(Interrupted):
            train(config, RunDir(tmp_path / "stopped"), folds=[0])
    assert train(config, RunDir(tmp_path / "stopped"), folds=[0])[0].weights_sha256 == sums[0]


def test_the_graph_has_no_trace_of_augmentation_without_it(make_config: Make) -> None:
    plain = make_config(model={"name": "dense", "layers": [8]})
    random, variables = [], []
    for config in (plain, augmented(plain)):
        scaling = load_training_data(config, 0).scaling
        steps = Steps(config, build_model(config, scaling, 1), alone(), 64)
        graph = steps._run.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        random.append(sum("StatelessRandom" in node.op for node in nodes))
        variables.append([each.name for each in steps.variables])
    assert random[0] == 0 < random[1]
    assert set(variables[1]) - set(variables[0]) == {"augmented_batches"}


def test_validation_and_scores_are_not_augmented(make_config: Make) -> None:
    config = augmented(make_config(model={"name": "dense", "layers": [8]}))
    data = load_training_data(config, 0)
    steps = Steps(config, build_model(config, data.scaling, 1), alone(), 64)
    assert (steps.validate(data.validation) == steps.validate(data.validation)).all()
    assert int(steps._augmenter.variables[0].value) == 0
