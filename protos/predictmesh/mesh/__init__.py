"""Generated stubs of the protobuf package predictmesh.mesh."""
