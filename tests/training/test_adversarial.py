"""Decorrelation from a nuisance and robustness against changed inputs, on ntuples made for them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pytest
import tensorflow as tf
import uproot

from nntrainer.config import Config
from nntrainer.config.adversarial import Decorrelation
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import open_dataset
from nntrainer.errors import Interrupted, TrainingError
from nntrainer.evaluation.dependence import measure_dependence
from nntrainer.evaluation.figures import reporting_weights
from nntrainer.evaluation.predict import scores
from nntrainer.evaluation.robustness import measure_robustness
from nntrainer.networks.model import build_model, load_model
from nntrainer.progress import silent
from nntrainer.rundir import RunDir
from nntrainer.training import loop, nuisance
from nntrainer.training.adversary import Adversary, reverse
from nntrainer.training.attack import Attack
from nntrainer.training.distributed import alone
from nntrainer.training.load import load_training_data
from nntrainer.training.loop import train_fold
from nntrainer.training.nuisance import Classes, ClassesFit
from nntrainer.training.record import read_training
from nntrainer.training.steps import Steps
from nntrainer.training.tasks import NUISANCE
from nntrainer.training.train import train
from nntrainer.tuning.trade_off import draw, trade_off

pytestmark = pytest.mark.slow

Made = Callable[..., Config]
EVENTS = 4000
WEAK = 40
MASS = {"nuisance": "mass"}


def write(path: Path, signal: bool) -> None:
    """Write events: `u` tells classes apart, `v` does so only by the mass; many `weak` ones do so, each a little."""
    random = np.random.default_rng(int(signal))
    mass = random.normal(125e3, 10e3, EVENTS) if signal else random.uniform(50e3, 200e3, EVENTS)
    side = 1 if signal else -1
    weak = {f"weak{i}": random.normal(0.15 * side, 1.0, EVENTS) for i in range(WEAK)}
    columns = {
        "eventNumber": random.permutation(4 * EVENTS)[:EVENTS].astype(np.uint64),
        "w": random.uniform(0.5, 1.5, EVENTS),
        "mass": mass,
        "u": random.normal(0.6 * side, 1.0, EVENTS),
        "v": np.abs(mass - 125e3) / 20e3 + random.normal(0.0, 0.3, EVENTS),
        "strong": random.normal(1.6 * side, 1.0, EVENTS),
        "generator": random.choice([410.0, 411.0, 500.0], EVENTS, p=[0.5, 0.2, 0.3]),
        **weak,
    }
    objects = ak.unflatten(random.exponential(5e4, 2 * EVENTS).astype(np.float32), np.arange(EVENTS) % 2 * 2 + 1)
    with uproot.recreate(path) as file:
        kinds = {name: values.dtype if name == "eventNumber" else np.float32 for name, values in columns.items()}
        file.mktree("events", kinds | {"jet_pt": "var * float32"}).extend(columns | {"jet_pt": objects})


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that makes a configuration with converted samples."""
    folder = tmp_path_factory.mktemp("adversarial")
    for name in ("sig", "bkg"):
        write(folder / f"{name}.root", name == "sig")

    def made(features: tuple[str, ...] = ("u", "v"), more: dict[str, Any] | None = None, **training: Any) -> Config:
        config = Config.model_validate(
            {
                "name": "adversarial",
                "data": {
                    "tree": "events",
                    "weight": "w",
                    "samples": [{"name": n, "files": str(folder / f"{n}.root"), "label": n} for n in ("sig", "bkg")],
                    "directory": str(folder / "datasets"),
                },
                "features": {
                    "events": features,
                    "objects": {"jets": {"max": 3, "features": ["jet_pt"]}},
                    "spectators": [{"name": "mass", "unit": "MeV"}, "generator"],
                },
                "model": {"name": "dense", "layers": [16]},
                "evaluation": {"bootstrap": 20},
                "training": {"epochs": 2, "batch_size": 64, "threads": 1, "tensorboard": False, **training},
                **(more or {}),
            }
        )
        convert(config)
        return config

    return made


