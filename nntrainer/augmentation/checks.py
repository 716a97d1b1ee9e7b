"""What augmentations refuse when the configuration is checked."""

from __future__ import annotations

from nntrainer.config.models import Config
from nntrainer.errors import nearest, one_of


def whole_event(name: str, config: Config) -> None:
    """Refuse an augmentation of whole events where some object would stay behind.

    Args:
        name: the augmentation.
        config: the configuration.

    Raises:
        ValueError: there are no objects, or a collection does not say what its angles are.
    """
    seen = _seen(name, config)
    for collection in seen:
        if config.features.objects[collection].four_vector is None:
            raise ValueError(
                f"preparation.augmentation: '{name}' moves all objects of an event, and nothing says which features "
                f"are the angles of '{collection}': give features.objects.{collection}.four_vector"
            )


def one_collection(name: str, collection: str, config: Config, four_vector: bool) -> None:
    """Refuse an augmentation of one collection that is not there or does not say what its four-vectors are.

    Args:
        name: the augmentation.
        collection: the collection.
        config: the configuration.
        four_vector: whether it needs four-vectors.

    Raises:
        ValueError: the collection is not fed to the network or has no four-vectors.
    """
    seen = _seen(name, config)
    if collection not in seen:
        raise ValueError(
            f"preparation.augmentation: '{name}' changes the collection '{collection}', which the network is not fed; "
            f"allowed are {one_of(seen)}.{nearest(collection, seen)}"
        )
    if four_vector and config.features.objects[collection].four_vector is None:
        raise ValueError(
            f"preparation.augmentation: '{name}' changes four-vectors, and nothing says which features make those of "
            f"'{collection}': give features.objects.{collection}.four_vector"
        )


def refuse_event_features(name: str, allowed: bool, config: Config) -> None:
    """Refuse an augmentation after which the event features would be those of another event.

    Args:
        name: the augmentation.
        allowed: whether this is wanted.
        config: the configuration.

    Raises:
        ValueError: the network is fed event features, and it is not wanted.
    """
    given = [feature.name for feature in config.features.events]
    given += [made for maker in config.preparation.feature_makers for made, _, _ in maker.outputs()]
    if given and not allowed and config.model.sees("events", config):
        raise ValueError(
            f"preparation.augmentation: after '{name}' event features such as '{given[0]}' would be those of another "
            "event, as they are not computed again: leave the event features out, or set allow_event_features: true"
        )


def _seen(name: str, config: Config) -> list[str]:
    seen = [collection for collection in config.features.objects if config.model.sees(collection, config)]
    if not seen:
        raise ValueError(
            f"preparation.augmentation: '{name}' changes objects, and there is no collection under features.objects"
        )
    return seen
