"""What batching by deadline and learnt cost gains in front of a real Triton, and what the model service adds."""
