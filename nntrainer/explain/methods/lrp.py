"""Layer-wise relevance propagation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat

from nntrainer.config.registry import EXPLAINERS, ExplainerOptions
from nntrainer.explain.attribution import Attribution
from nntrainer.explain.batches import batches

BATCH = 256


@EXPLAINERS.register("lrp")
class LRP(ExplainerOptions):
    """What each input contributes to the output, handed back through the layers so that nothing is lost on the way.

    Paper: layer-wise relevance propagation (doi 10.1371/journal.pone.0130140; overview: doi
    10.1007/978-3-030-28954-6_10; of attention: arXiv 2202.07304 and 2402.05602; of jet taggers: arXiv 2011.13466). An
    input is compared with the value that the network's scaling makes zero of; what biases and other constants
    contribute is the base.
    """

    name: Literal["lrp"] = "lrp"
    rule: Literal["epsilon", "gamma", "alpha_beta"] = Field("epsilon", description="Rule of layers with weights.")
    epsilon: NonNegativeFloat = Field(1e-6, description="ε of the rule 'epsilon', in the units of a neuron.")
    gamma: NonNegativeFloat = Field(0.25, description="γ of the rule 'gamma'.")
    alpha: Annotated[float, Field(ge=1)] = Field(2.0, description="α of the rule 'alpha_beta'; β is α − 1.")
    attention: Literal["constant", "softmax"] = Field(
        "constant", description="Attention weights as constants, or with half of the relevance through their softmax."
    )

    def check(self, config: Any) -> None:
        """Refuse networks with a layer that has no rule."""
        from nntrainer.explain.relevance.layers import refuse
        from nntrainer.explain.subject import Subject
        from nntrainer.networks.model import blank_model

        refuse(Subject(config, blank_model(config)).head)

    def explain(self, subject: Any, sample: Any, progress: Any, deadline: float) -> Attribution:
        """Return the relevance of the inputs of as many events as there is time for."""
        from nntrainer.explain.relevance.passing import Rules
        from nntrainer.explain.relevance.propagation import Propagation

        rules = Rules(self.rule, self.epsilon, self.gamma, self.alpha, self.attention)
        propagation = Propagation(subject.head, subject.scalar, rules)
        found = []
        for rows in batches(len(sample), BATCH, progress, deadline):
            found.append(propagation.relevance({name: array[rows] for name, array in sample.inputs.items()}))
        made = Attribution(
            self.name,
            f"LRP, rule {self.rule}, attention {self.attention}",
            {name: np.concatenate([each.values[name] for each in found]) for name in sample.columns.inputs},
            np.concatenate([each.base for each in found]),
            np.concatenate([each.output for each in found]),
        )
        missing = float(np.abs(made.missing()).max())
        return Attribution(**{**vars(made), "facts": {"largest_missing": missing}})
