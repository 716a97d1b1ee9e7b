"""Attention maps and attention rollout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.explain.attribution import COLLECTIONS, SLOTS, Importance, Ranking
from nntrainer.explain.batches import batches

BATCH = 512
MAP = "map_"
"""What the arrays with the attention of a layer begin with."""


@EXPLAINERS.register("attention")
class AttentionMaps(ExplainerOptions):
    """Which objects look at which in the attention layers, and how much of each object arrives at the end.

    Paper: attention rollout (arXiv 2005.00928). Attention says where a network looks and not what it makes of it: see
    it beside methods that explain the output.
    """

    name: Literal["attention"] = "attention"

    def check(self, config: Any) -> None:
        """Refuse networks without attention between objects."""
        from nntrainer.explain.attention.maps import attention_layers
        from nntrainer.explain.subject import Subject
        from nntrainer.networks.model import blank_model

        subject = Subject(config, blank_model(config))
        attention_layers(subject.head, subject.columns)

    def explain(self, subject: Any, sample: Any, progress: Any, deadline: float) -> Ranking:
        """Return the share of each object by rollout, and the maps, of as many events as there is time for."""
        from nntrainer.explain.attention import maps, pairs

        order = [each.name for each in maps.attention_layers(subject.head, sample.columns)]
        pieces = []
        for rows in batches(len(sample), BATCH, progress, deadline):
            pieces.append(maps.weights(subject.head, sample.take(rows).inputs, sample.columns))
        found = {name: np.concatenate([each[name] for each in pieces]) for name in order}
        events = len(found[order[0]])
        sample = sample.take(slice(0, events))
        share = maps.rollout(found, maps.there_of(sample.inputs, sample.columns))
        names, same = pairs.particles(subject.config, sample)
        apart = pairs.delta_r(subject.config, sample)
        facts = {
            "classes": list(subject.config.data.labels),
            "particles": names,
            "attention_over_uniform": {
                layer: pairs.plain(dict(_kinds_of_pairs(each, apart, same, names, sample.weight)))
                for layer, each in found.items()
            },
        }
        arrays = {f"{MAP}{name}": each for name, each in found.items()}
        arrays |= {"rollout": share.astype(np.float32), "delta_r": apart, "particle": same}
        return Ranking(self.name, "attention rollout", _levels(share, sample), events, facts, arrays)

    def figures(self, found: Any, sample: Any) -> dict[str, Any]:
        """Return the maps of each layer by class, and how attention depends on ΔR and on the pair being a particle."""
        from nntrainer.explain.attention import maps, pairs
        from nntrainer.plots import attention as plots

        facts = found.facts["folds"][0] if "folds" in found.facts else found.facts
        sample = sample.take(slice(0, found.events))
        drawn: dict[str, Any] = {}
        apart, same = found.arrays["delta_r"], found.arrays["particle"]
        for key, each in found.arrays.items():
            if not key.startswith(MAP):
                continue
            layer = key.removeprefix(MAP)
            labels = [maps.names_of(length, sample.columns) for length in each.shape[2:]]
            means = {
                name: pairs.mean_map(each[sample.label == place], sample.weight[sample.label == place])
                for place, name in enumerate(facts["classes"])
                if (sample.label == place).any()
            }
            drawn[f"map_{layer}"] = plots.maps(layer, labels[0], labels[1], means)
            values = pairs.between_objects(each, apart)
            if values is None or not np.isfinite(apart).any():
                continue
            every = np.ones(apart.shape, bool)
            curves = {
                name: pairs.curve(values, apart, every & (sample.label == place)[:, None, None], sample.weight)
                for place, name in enumerate(facts["classes"])
            }
            drawn[f"delta_r_{layer}"] = plots.delta_r(layer, curves)
            if facts["particles"]:
                curves = {
                    name: pairs.curve(values, apart, same == place, sample.weight)
                    for place, name in [*enumerate(facts["particles"]), (pairs.OTHER, "other pairs")]
                }
                drawn[f"particles_{layer}"] = plots.delta_r(layer, curves)
        return drawn


def _kinds_of_pairs(
    weights: np.ndarray, apart: np.ndarray, same: np.ndarray, names: list[str], weight: np.ndarray
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the mean attention, in units of that to all alike, of pairs of each particle and of the other pairs."""
    from nntrainer.explain.attention import pairs

    values = pairs.between_objects(weights, apart)
    if values is None:
        return
    for place, name in [*enumerate(names), (pairs.OTHER, "other pairs")]:
        yield name, pairs.mean(values, (same == place) & np.isfinite(values), weight)


def _levels(share: np.ndarray, sample: Any) -> dict[str, Importance]:
    """Return the weighted mean share of each object and each collection with its statistical uncertainty."""
    slots = sample.columns.slots
    names = [f"{name}[{slot}]" for name, count in slots.items() for slot in range(count)]
    parts = np.split(share, np.cumsum(list(slots.values()))[:-1], axis=1)
    whole = np.stack([each.sum(axis=1) for each in parts], axis=1)
    unit = "share of the attention rollout"
    return {
        SLOTS: Importance(tuple(names), *_mean(share, sample.weight), unit),
        COLLECTIONS: Importance(tuple(slots), *_mean(whole, sample.weight), unit),
    }


def _mean(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = weight @ values / weight.sum()
    return found, np.sqrt(np.square(weight) @ np.square(values - found)) / weight.sum()
