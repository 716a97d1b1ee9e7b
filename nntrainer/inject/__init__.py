"""ONNX models and ntuples to scored ntuples; never with TensorFlow."""