def trained(config: Config, directory: Path, group: int = 1) -> Any:
    directory.mkdir(parents=True, exist_ok=True)
    return train_fold(config, 0, directory, load_training_data(config, 0, group=group))


def same(one: Any, other: Any, **tolerance: float) -> None:
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


# the classes of a nuisance


def test_weighted_quantiles_have_equal_sums() -> None:
    random = np.random.default_rng(1)
    values, weights = random.normal(size=5000).astype(np.float32), random.uniform(0, 2, 5000)
    fit = ClassesFit(Decorrelation(nuisance="m", bins=8))
    for part in np.array_split(np.arange(5000), 7):
        fit.add(values[part], weights[part])
    classes = fit.classes()
    sums = np.bincount(classes.of(values), weights)
    assert classes.number == 8 and np.ptp(sums) < 2 * 2.0
    assert classes.entropy == pytest.approx(np.log(8), abs=1e-5)
    fit.add(np.full(9, np.nan, np.float32), np.ones(9))
    assert fit.classes().edges.tolist() == classes.edges.tolist()


def test_quantiles_of_many_events_are_those_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuisance, "KEPT", 1000)
    values, found = np.random.default_rng(1).permutation(100_000).astype(np.float32), []
    for pieces in (1, 13):
        fit = ClassesFit(Decorrelation(nuisance="m", bins=4))
        for part in np.array_split(values, pieces):
            fit.add(part, np.ones(len(part)))
        assert 500 < len(fit._values) <= 1000
        found.append(fit.classes().edges)
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], [25_000, 50_000, 75_000], rtol=0.1)


def test_each_value_of_a_label_is_a_class() -> None:
    fit = ClassesFit(Decorrelation(nuisance="g", kind="label"))
    fit.add(np.array([410, 410, 500, 411], np.float32), np.array([1.0, 1, 1, 1]))
    classes = fit.classes()
    assert classes.of(np.array([410, 411, 500])).tolist() == [0, 1, 2]
    assert classes.entropy == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(4))


def test_what_is_no_nuisance_is_refused() -> None:
    for values, options, says in (
        (np.ones(5), {}, r"'m' is the same for all 5 training events.*events: background.*name another"),
        (np.arange(101.0), {"kind": "label"}, r"label 'm' has 101 values, and 100 is the most; say kind: number"),
    ):
        fit = ClassesFit(Decorrelation(nuisance="m", **options))
        fit.add(values.astype(np.float32), np.ones(len(values)))
        with pytest.raises(TrainingError, match=says):
            fit.classes()


# decorrelation


def test_reversed_gradients() -> None:
    x = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        y = reverse(x, 3.0)
        loss = tf.reduce_sum(y * y)
    assert y.numpy().tolist() == [1.0, 2.0]
    assert tape.gradient(loss, x).numpy().tolist() == [-6.0, -12.0]


@pytest.mark.parametrize(("events", "sees"), [("background", "score"), ("all", "event"), ("signal", "score")])
def test_the_network_takes_the_adversarys_gradients_reversed(make: Made, events: str, sees: str) -> None:
    found = {}
    for strength in (0.0, 2.0):
        config = make(decorrelation=MASS | {"strength": strength, "events": events, "sees": sees, "bins": 4})
        data = load_training_data(config, 0)
        model = build_model(config, data.scaling, 1)
        steps = Steps(config, model, alone(), 64, data.widths, data.classes)
        some = next(iter(data.train.values())).read([(0, 32), (3000, 3032)])
        target = {
            "class": tf.constant(some.target),
            NUISANCE: tf.constant(some.more[NUISANCE]),
        }
        inputs = {name: tf.constant(array) for name, array in some.inputs.items()}
        found[strength] = steps._gradients((inputs, target, tf.constant(some.weight)), 64, penalties=True)[0]
    own = len(model.trainable_variables)
    for one, other in zip(found[0.0][own:], found[2.0][own:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)  # the adversary itself learns as always
    assert steps._adversary is not None and data.classes is not None
    count = {"all": some.target >= 0, "signal": some.target > 0.5, "background": some.target < 0.5}[events]
    assert 10 < count.sum() < 65
    truth = data.classes.of(some.more[NUISANCE])
    with tf.GradientTape() as tape:
        guesses = steps._adversary._guess(steps._adversary.forward(inputs)[1])
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, guesses)
        loss = tf.reduce_sum(some.weight * count * entropy) / 64
    handed_on = tape.gradient(loss, [each.value for each in model.trainable_variables], unconnected_gradients="zero")
    for free, bound, other in zip(found[0.0], found[2.0], handed_on, strict=False):
        np.testing.assert_allclose(bound - free, -2 * other, rtol=1e-3, atol=1e-6)
    assert max(np.abs(each).max() for each in handed_on) > 1e-4


