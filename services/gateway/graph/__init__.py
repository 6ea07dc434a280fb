"""Composed versions: the gateway computes them of the versions that they are made of.

What a graph is stands in `nodes`, which rows its nodes are asked about in `segments`. A request's way begins in
`services.gateway.lane`, which coalesces it and fetches features. Then `lane` takes the batch through the first segment and
its unsure rows through the later ones: `asking` makes a node's call, `batch` keeps what became of each row, `combining` and
`cascade` compute the rest, and `outcome` makes each caller's answer of it.
"""
