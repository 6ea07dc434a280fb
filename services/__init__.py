"""The services of predictmesh: what we write. The wire lives in `predictmesh`."""