def test_strength_zero_is_the_network_without_an_adversary(make: Made, tmp_path: Path) -> None:
    more = {"gradient_clipping": {"norm": 1.0}, "averaging": {"name": "ema", "decay": 0.9}}
    free = trained(make(decorrelation=MASS | {"strength": 0}, **more), tmp_path / "free")
    plain = trained(make(**more), tmp_path / "plain")
    same(free, plain, rtol=1e-4, atol=1e-6)
    assert [layer.name for layer in free.layers] == [layer.name for layer in plain.layers]
    header = (tmp_path / "free/history.csv").read_text().splitlines()[0]
    assert header.endswith(",adversary_loss,val_adversary_loss")
    assert "adversary" not in (tmp_path / "plain/history.csv").read_text()


@pytest.fixture(scope="module")
def curve(make: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, RunDir, dict[str, Any]]:
    run = RunDir(tmp_path_factory.mktemp("curve"))
    optimizer = {"name": "adam", "learning_rate": 0.005}
    config = make(epochs=10, batch_size=128, optimizer=optimizer, decorrelation=MASS | {"learning_rate_factor": 3})
    return config, run, trade_off(config, run, [0.0, 5.0], silent())


def test_with_strength_the_dependence_falls(curve: tuple[Config, RunDir, dict[str, Any]]) -> None:
    config, run, result = curve
    free, bound = result["points"]
    one, other = (point["distance_correlation"]["background"] for point in (free, bound))
    assert one["value"] > 0.35 and other["value"] < one["value"] / 2
    assert bound["jsd"] < free["jsd"] / 3 and bound["inverse_jsd"] > 3 * free["inverse_jsd"]
    assert free["auc"] > bound["auc"] > 0.7
    drawn = draw(config, run, result)
    assert {path.name for path in drawn} >= {"trade_off.png", "trade_off_jsd.pdf"} and all(p.exists() for p in drawn)
    trained = run.path / "trade-off/strength_5/training/fold0/model.keras"
    before = trained.stat().st_mtime_ns
    again = trade_off(config, run, [5.0], silent())
    assert trained.stat().st_mtime_ns == before and again["points"] == [bound]


def test_dependence_in_the_metrics(curve: tuple[Config, RunDir, dict[str, Any]], tmp_path: Path) -> None:
    config, run, result = curve
    config = config.model_copy(
        update={"evaluation": config.evaluation.model_copy(update={"dependence": ("generator", "mass")})}
    )
    figures: dict[str, Any] = {}
    with open_dataset(config) as dataset:
        found = scores(config, RunDir(run.path / "trade-off/strength_0"), dataset)
        target, weight = dataset.column("label") == 0, reporting_weights(config, dataset)
        given = (dataset, target, found.test[:, 0], weight)
        metrics = measure_dependence(config, *given, lambda name, plot, *args: figures.update({name: plot(*args)}))
    assert set(metrics) == {"mass", "generator"} and metrics["mass"]["unit"] == "GeV"
    assert set(figures) == {f"dependence_{n}_{what}" for n in metrics for what in ("shapes", "efficiency")}
    mass, label = metrics["mass"], metrics["generator"]
    one = mass["distance_correlation"]["background"]
    assert one == pytest.approx(result["points"][0]["distance_correlation"]["background"])
    assert one["independent"] < 0.05 and 0 < one["error"] < 0.05
    other = label["distance_correlation"]["background"]
    assert other["value"] < other["independent"] + 4 * other["error"]  # nothing depends on it
    assert len(label["edges"]) == 4 and len(label["cuts"][0]["efficiency"]) == 3
    near = np.abs((np.array(mass["edges"][1:]) + mass["edges"][:-1]) / 2 - 125) < 15
    cut = next(each for each in mass["cuts"] if each["signal_efficiency"] == 0.5)
    efficiency = np.array(cut["efficiency"])
    assert efficiency[near].min() > 3 * efficiency[[0, -1]].max()  # events of the signal's mass pass


