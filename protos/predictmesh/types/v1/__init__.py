"""Generated stubs of the protobuf package predictmesh.types.v1."""
