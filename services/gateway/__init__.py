"""The gateway: answers predictions by composing the feature service and the model service.

An API package, such as gateway.v1, is a servicer and its conversions: a request becomes a `PredictCall`, and the
`Prediction` that `PredictFlow` makes of it becomes the answer. Another one takes its place beside it in `server.apis`.
"""
