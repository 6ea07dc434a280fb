"""The same work on other stacks, each written as people write it, and started with settings that suit it.

Three keys in, their 16 FP32 out of the same store, one MLP, a score out: no versions, no ages, no provenance, no traces.
"""
