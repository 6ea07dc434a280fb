"""Generated stubs of the protobuf package predictmesh.gateway.v1."""