def test_early_stopping_looks_at_what_the_adversary_knows(make: Made, tmp_path: Path) -> None:
    config = make(
        epochs=6,
        optimizer={"name": "adam", "learning_rate": 0.01},
        early_stopping={"patience": 6},
        decorrelation=MASS | {"strength": 20, "events": "all"},
    )
    trained(config, tmp_path)
    entropy = load_training_data(config, 0).classes.entropy  # type: ignore[union-attr]
    lines = [line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines()]
    columns = {name: np.array([float(line[i]) for line in lines[1:]]) for i, name in enumerate(lines[0])}
    compared = columns["val_loss"] + 20 * np.maximum(entropy - columns["val_adversary_loss"], 0)
    record = read_training(tmp_path)
    assert record["best_epoch"] == 1 + int(np.argmin(compared))
    assert record["best_val_loss"] == columns["val_loss"][record["best_epoch"] - 1]
    with h5py.File(tmp_path / "checkpoint.h5") as file:
        state = json.loads(bytes(file["state"][()]))
    assert state["stopping"]["best"] == pytest.approx(compared.min(), rel=1e-6)
    assert (compared > columns["val_loss"] + 0.01).any()


def both(**more: Any) -> dict[str, Any]:
    """A decorrelation and a robustness, both with something of everything."""
    return {
        "decorrelation": {"nuisance": "generator", "kind": "label", "sees": "event", "layers": [8]},
        "robustness": {"attack": "pgd", "steps": 2, "epsilon": 0.2, "features": ["u", "jets"]},
        **more,
    }


def test_a_stopped_training_ends_as_if_never_stopped(
    make: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(**both(epochs=3))
    whole = train(config, RunDir(tmp_path / "whole"), folds=[0])[0]
    asked = iter([False] * 8 + [True] + [False] * 1000)
    monkeypatch.setattr(loop, "EVENTS_PER_CALL", 12 * 64)
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0)
    with monkeypatch.context() as patched:
        patched.setattr(loop.StopRequest, "requested", lambda self: next(asked))
        with pytest.raises(Interrupted, match="epoch 2 of 3"):
            train(config, RunDir(tmp_path / "stopped"), folds=[0])
    assert train(config, RunDir(tmp_path / "stopped"), folds=[0])[0].weights_sha256 == whole.weights_sha256


@pytest.mark.skipif(
    importlib.util.find_spec("horovod") is None, reason="Horovod is not installed; `make horovod` builds it"
)
def test_two_workers_equal_one_with_twice_the_batch(make: Made, tmp_path: Path) -> None:
    given = {"decorrelation": MASS, "robustness": {"epsilon": 0.2}}
    together = train(make(workers=2, batch_size=32, **given), RunDir(tmp_path / "two"), folds=[0])[0]
    first, second = read_training(tmp_path / "two/training/fold0")["weights_sha256_by_worker"]
    assert first == second
    one = trained(make(batch_size=64, **given), tmp_path / "one", group=2)
    # A sign turns where a gradient is next to zero, which no rounding leaves alone.
    same(one, load_model(together.model), rtol=0.02, atol=2e-3)
    rows = [(tmp_path / n / "history.csv").read_text().splitlines()[-1] for n in ("one", "two/training/fold0")]
    assert float(rows[0].split(",")[-1]) == pytest.approx(float(rows[1].split(",")[-1]), rel=1e-3)


