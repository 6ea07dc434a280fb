"""What predictmesh costs, beside what it could cost at best and what it would cost without coalescing."""
