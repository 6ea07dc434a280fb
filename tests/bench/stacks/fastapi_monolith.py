"""Everything in one asynchronous web application: uvicorn on uvloop and httptools, redis.asyncio on hiredis."""

from __future__ import annotations

import os

import fastapi
import redis.asyncio
from pydantic import BaseModel

from tests.bench.stacks import stored
from tests.bench.stacks.scoring import Scorer


class Asked(BaseModel):
    """An entity for each view."""

    rider: str
    driver: str
    zone: str


class Answer(BaseModel):
    """What the model says."""

    score: float


def create_app() -> fastapi.FastAPI:
    """Make the application; store and model are named in the environment."""
    store, scorer = redis.asyncio.Redis.from_url(os.environ["BENCH_REDIS"]), Scorer(os.environ["BENCH_MODEL"])

    async def predict(asked: Asked) -> Answer:
        keys = [stored.key(view, getattr(asked, view)) for view in stored.VIEWS]
        return Answer(score=scorer.score(stored.row(await store.mget(keys))))

    app = fastapi.FastAPI()
    app.add_api_route("/predict", predict, methods=["POST"])
    return app
