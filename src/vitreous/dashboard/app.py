"""The server as an application: guard, routes and page put together."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from vitreous.dashboard.answers import answer_errors
from vitreous.dashboard.guard import Guard, Keys
from vitreous.dashboard.routes.flexible import flexible_routes
from vitreous.dashboard.routes.landscape import landscape_routes
from vitreous.dashboard.routes.overview import overview_routes
from vitreous.dashboard.routes.particles import particle_routes
from vitreous.dashboard.routes.selecting import selecting_routes
from vitreous.dashboard.routes.training import training_routes
from vitreous.dashboard.routes.trajectories import trajectory_routes
from vitreous.dashboard.routes.volumes import volume_routes
from vitreous.dashboard.session import Session

PAGE = Path(__file__).parent / "page"
_ROUTES = (
    overview_routes,
    selecting_routes,
    volume_routes,
    trajectory_routes,
    particle_routes,
    landscape_routes,
    training_routes,
    flexible_routes,
)


def build_app(session: Session, keys: Keys) -> FastAPI:
    """Make the application that shows a run to whoever holds the keys."""
    app = FastAPI(title="vitreous", docs_url=None, redoc_url=None, openapi_url=None)
    answer_errors(app)
    for routes in _ROUTES:
        app.include_router(routes(session))
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.add_middleware(Guard, keys=keys)
    return app
