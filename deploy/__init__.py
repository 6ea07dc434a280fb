"""How predictmesh is deployed, and what shows it running."""
