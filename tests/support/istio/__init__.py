"""What stands in for istiod: it makes the configuration of real Envoys of the resources that deploy/kubernetes has for Istio."""
