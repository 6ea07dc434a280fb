"""Unary calls between services over streams that stay open: the same methods, interceptors and errors, for less."""
