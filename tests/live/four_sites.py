"""Four sites in one gunicorn, as a shared host has them: plain WSGI, Flask, Pyramid and Django.

Each has XHMTP around it, answers every path there is, and notes in FOUR_SITES_LOG whatever any
part of it is asked. Which one is meant is told by the Host: plain.example, flask.example and so on.
FOUR_SITES_DATABASE is the database that all share.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from flask import Flask, request
from pyramid.config import Configurator
from pyramid.events import NewRequest
from pyramid.request import Request
from pyramid.response import Response

import xhmtp_wsgi.flask
from xhmtp_wsgi import XHMTP, postgresql_connection
from xhmtp_wsgi.wing import Environ, StartResponse

DATABASE = os.environ["FOUR_SITES_DATABASE"]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def seen(path: str) -> None:
    """Notes that a site was asked for this."""
    with Path(os.environ["FOUR_SITES_LOG"]).open("a") as log:
        log.write(f"{path}\n")


def answer(name: str) -> str:
    """What every page of a site says."""
    return f"the site of {name}"


def domains(name: str) -> dict[str, Any]:
    """The one domain of a site, with nothing left to the DNS."""
    return {f"{name}.example": {"prefix": "xhmtp", "agent": f"http://server.{name}.example"}}


def plain() -> Any:
    """A function."""

    def site(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [answer("plain").encode()]

    return XHMTP(site, {"database": DATABASE, "domain": domains("plain")})


def flask_site() -> Any:
    """A catch-all route, and functions before and after each request."""
    app = Flask("site", instance_path=os.environ["FOUR_SITES_INSTANCE"])
    app.config["XHMTP"] = {"database": DATABASE, "domain": domains("flask")}

    @app.before_request
    def before() -> None:
        seen(request.path)

    @app.after_request
    def after(response: Any) -> Any:
        response.headers["X-Site"] = "changed"
        return response

    @app.route("/", defaults={"rest": ""}, methods=METHODS)
    @app.route("/<path:rest>", methods=METHODS)
    def page(rest: str) -> str:
        return answer("flask")

    xhmtp_wsgi.flask.XHMTP(app)
    return app


def watching(handler: Callable[[Request], Response], _registry: Any) -> Any:
    """A tween of the Pyramid site's."""

    def tween(request: Request) -> Response:
        seen(request.path)
        response = handler(request)
        response.headers["X-Site"] = "changed"
        return response

    return tween


def pyramid_site() -> Any:
    """A catch-all route, a tween, and a subscriber to each request."""
    given = {f"xhmtp.domain.pyramid.example.{name}": value
             for name, value in domains("pyramid")["pyramid.example"].items()}  # fmt: skip
    config = Configurator(settings={"xhmtp.database": DATABASE, **given})
    config.include("xhmtp_wsgi.pyramid")
    config.add_tween("tests.live.four_sites.watching")
    config.add_subscriber(lambda event: seen(event.request.path), NewRequest)
    config.add_route("page", "/*rest")
    config.add_view(lambda request: Response(answer("pyramid")), route_name="page")
    return config.make_wsgi_app()


def recording(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """A middleware of the Django site's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        seen(request.path)
        response = get_response(request)
        response.headers["X-Site"] = "changed"
        return response

    return middleware


def django_page(request: HttpRequest) -> HttpResponse:
    """Every page of the Django site's."""
    return HttpResponse(answer("django"))


urlpatterns = [re_path(r"^(?:.*/)?$", django_page)]


def django_site() -> Any:
    """A catch-all for whatever ends in a slash, and APPEND_SLASH for the rest."""
    settings.configure(
        SECRET_KEY="not secret",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        APPEND_SLASH=True,
        MIDDLEWARE=[f"{__name__}.recording", "django.middleware.common.CommonMiddleware"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes", "django.contrib.auth", "xhmtp_wsgi.django",
        ],
        XHMTP={"database": DATABASE, "domain": domains("django")},
    )  # fmt: skip
    django.setup()
    import xhmtp_wsgi.django

    return xhmtp_wsgi.django.XHMTP(get_wsgi_application())


def make() -> Any:
    """All of them; gunicorn calls it as ``tests.live.four_sites:make()``."""
    # So that a test need not wait for as long as an operator does.
    postgresql_connection.BoundedConnection.answer_timeout = 3.0
    postgresql_connection.PAUSE = 1.0
    sites = {
        "plain.example": plain(),
        "flask.example": flask_site(),
        "pyramid.example": pyramid_site(),
        "django.example": django_site(),
    }

    def application(environ: Environ, start_response: StartResponse) -> Any:
        site = sites.get(environ["HTTP_HOST"], sites["plain.example"])
        return site(environ, start_response)

    return application
