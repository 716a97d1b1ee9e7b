"""ROOT ntuples in; trained networks, plots, ONNX models and scored ntuples out."""

__version__ = "0.1.0"
