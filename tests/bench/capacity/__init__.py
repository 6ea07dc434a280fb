"""How much of everything a load takes, by what the other benchmarks have measured."""
