"""The pair that case studies measure, its prediction service: features in, score out."""

from __future__ import annotations

import os
from typing import Any

import flask
import numpy as np

from tests.bench.stacks.scoring import Scorer


def create_app() -> flask.Flask:
    """Make the application; the model is named in the environment."""
    scorer = Scorer(os.environ["BENCH_MODEL"])

    def predict() -> Any:
        features = flask.request.get_json()["features"]
        return {"score": scorer.score(np.array([features], np.float32))}

    app = flask.Flask(__name__)
    app.add_url_rule("/predict", view_func=predict, methods=["POST"])
    return app