def test_several_classes_gathered_batches_and_objects(make: Made, tmp_path: Path) -> None:
    more = {
        "model": {"name": "deep_sets", "width": 8, "layers": [8], "head": [8]},
        "network_type": "set",
    }
    config = make(more=more, **both(epochs=1, accumulate=2))
    given = config.dump()
    given["data"]["samples"].append({**given["data"]["samples"][1], "name": "other", "label": "other"})
    config = Config.model_validate(given)
    convert(config)
    for sees in ("score", "event"):
        decorrelation = config.training.decorrelation.model_copy(update={"sees": sees})  # type: ignore[union-attr]
        training = config.training.model_copy(update={"decorrelation": decorrelation})
        trained(config.model_copy(update={"training": training}), tmp_path / sees)
        assert read_training(tmp_path / sees)["best_val_loss"] < 3


# robustness


def slope(inputs: dict[str, Any]) -> Any:
    """Losses that grow with the first feature and fall with the second, of objects only with valid ones."""
    objects = tf.where(inputs["jets_valid"][..., None] > 0, inputs["jets"], 0.0)
    return 2 * inputs["events"][:, 0] - inputs["events"][:, 1] ** 2 - tf.reduce_sum(objects, axis=[1, 2])


EVENT = {
    "events": tf.constant([[1.0, 3.0, 7.0], [2.0, -3.0, 7.0]]),
    "jets": tf.constant([[[5.0], [np.nan]], [[6.0], [8.0]]]),
    "jets_valid": tf.constant([[1.0, 0.0], [1.0, 1.0]]),
}
WIDTHS = {"events": np.array([10.0, 1.0, 4.0], np.float32), "jets": np.array([2.0], np.float32)}
SEED = tf.constant([1, 2], tf.int64)


def test_fgsm_by_hand() -> None:
    moved = Attack("fgsm", WIDTHS)(EVENT, slope, 0.1, SEED)
    np.testing.assert_allclose(moved["events"], [[2.0, 2.9, 7.0], [3.0, -2.9, 7.0]])
    np.testing.assert_allclose(moved["jets"], [[[4.8], [np.nan]], [[5.8], [7.8]]], rtol=1e-6)
    assert moved["jets_valid"] is EVENT["jets_valid"]
    only = Attack("fgsm", {"events": np.array([0, 1, 0], np.float32)})(EVENT, slope, 0.1, SEED)
    np.testing.assert_allclose(only["events"], [[1.0, 2.9, 7.0], [2.0, -2.9, 7.0]])
    assert only["jets"] is EVENT["jets"]


@pytest.mark.parametrize("steps", [1, 20])
def test_pgd_stays_in_its_bounds_and_finds_more(steps: int) -> None:
    def hills(inputs: dict[str, Any]) -> Any:
        return tf.reduce_sum(tf.cos(3 * inputs["events"]), axis=1)

    random = np.random.default_rng(1)
    events = {"events": tf.constant(random.normal(size=(500, 3)).astype(np.float32))}
    widths = {"events": np.ones(3, np.float32)}
    attacks = {"pgd": Attack("pgd", widths, steps=steps, step_size=0.05), "fgsm": Attack("fgsm", widths)}
    found = {name: attack(events, hills, 1.0, SEED) for name, attack in attacks.items()}
    for moved in found.values():
        assert np.abs(moved["events"] - events["events"]).max() <= 1 + 1e-6
    losses = {name: float(tf.reduce_mean(hills(moved))) for name, moved in found.items()}
    if steps == 20:
        assert losses["pgd"] > losses["fgsm"] + 0.5 and losses["pgd"] > float(tf.reduce_mean(hills(events))) + 0.5
    again = attacks["pgd"](events, hills, 1.0, SEED)
    np.testing.assert_array_equal(again["events"], found["pgd"]["events"])


