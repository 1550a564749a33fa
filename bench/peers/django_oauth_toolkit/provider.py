"""A peer to measure against: django-oauth-toolkit as its documentation sets it up, on SQLite.

    python provider.py DATABASE          makes the schema and the clients
    gunicorn provider:application        serves, with BENCH_DATABASE in the environment

In its favour: write-ahead logging, no middleware that these endpoints do not need, and client secrets kept in plain text, since hashing
them (its default) would cost more than everything else together.
"""

import os
import sys

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="provider_urls",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    MIDDLEWARE=[],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("BENCH_DATABASE") or sys.argv[1],
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    },
    USE_TZ=True,
    OAUTH2_PROVIDER={
        "SCOPES": {"read": "read", "introspection": "introspect"},
        "ACCESS_TOKEN_EXPIRE_SECONDS": 600,
        "ROTATE_REFRESH_TOKEN": True,
    },
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    LOGGING_CONFIG=None,
)
django.setup()


def prepare() -> None:
    """Make the schema, a person, and a client for each grant."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from oauth2_provider.models import Application

    call_command("migrate", verbosity=0)
    for number in range(64):
        User.objects.create_user(f"person{number}", password="bench")
    for name, grant in (("bench", "client-credentials"), ("people", "password")):
        Application.objects.create(
            client_id=name,
            client_secret="bench-secret",
            hash_client_secret=False,
            client_type="confidential",
            authorization_grant_type=grant,
            name=name,
        )


if __name__ == "__main__":
    prepare()
else:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()
