"""Generated stubs of the protobuf package predictmesh.registry.v1."""
