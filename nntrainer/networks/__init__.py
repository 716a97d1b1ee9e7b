"""The networks: one module each, registered under the name that ``model.name`` asks for."""
