"""Lorentz-equivariant network."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from nntrainer.config.models import Config
from nntrainer.config.registry import NETWORKS
from nntrainer.errors import nearest, one_of
from nntrainer.networks.blocks import dropped
from nntrainer.networks.graphs import GraphNetwork, need_four_vectors
from nntrainer.networks.inputs import Encoded, ModelInputs, Tokens, joined


@NETWORKS.register("lorentz")
class Lorentz(GraphNetwork):
    """Messages from Minkowski products of four-vectors, which are updated along one another: LorentzNet.

    Paper: Lorentz group equivariant blocks (arXiv 2201.08187, equations 3.1 to 3.4). Rotations and boosts of the whole
    event leave the score as it is, because an object starts from its mass and from those features alone that
    ``scalars`` names, a b-tag for instance; pT, η, φ and mass are seen as four-vectors only. Products are computed in
    float64: E² − p² of a jet is nothing in float32. Give four-vectors a mass and not an energy: inputs are float32, and
    an energy knows m² to 1e-7 E² only. With masses boosts and rotations change the score of a trained network by less
    than 1e-6, with energies by up to 1e-2 where jets have some TeV (more for a smaller ``scale_gev``). Nothing is
    normalised by batch; before a block the scalars of an object are normalised among themselves, which no boost
    changes: they would grow from block to block, and what float32 rounds away with them. Inputs:
    collections with four-vectors and an η (no missing momentum: it is no four-vector); event features only on demand.
    """

    name: Literal["lorentz"] = "lorentz"
    width: PositiveInt = Field(32, description="Scalars of each object, and units of the layers on pairs.")
    collections: tuple[str, ...] | None = Field(
        None, min_length=1, description="Collections that the network sees; those whose four-vector has an η if absent."
    )
    scalars: tuple[str, ...] = Field((), description="Features of objects that no boost and no rotation changes.")
    event_features: bool = Field(
        False, description="Show it the event features, too; the score is invariant if they are."
    )
    blocks: PositiveInt = Field(4, description="Lorentz group equivariant blocks.")
    scale_gev: PositiveFloat = Field(30.0, description="Momenta are divided by it; m² far below its square is small.")
    coordinate_weight: PositiveFloat = Field(1e-3, description="c in x + c Σ φ(m) x', the update of four-vectors.")

    def sees(self, block: str, config: Config) -> bool:
        """Return whether the network is fed the ``events`` or this collection."""
        if block == "events":
            return self.event_features
        if self.collections is not None:
            return block in self.collections
        vector = config.features.objects[block].four_vector
        return vector is not None and vector.eta is not None

    def check(self, config: Config) -> None:
        """Refuse collections that have no four-vector with an η, and scalars that are none.

        Args:
            config: the configuration.

        Raises:
            ValueError: a collection or feature is not there or of the wrong kind.
        """
        features = config.features
        for name in self.collections or ():
            if name not in features.objects:
                raise ValueError(
                    f"model.collections names '{name}', which is not in features.objects; allowed are "
                    f"{one_of(features.objects)}.{nearest(name, features.objects)}"
                )
        seen = [name for name in features.objects if self.sees(name, config)]
        if not seen:
            raise ValueError(
                "the network 'lorentz' needs a collection with a four-vector that has an eta, and there is none: give "
                "its four_vector as {pt: jet_pt, eta: jet_eta, phi: jet_phi, mass: jet_m}, for instance"
            )
        instead = ", or leave it out of model.collections"
        need_four_vectors(features, seen, "the network 'lorentz'", instead)
        columns: set[str] = set()
        for name in seen:
            block = features.objects[name]
            vector = block.four_vector
            if vector is not None and vector.eta is None:
                raise ValueError(
                    f"features.objects.{name}.four_vector has no eta, so no boost can change it as it must and the "
                    f"network 'lorentz' cannot see it: list the others in model.collections"
                )
            columns |= {feature.name for feature in block.features}
            for scalar in self.scalars if vector else ():
                if vector is not None and scalar in vector.fields():
                    raise ValueError(
                        f"model.scalars names '{scalar}', which is part of features.objects.{name}.four_vector: boosts "
                        "change it; the network sees it in the four-vector already"
                    )
        for scalar in self.scalars:
            if scalar not in columns:
                raise ValueError(
                    f"model.scalars names '{scalar}', which is no feature of {one_of(seen)}; allowed are "
                    f"{one_of(sorted(columns))}.{nearest(scalar, columns)}"
                )

    def encode(self, inputs: ModelInputs) -> Encoded:
        """Return the event and its objects.

        Args:
            inputs: the scaled inputs.

        Returns:
            The event after the dense layers on it, the objects (their scalars) after the last block.
        """
        import keras

        tokens = self._start(inputs)
        h, x = tokens.values, tokens.four_vectors
        for index in range(self.blocks):
            h, x = self._block(h, x, tokens.mask, index)
        h = keras.layers.LayerNormalization(name="norm_last")(h)
        h = keras.layers.Activation(self.activation, name="object_activation")(h)
        return self.encoded(inputs, tokens, h)

    def _start(self, inputs: ModelInputs) -> Tokens:
        """Return the objects: scalars after a dense layer, four-vectors in units of the scale, float64."""
        import keras

        from nntrainer.networks.layers.lorentz import Norms
        from nntrainer.networks.layers.masked import Masked

        values, vectors = [], []
        for name, objects in inputs.objects.items():
            scale = keras.layers.Rescaling(1 / self.scale_gev, dtype="float64", name=f"{name}_in_units")
            vectors.append(scale(inputs.four_vectors[name]))
            places = [place for place, each in enumerate(inputs.names[name]) if each in self.scalars]
            parts = [Norms(dtype="float64", name=f"{name}_masses")(vectors[-1])]
            parts += [objects[..., place : place + 1] for place in places]
            seen = parts[0] if len(parts) == 1 else keras.layers.Concatenate(name=f"{name}_scalars")(parts)
            embedded = keras.layers.Dense(self.width, name=f"{name}_embedding")(seen)
            values.append(Masked(name=f"{name}_token")([embedded, inputs.masks[name]]))
        slots = {name: int(objects.shape[1]) for name, objects in inputs.objects.items()}
        masks = list(inputs.masks.values())
        return Tokens(
            joined(values, "tokens"),
            joined(masks, "tokens_valid"),
            joined(vectors, "tokens_four_vectors", dtype="float64"),
            slots,
        )

    def _block(self, h: Any, x: Any, mask: Any, index: int) -> tuple[Any, Any]:
        """Return scalars (None, N, width) and four-vectors (None, N, 4) after a block."""
        import keras

        from nntrainer.networks.layers.lorentz import Products, Update
        from nntrainer.networks.layers.pair_dense import PairDense, PairSum

        def dense(tensor: Any, name: str, units: int, activation: str, start: str = "glorot_uniform") -> Any:
            return keras.layers.Dense(units, activation, kernel_initializer=start, name=f"{name}_{index}")(tensor)

        products = Products(dtype="float64", name=f"products_{index}")(x)
        # The first ones are no more than a mass and some features, whose size says something.
        seen = keras.layers.LayerNormalization(name=f"norm_{index}")(h) if index else h
        message = PairDense(self.width, name=f"pair_{index}")([seen, products])
        message = keras.layers.Activation(self.activation, name=f"pair_activation_{index}")(message)
        message = dense(message, "message", self.width, self.activation)
        weight = dense(message, "message_weight", 1, "sigmoid")
        received = PairSum(name=f"received_{index}")([message, weight, mask])
        if index + 1 < self.blocks:  # nobody sees the last ones
            along = dense(dense(message, "along_hidden", self.width, self.activation), "along", 1, "linear")
            x = Update(self.coordinate_weight, dtype="float64", name=f"moved_{index}")([x, along, mask])
        change = keras.layers.Concatenate(name=f"with_received_{index}")([seen, received])
        change = dense(change, "change_hidden", self.width, self.activation)
        change = dropped(self.dropout, dense(change, "change", self.width, "linear"), f"dropout_{index}")
        return keras.layers.Add(name=f"scalars_{index}")([h, change]), x
