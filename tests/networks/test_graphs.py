"""Graph networks: invariance of the Lorentz network, neighbours, attention, adjacency, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import keras
import numpy as np
import onnxruntime
import pytest
import uproot
import vector

from nntrainer.config import Config
from nntrainer.export.onnx_export import to_onnx
from nntrainer.networks.inputs import fit_scaling
from nntrainer.networks.layers.lorentz import Norms
from nntrainer.networks.model import build_model

pytestmark = pytest.mark.slow

SLOTS = 8
FOUR = ("pt", "eta", "phi", "mass")
LORENTZ = {"name": "lorentz", "width": 16, "blocks": 3, "scalars": ["tag"]}


def config_of(model: dict[str, object], jets: dict[str, object] | None = None, **more: object) -> Config:
    units = {"pt": "GeV", "mass": "GeV"}
    features = [{"name": name, "unit": units.get(name, "")} for name in (*FOUR, "tag")]
    plain = {"max": SLOTS, "features": features, "four_vector": {name: name for name in FOUR}}
    return Config.model_validate(
        {
            "name": "toy",
            "data": {"samples": [{"name": name, "files": ["a.root"], "label": name} for name in ("s", "b")]},
            "features": {"events": ["x"], "objects": {"jets": {**plain, **(jets or {})}, **more}},
            "network_type": "graph",
            "model": model,
        }
    )


def events_of(n: int) -> tuple[vector.VectorNumpy4D, np.ndarray, np.ndarray]:
    """Return jets as ttH has them (pT from 25 GeV, |η| < 2.5, m/pT about 0.1), the mask, and b-tags."""
    random = np.random.default_rng(5)
    valid = np.arange(SLOTS) < random.integers(4, SLOTS + 1, n)[:, None]
    pt = 25 + random.exponential(60, valid.shape)
    mass = pt * np.clip(random.normal(0.12, 0.03, valid.shape), 0.03, None)
    eta, phi = np.clip(random.normal(0, 1.1, valid.shape), -2.5, 2.5), random.uniform(-np.pi, np.pi, valid.shape)
    jets = vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass})
    return jets, valid, random.integers(1, 6, valid.shape)


def inputs_of(jets: vector.VectorNumpy4D, valid: np.ndarray, tag: np.ndarray) -> dict[str, np.ndarray]:
    columns = np.stack([jets.pt, jets.eta, jets.phi, jets.mass, tag], axis=-1)
    return {"jets": (columns * valid[..., None]).astype(np.float32), "jets_valid": valid.astype(np.float32)}


TRANSFORMATIONS = {
    "boost along z": lambda jets: jets.boostZ(beta=0.5),
    "boost back along z": lambda jets: jets.boostZ(beta=-0.4),
    "boost across": lambda jets: jets.boostX(beta=0.5),
    "boost anywhere": lambda jets: jets.boost_beta3(vector.obj(x=0.3, y=-0.35, z=0.25)),
    "rotation about z": lambda jets: jets.rotateZ(2.2),
    "rotation anywhere": lambda jets: jets.rotate_axis(vector.obj(x=1, y=-2, z=0.7), 1.3),
    "rotation and boost": lambda jets: jets.rotateX(0.8).boostY(beta=-0.4),
}


@pytest.fixture(scope="module")
def toy_jets(toy_files: list[Path]) -> tuple[vector.VectorNumpy4D, np.ndarray, np.ndarray, np.ndarray]:
    """The jets of the toy's ttH and tt+bb, their mask and b-tags, and which is ttH."""
    names = ("jet_pt", "jet_eta", "jet_phi", "jet_e", "jet_tagWeightBin_DL1r_Continuous")
    signal, parts = [], []
    for path in toy_files:
        arrays = uproot.open(path)["nominal_Loose"].arrays(names)
        signal.append(np.full(len(arrays), "ttH" in path.name, np.float32))
        parts.append([ak.fill_none(ak.pad_none(arrays[name], SLOTS, clip=True), 0).to_numpy() for name in names])
    pt, eta, phi, e, tag = (np.concatenate(each).astype(np.float64) for each in zip(*parts, strict=True))
    mass = np.sqrt(np.maximum(e**2 - (pt * np.cosh(eta)) ** 2, 0))
    jets = vector.array({"pt": pt / 1e3, "eta": eta, "phi": phi, "mass": mass / 1e3})
    return jets, pt > 0, tag, np.concatenate(signal)


