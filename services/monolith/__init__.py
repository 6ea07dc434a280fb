"""All four services in one process: the same code, without gRPC between them."""
