"""Envoy before the gateways: REST, grpc-web and gRPC on one port."""