@pytest.fixture(scope="module")
def lorentz_network(toy_jets: tuple[vector.VectorNumpy4D, np.ndarray, np.ndarray, np.ndarray]) -> keras.Model:
    """A network trained until it separates the events that it was trained on."""
    *jets, signal = toy_jets
    inputs = inputs_of(*jets)
    model = build_model(config_of(LORENTZ), fit_scaling("standard", inputs, np.arange(len(signal))), 3)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(inputs, signal, epochs=6, batch_size=64, verbose=0)
    return model


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_boosts_and_rotations_leave_the_score_of_the_lorentz_network(
    lorentz_network: keras.Model,
    toy_jets: tuple[vector.VectorNumpy4D, np.ndarray, np.ndarray, np.ndarray],
    name: str,
) -> None:
    jets, valid, tag, _ = toy_jets
    before = lorentz_network.predict_on_batch(inputs_of(jets, valid, tag))
    after = lorentz_network.predict_on_batch(inputs_of(TRANSFORMATIONS[name](jets), valid, tag))
    assert before.std() > 0.1
    assert np.abs(after - before).max() < 1e-5
    # The energies alone, not a transformation: seen at once.
    harder = inputs_of(vector.array({"px": jets.px, "py": jets.py, "pz": jets.pz, "E": 1.2 * jets.E}), valid, tag)
    assert np.abs(lorentz_network.predict_on_batch(harder) - before).max() > 1e-2


def test_light_objects_keep_their_mass_in_onnx(tmp_path: Path) -> None:
    masses = np.array([0.1, 1.5, 4.8, 20.0, 170.0, 3000.0])
    momenta = np.array([[0.0, 30.0, -40.0]] * len(masses))
    energies = np.sqrt((momenta**2).sum(axis=1) + masses**2)
    vectors = (np.column_stack([energies, momenta]) / 30)[None].astype(np.float32)
    squares = (vectors.astype(np.float64) ** 2 * [1, -1, -1, -1]).sum(axis=-1)
    expected = np.sign(squares) * np.log1p(np.abs(squares))
    inputs = keras.Input(vectors.shape[1:], name="vectors")
    model = keras.Model({"vectors": inputs}, {"norms": Norms(dtype="float64")(inputs)})
    (tmp_path / "norms.onnx").write_bytes(to_onnx(model).SerializeToString())
    session = onnxruntime.InferenceSession(tmp_path / "norms.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"vectors": vectors})
    np.testing.assert_allclose(found[..., 0], expected, rtol=5e-7)
    np.testing.assert_allclose(model({"vectors": vectors})["norms"], found, rtol=5e-7)


def test_with_energies_instead_of_masses_float32_sets_the_limit() -> None:
    """E² − p² of a jet is known to 1e-7 E², so that only jets below a TeV keep a score to 1e-4."""
    jets, valid, tag = events_of(1000)
    energies = config_of(LORENTZ, {"four_vector": {"pt": "pt", "eta": "eta", "phi": "phi", "e": "mass"}})

    def inputs(jets: vector.VectorNumpy4D) -> dict[str, np.ndarray]:
        made = inputs_of(jets, valid, tag)
        made["jets"][..., 3] = np.where(valid, jets.E, 0)
        return made

    moved = jets.boost_beta3(vector.obj(x=0.3, y=-0.35, z=0.25))
    soft = np.where(valid, np.maximum(jets.E, moved.E), 0).max(axis=1) < 1000
    model = build_model(energies, fit_scaling("standard", inputs(jets), np.arange(1000)), 3)
    change = np.abs(model.predict_on_batch(inputs(moved)) - model.predict_on_batch(inputs(jets)))[:, 0]
    assert soft.mean() > 0.8 and change[soft].max() < 1e-4


def test_neighbours_are_the_nearest_that_are_there() -> None:
    from nntrainer.networks.layers.distances import AngularDistance
    from nntrainer.networks.layers.neighbours import EdgeMean, Edges, Neighbours

    jets, valid, _ = events_of(300)
    valid[:5] = np.arange(SLOTS) < np.arange(5)[:, None]  # events of no jet, one, two, ...
    vectors = np.stack([jets.E, jets.px, jets.py, jets.pz], axis=-1) * valid[..., None]
    mask = valid.astype(np.float32)
    distance = np.asarray(AngularDistance()(vectors.astype(np.float32)))
    expected = jets[:, :, None].deltaR(jets[:, None, :]) ** 2
    both = valid[:, :, None] & valid[:, None, :]
    np.testing.assert_allclose(distance[both], expected[both], rtol=1e-4, atol=1e-5)
    choice, there = (np.asarray(each) for each in Neighbours(3)([distance, mask]))
    objects = np.random.default_rng(0).normal(size=(300, SLOTS, 4)).astype(np.float32) * valid[..., None]
    mean = np.asarray(EdgeMean()([Edges()([objects, choice]), there]))
    for event in range(300):
        for slot in np.flatnonzero(valid[event]):
            others = [other for other in np.flatnonzero(valid[event]) if other != slot]
            nearest = sorted(others, key=lambda other: distance[event, slot, other])[:3]
            assert there[event, slot].sum() == len(nearest)
            own = objects[event, slot]
            differences = np.mean([objects[event, other] - own for other in nearest], axis=0) if nearest else 0 * own
            found = mean[event, slot]
            np.testing.assert_allclose(found, [*(own if nearest else 0 * own), *differences], atol=1e-6)


def test_adjacency_is_normalised_by_degree() -> None:
    from nntrainer.networks.layers.adjacency import Adjacency

    mask = np.array([[1, 1, 0]], np.float32)
    distance = np.array([[[0, 2, 9], [2, 0, 9], [9, 9, 0]]], np.float32)
    full = np.asarray(Adjacency(1.0)([mask]))[0]
    np.testing.assert_allclose(full, [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0]], rtol=1e-6)
    near, degree = np.exp(-1.0), 1 + np.exp(-1.0)
    weighted = np.asarray(Adjacency(1.0)([mask, distance]))[0]
    np.testing.assert_allclose(weighted[:2, :2], np.array([[1, near], [near, 1]]) / degree, rtol=1e-6)
    assert not weighted[2].any() and not weighted[:, 2].any()


