"""A peer to measure against: Authlib's authorization server in Flask with SQLAlchemy, as its documentation sets it up, on SQLite.

    python provider.py DATABASE          makes the schema and the clients
    gunicorn provider:application        serves, with BENCH_DATABASE in the environment

In its favour: write-ahead logging, and client secrets in plain text.
"""

import os
import sys
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.sqla_oauth2 import (
    OAuth2ClientMixin,
    OAuth2TokenMixin,
    create_query_client_func,
    create_save_token_func,
)
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

db = SQLAlchemy()


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(40), unique=True)

    def get_user_id(self):
        return self.id


class Client(db.Model, OAuth2ClientMixin):
    id = db.Column(db.Integer, primary_key=True)


class Token(db.Model, OAuth2TokenMixin):
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer, db.ForeignKey("user.id"))
    user = db.relationship("User")


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    def authenticate_user(self, username, password):
        return User.query.filter_by(name=username).first()


class Refresh(grants.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = Token.query.filter_by(refresh_token=refresh_token).first()
        return token if token and not token.is_revoked() else None

    def authenticate_user(self, credential):
        return credential.user

    def revoke_old_credential(self, credential):
        credential.access_token_revoked_at = credential.refresh_token_revoked_at = int(time.time())
        db.session.add(credential)
        db.session.commit()


class Introspection(IntrospectionEndpoint):
    def query_token(self, token, token_type_hint):
        return Token.query.filter_by(access_token=token).first()

    def introspect_token(self, token):
        return {
            "active": not token.is_expired() and not token.is_revoked(),
            "client_id": token.client_id,
            "scope": token.get_scope(),
            "iat": token.issued_at,
            "exp": token.issued_at + token.expires_in,
        }

    def check_permission(self, token, client, request):
        return True


def make(database):
    app = Flask("bench")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{database}"
    app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
    db.init_app(app)
    with app.app_context():
        event.listen(db.engine, "connect", pragmas)
    server = AuthorizationServer()
    server.init_app(
        app,
        query_client=create_query_client_func(db.session, Client),
        save_token=create_save_token_func(db.session, Token),
    )
    for grant in (grants.ClientCredentialsGrant, Password, Refresh):
        server.register_grant(grant)
    server.register_endpoint(Introspection)

    @app.post("/token")
    def token():
        return server.create_token_response()

    @app.post("/introspect")
    def introspect():
        return server.create_endpoint_response("introspection")

    return app


def pragmas(connection, _record):
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000"):
        connection.execute(f"PRAGMA {pragma}")


def prepare(database):
    """Make the schema, people, and a client for each grant."""
    with make(database).app_context():
        db.create_all()
        db.session.add_all(User(name=f"person{number}") for number in range(64))
        for name, grant in (("bench", ["client_credentials"]), ("people", ["password", "refresh_token"])):
            client = Client(
                client_id=name, client_secret="bench-secret", client_id_issued_at=int(time.time())
            )
            client.set_client_metadata(
                {"grant_types": grant, "scope": "read", "token_endpoint_auth_method": "client_secret_basic"}
            )
            db.session.add(client)
        db.session.commit()


if __name__ == "__main__":
    prepare(sys.argv[1])
else:
    application = make(os.environ["BENCH_DATABASE"])
