"""Generated stubs of the protobuf package predictmesh.features.v1."""
