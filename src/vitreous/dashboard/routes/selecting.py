"""Selections: choosing, keeping, taking them back."""

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from vitreous.dashboard.answers import mask_answer
from vitreous.dashboard.session import Session


class Chosen(BaseModel):
    """A rule, as the page sends it."""

    rule: dict[str, Any]


def selecting_routes(session: Session) -> APIRouter:
    """Answer `/api/select` and `/api/selections`."""
    routes = APIRouter(prefix="/api")

    @routes.post("/select")
    def select(chosen: Chosen) -> Response:
        rules = session.chooser()
        return mask_answer(rules.mask(chosen.rule), rules.command(chosen.rule))

    return routes
