"""Input plots show the events that are in the files, however many passes and pieces they are read in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nntrainer.config import Config, load_config
from nntrainer.dataset.conversion import convert
from nntrainer.dataset.dataset import open_dataset
from nntrainer.evaluation import figures
from nntrainer.plots.press import Press
from nntrainer.rundir import RunDir

ROOT = Path(__file__).parents[2]
FEATURES = ["features.events=[nJets, {name: HT_all, unit: MeV}, H0_all]", "deploy.site=local"]


@pytest.fixture(scope="module")
def config(toy_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("datasets")
    files = [f"data.samples.{i}.files={path}" for i, path in enumerate(toy_files)]
    made = load_config(ROOT / "configs/tth.yaml", [*files, f"data.directory={folder}", *FEATURES], {})
    convert(made)
    return made


def expected(values: np.ndarray, weights: np.ndarray, edges: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """What NumPy makes of entries, those outside in the first and the last bin."""
    inside = np.clip(values, edges[0], edges[-1])
    return np.histogram(inside, edges, weights=weights)[0], np.sqrt(np.histogram(inside, edges, weights=weights**2)[0])


@pytest.mark.parametrize(("rows", "together"), [(10**6, 2**29), (37, 1)])
def test_numbers_are_numpys(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, together: int
) -> None:
    monkeypatch.setattr(figures, "ROWS", rows)
    monkeypatch.setattr(figures, "TOGETHER", together)
    drawn = []
    monkeypatch.setattr(Press, "draw", lambda press, path, plot, *args: drawn.append(path.name))
    with Press() as press:
        numbers = json.loads(figures.draw_inputs(config, RunDir(tmp_path), press).read_text())
    assert drawn == list(numbers)
    assert len(drawn) == 3 + 2 * 2 + 2
    with open_dataset(config) as dataset:
        events, jets = dataset.events(), dataset.objects("jets")
        weight = figures.reporting_weights(config, dataset)
        for label, name in enumerate(dataset.labels):
            mine = events["label"] == label
            assert 20 < mine.sum() < dataset.n
            for feature, scale in (("nJets", 1), ("HT_all", 1e-3), ("H0_all", 1)):
                found = numbers[feature][name]
                values, errors = expected(events[feature][mine].astype(float) * scale, weight[mine], found["edges"])
                np.testing.assert_allclose(found["values"], values, rtol=1e-9, atol=1e-9)
                np.testing.assert_allclose(found["errors"], errors, rtol=1e-9, atol=1e-9)
            for file, field, scale, slots in (("jets_jet_pt", "jet_pt", 1e-3, 8), ("jets_leading_tag", "tag", 1, 1)):
                there = jets["valid"][mine, :slots].astype(bool)
                spread = np.broadcast_to(weight[mine][:, None], there.shape)[there]
                found = numbers[file][name]
                inputs = jets[field][mine, :slots][there].astype(float) * scale
                values, errors = expected(inputs, spread, found["edges"])
                np.testing.assert_allclose(found["values"], values, rtol=1e-9, atol=1e-9)
                np.testing.assert_allclose(found["errors"], errors, rtol=1e-9, atol=1e-9)
            of = np.stack([events[feature][mine] for feature in ("nJets", "HT_all", "H0_all")]).astype(float)
            matrix = np.array(numbers[f"correlation_{name}"]["matrix"])
            mean = (of * weight[mine]).sum(axis=1, keepdims=True) / weight[mine].sum()
            covariance = (weight[mine] * (of - mean)) @ (of - mean).T / weight[mine].sum()
            sigma = np.sqrt(np.diag(covariance))
            np.testing.assert_allclose(matrix, covariance / np.outer(sigma, sigma), rtol=1e-7, atol=1e-9)
