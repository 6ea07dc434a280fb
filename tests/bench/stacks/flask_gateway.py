"""The pair that case studies measure, its gateway: reads the features, and asks the prediction service over HTTP."""

from __future__ import annotations

import os
from typing import Any

import flask
import redis
import requests

from tests.bench.stacks import stored


def create_app() -> flask.Flask:
    """Make the application; the store and the prediction service are named in the environment."""
    store = redis.Redis.from_url(os.environ["BENCH_REDIS"])
    prediction, session = os.environ["BENCH_PREDICTION"], requests.Session()

    def predict() -> Any:
        asked = flask.request.get_json()
        row = stored.row(store.mget([stored.key(view, asked[view]) for view in stored.VIEWS]))
        answer = session.post(f"{prediction}/predict", json={"features": row[0].tolist()}, timeout=5)
        answer.raise_for_status()
        return answer.json()

    app = flask.Flask(__name__)
    app.add_url_rule("/predict", view_func=predict, methods=["POST"])
    return app
