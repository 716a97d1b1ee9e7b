"""The feature factory: named feature makers over the objects and columns of an event."""
