"""The gateway: answers predictions by composing the feature service and the model service."""