def test_attention_is_that_of_the_formula() -> None:
    from nntrainer.networks.layers.graph_attention import GraphAttention

    random = np.random.default_rng(4)
    h, e = random.normal(size=(1, 3, 5)).astype(np.float32), random.normal(size=(1, 3, 3, 2)).astype(np.float32)
    mask = np.array([[1, 1, 0]], np.float32)
    layer = GraphAttention(2, 4)
    found = np.asarray(layer([h, mask, e]))[0]
    target, source = h[0] @ np.array(layer.target.kernel), h[0] @ np.array(layer.source.kernel)
    edge, a = e[0] @ np.array(layer.edge.kernel), np.array(layer.attention)
    for i in range(3):
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            pre = [target[i, part] + source[j, part] + edge[i, j, part] for j in range(2)]
            scores = np.array([a[head] @ np.where(each > 0, each, 0.2 * each) for each in pre])
            weights = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(found[i, part], weights @ source[:2, part], rtol=1e-5, atol=1e-6)


MET = {"max": 1, "features": [{"name": "met", "unit": "GeV"}, "phi"], "four_vector": {"pt": "met", "phi": "phi"}}


@pytest.mark.parametrize(
    ("model", "jets", "said"),
    [
        ({"name": "edgeconv"}, {"four_vector": None}, "the network 'edgeconv' needs the four-vectors of all its obj"),
        ({"name": "gatv2"}, {"four_vector": None}, "give features.objects.jets.four_vector.*pair_features: false"),
        ({"name": "gcn"}, {"four_vector": None}, "the network 'gcn' needs.* or set model.edges: full"),
        ({"name": "gatv2", "width": 30}, {}, "width 30 cannot be shared by 4 heads"),
        ({"name": "lorentz"}, {"four_vector": None}, "'lorentz' needs a collection with a four-vector that has an eta"),
        ({"name": "lorentz", "collections": ["met"]}, {}, "features.objects.met.four_vector has no eta"),
        ({"name": "lorentz", "collections": ["jet"]}, {}, "model.collections names 'jet'.*Did you mean 'jets'"),
        ({"name": "lorentz", "collections": ["jets"]}, {"four_vector": None}, "or leave it out of model.collections"),
        (LORENTZ | {"collections": ["jets"], "scalars": ["pt"]}, {}, "'pt', which is part of features.objects.jets"),
        (LORENTZ | {"collections": ["jets"], "scalars": ["tags"]}, {}, "'tags', which is no feature of 'jets'.*'tag'"),
    ],
)
def test_what_graph_networks_need_is_said(model: dict[str, object], jets: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config_of(model, jets, met=MET)
