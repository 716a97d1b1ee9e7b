"""Random changes to the objects of training events: registered under the name that the configuration asks for."""
