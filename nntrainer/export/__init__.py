"""Keras models to ONNX files with metadata and a parity check."""
