"""Generated stubs of the protobuf package predictmesh.model."""
