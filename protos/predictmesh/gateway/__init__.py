"""Generated stubs of the protobuf package predictmesh.gateway."""
