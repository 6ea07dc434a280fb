"""A Triton Inference Server on this machine: where it comes from, whether it can run, and how it is started."""
