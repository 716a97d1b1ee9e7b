"""Which events are explained, by which model, and what they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nntrainer.dataset.dataset import open_dataset
from nntrainer.dataset.inputs import dataset_inputs
from nntrainer.dataset.split import masks
from nntrainer.errors import ExplainError
from nntrainer.explain.attribution import groups
from nntrainer.explain.baseline import full_events, mean_event
from nntrainer.explain.explain import open_run
from nntrainer.explain.sample import Sample, draw, features

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample(make_run: Callable[..., Path]) -> Sample:
    _, config = open_run(make_run("dense"))
    with open_dataset(config) as dataset:
        return draw(config, dataset, 100, 5)


def test_each_event_has_a_model_that_never_saw_it(sample: Sample, make_run: Callable[..., Path]) -> None:
    _, config = open_run(make_run("dense"))
    assert len(sample) == 100 and set(sample.fold) == {0, 1}
    for fold in (0, 1):
        assert masks(config, sample.event_number, fold).test[sample.fold == fold].all()


def test_classes_count_the_same(sample: Sample) -> None:
    assert np.bincount(sample.label).tolist() == [50, 50]
    sums = np.bincount(sample.label, sample.weight)
    np.testing.assert_allclose(sums, 50)
    assert (sample.weight < 0).any()  # tt+bb has such
    assert len(set(sample.label[:10])) == 2  # in random order: the first events are a fair sample, too


def test_inputs_are_those_of_the_same_events(sample: Sample, make_run: Callable[..., Path]) -> None:
    _, config = open_run(make_run("dense"))
    with open_dataset(config) as dataset:
        inputs, numbers = dataset_inputs(config, dataset), dataset.column("eventNumber")
        label = dataset.column("label")
    for row in (0, 1, 57, 99):
        (place,) = np.flatnonzero((numbers == sample.event_number[row]) & (label == sample.label[row]))
        for name, array in inputs.items():
            np.testing.assert_array_equal(sample.inputs[name][row], array[place])


def test_the_same_seed_gives_the_same_events(sample: Sample, make_run: Callable[..., Path]) -> None:
    _, config = open_run(make_run("dense"))
    with open_dataset(config) as dataset:
        again, other = draw(config, dataset, 100, 5), draw(config, dataset, 100, 6)
    np.testing.assert_array_equal(again.event_number, sample.event_number)
    assert set(other.event_number) != set(sample.event_number)


def test_columns_have_names(sample: Sample) -> None:
    columns = sample.columns
    names = columns.names()
    assert names[:3] == ["nJets", "HT_all", "jets[0].jet_pt"] and "met[0].met_phi" in names
    table = columns.flat(sample.inputs)
    assert table.shape == (100, len(names))
    place = names.index("jets[2].tag")
    np.testing.assert_array_equal(table[:, place], sample.inputs["jets"][:, 2, 4])
    for name, back in columns.unflat(table).items():
        np.testing.assert_array_equal(back, sample.inputs[name])
    there = columns.there(sample.inputs)
    np.testing.assert_array_equal(there[:, place], sample.inputs["jets_valid"][:, 2] > 0)
    assert there[:, 0].all()
    parts = groups(columns)
    assert [names[i] for i in parts["features"]["jets.tag"]][:2] == ["jets[0].tag", "jets[1].tag"]
    assert [names[i] for i in parts["slots"]["met[0]"]] == ["met[0].met_met", "met[0].met_phi"]
    assert len(parts["collections"]["jets"]) == 7 * 5


def test_what_events_are_compared_with(sample: Sample) -> None:
    mean = mean_event(sample)
    valid, size = sample.inputs["jets_valid"] > 0, np.abs(sample.weight)[:, None]
    pt = (size * np.where(valid, sample.inputs["jets"][..., 0], 0)).sum() / (size * valid).sum()
    np.testing.assert_allclose(mean["jets"][0], pt, rtol=1e-5)
    drawn = full_events(sample, 40)
    place = sample.columns.names().index("jets[6].jet_pt")
    assert (drawn[:, place] > 25e3).all()  # an object in every slot, and a real one
    known = sample.inputs["jets"][valid][:, 0]
    assert np.isin(drawn[:, place], known).all()


def test_a_class_of_no_weight_is_said(make_run: Callable[..., Path]) -> None:
    _, config = open_run(make_run("dense"))
    zero = config.model_copy(update={"data": config.data.model_copy(update={"samples": config.data.samples[:1]})})
    with open_dataset(config) as dataset:
        none = zero.model_copy(update={"preparation": config.preparation})
        assert features(none).events == ("nJets", "HT_all")
        dataset_column = dataset.column
        dataset.column = lambda name, group="events": (  # type: ignore[method-assign]
            np.zeros(len(dataset)) if name == "weight" else dataset_column(name, group)
        )
        with pytest.raises(ExplainError, match="class 'ttH' that can be explained have weights that add up to 0"):
            draw(config, dataset, 20, 1)
