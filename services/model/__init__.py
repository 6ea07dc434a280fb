"""The model service: loads the versions that the registry names and answers the Open Inference Protocol with them."""
