"""A Django project in one file: every route but /health needs the scope orders.read."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from gatehouse import AccessTokens
from gatehouse.adapters.wsgi import TOKEN_KEY, AccessTokenMiddleware

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
tokens = AccessTokens(issuer=os.environ["ISSUER"], audience="https://orders.example")


def orders(request):
    return JsonResponse({"client": request.META[TOKEN_KEY].client_id})


def health(_request):
    return JsonResponse({"status": "up"})


urlpatterns = [path("orders", orders), path("health", health)]
app = AccessTokenMiddleware(get_wsgi_application(), tokens, scopes=["orders.read"], public=["/health"])
