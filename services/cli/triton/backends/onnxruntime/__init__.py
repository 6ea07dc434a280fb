"""The backend `onnxruntime`, as configurations name it, on the CPU."""