def test_robust_training_keeps_twice_the_accuracy(make: Made, tmp_path: Path) -> None:
    """Forty weak features together beat a strong one, but a small change of all turns them round (1805.12152)."""
    epsilon, given = 0.5, {"epochs": 8, "batch_size": 128, "optimizer": {"name": "adam", "learning_rate": 0.003}}
    features = ("strong", *(f"weak{i}" for i in range(WEAK)))
    evaluation = {"bootstrap": 5, "robustness": {"epsilons": [epsilon], "steps": 5, "events": 3000}}
    found, figures = {}, []
    for name, robustness in (("plain", None), ("robust", {"epsilon": epsilon, "fraction": 1.0})):
        config = make(features, {"evaluation": evaluation}, robustness=robustness, **given)
        run = RunDir(tmp_path / name)
        train(config, run)
        with open_dataset(config) as dataset:
            label, weight = dataset.column("label").astype(int), reporting_weights(config, dataset)
            shown = (config, run, dataset, label, weight)
            found[name] = measure_robustness(*shown, lambda name, plot, *args: figures.append(plot(*args)))
    plain, robust = found["plain"], found["robust"]
    assert plain["epsilon"] == [0.0, epsilon] and 2000 < plain["events"] <= 3000
    assert plain["fgsm"]["balanced_accuracy"][0] > 0.87 and robust["fgsm"]["balanced_accuracy"][0] > 0.8
    for attack in ("fgsm", "pgd"):
        broken, kept = (each[attack]["balanced_accuracy"][1] for each in (plain, robust))
        assert kept > 2 * broken and kept > 0.5
        assert each_falls(plain[attack]) and robust[attack]["auc"][1] > plain[attack]["auc"][1] + 0.2
    assert len(figures) == 2


def each_falls(columns: dict[str, list[float]]) -> bool:
    return all(columns[name][1] < columns[name][0] for name in ("accuracy", "balanced_accuracy", "auc"))


def test_constant_features_and_those_not_named_stay(make: Made) -> None:
    config = make(robustness={"features": ["v"]})
    data = load_training_data(config, 0)
    steps = Steps(config, build_model(config, data.scaling, 1), alone(), 64, data.widths)
    some = next(iter(data.train.values())).read([(0, 64)])
    inputs = {name: tf.constant(array) for name, array in some.inputs.items()}
    (share, clean), (part, moved) = steps._changed(inputs, tf.constant(some.target), tf.constant(some.weight))
    assert (share, part) == (0.5, 0.5) and clean is inputs
    np.testing.assert_array_equal(moved["events"][:, 0], some.inputs["events"][:, 0])
    change = np.abs(moved["events"][:, 1] - some.inputs["events"][:, 1])
    np.testing.assert_allclose(change, 0.1 * data.widths["events"][1], rtol=1e-3)
    np.testing.assert_allclose(data.widths["events"], data.scaling.ranges["events"].scale, rtol=1e-6)


def test_without_them_the_graph_has_no_trace_of_them(make: Made) -> None:
    config = make()
    data = load_training_data(config, 0)
    assert data.classes is None and not next(iter(data.train.values())).read([(0, 1)]).more
    steps = Steps(config, build_model(config, data.scaling, 1), alone(), 64, data.widths, data.classes)
    graph = steps._run.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not any(node.op in ("Sign", "LowerBound", "UpperBound") for node in nodes) and steps.terms == 3
    assert "robustness" not in config.dump()["training"] and "dependence" not in config.dump()["evaluation"]


def test_the_adversary_of_a_network_that_scores_itself_sees_its_logits(make: Made) -> None:
    import keras

    given, hidden = keras.Input((4,), name="events"), 3
    logits = keras.layers.Dense(1, name="mine")(keras.layers.Dense(hidden)(given))
    model = keras.Model({"events": given}, keras.layers.Activation("sigmoid", name="scores")(logits))
    ends = keras.Model({"events": given}, logits)
    config = make(decorrelation=MASS | {"sees": "event"})
    made = Adversary(config, ends, model, Classes(np.array([1.0], np.float32), 0.7))
    assert [tuple(each.shape) for each in made.forward.outputs] == [(None, 1), (None, 1)]
