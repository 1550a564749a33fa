"""A context for every page and every mail, as the server would pass it: the templates' contract by example."""

import json
from collections.abc import Mapping

from tests.unit.pages.contexts import ACCOUNT, API, DAY, LANGUAGES, NOW, Context, form, reading
from tests.unit.pages.gallery_console import CONSOLE_PAGES
from tests.unit.pages.gallery_console_clients import CONSOLE_CLIENT_PAGES
from tests.unit.pages.gallery_console_keys import KEYS_AND_TRUST_PAGES
from tests.unit.pages.gallery_console_people import CONSOLE_PEOPLE_PAGES
from tests.unit.pages.gallery_console_service import SERVICE_PAGES

from watchword.pages.qr import qr_image
from watchword.pages.render import Problem

REQUEST = json.dumps(
    {"challenge": "3q2-7w", "rpId": "localhost", "allowCredentials": [], "userVerification": "preferred"}
)
CREATION = json.dumps(
    {
        "challenge": "3q2-7w",
        "rp": {"id": "localhost", "name": "Watchword"},
        "user": {"id": "AQID", "name": "mara", "displayName": "Mara"},
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required", "requireResidentKey": True},
    }
)
LINKABLE = [
    {
        "id": "github",
        "name": "GitHub",
        "account": "mara-l",
        "linked_at": NOW - 20 * DAY,
        "link_url": "/upstream/github",
    },
    {"id": "sso", "name": "Northwind SSO", "account": None, "linked_at": None, "link_url": "/upstream/sso"},
    {
        "id": "https://id.old.example/realm",
        "name": "id.old.example",
        "account": "mara@old.example",
        "linked_at": NOW - 300 * DAY,
        "link_url": None,
    },
]
PROVIDERS = [
    {"name": "GitHub", "url": "/upstream/github?i=7Q2"},
    {"name": "Northwind SSO", "url": "/upstream/nw?i=7Q2"},
]
REGISTERED = {"name": "Ledgerline", "origin": "registered", "host": None}
DOCUMENT = {
    **REGISTERED,
    "name": "Inkwell Agent",
    "origin": "metadata_document",
    "host": "agent.inkwell.example",
}
STRANGER = {**REGISTERED, "name": "Ledgerline Official", "origin": "self_registered"}


def scope(name: str, sentence: str | None = None, risk: str = "low", **more: bool) -> dict[str, object]:
    return {"name": name, "sentence": sentence, "risk": risk, "optional": False, "granted": True, **more}


SCOPES = [
    scope("openid"),
    scope("email"),
    scope("invoices:read", "Read your invoices and their attachments"),
    scope("invoices:write", "Create and change invoices", "elevated", optional=True),
    scope("payments:send", "Pay invoices from your company’s account", "high", optional=True, granted=False),
]


def account(section: str, console: str | None = "/console", **more: object) -> dict[str, object]:
    sections = [
        "overview",
        "passkeys",
        "second_factors",
        "sessions",
        "applications",
        "tokens",
        "identities",
        "password",
    ]
    waiting = "/authorize/resume" if section == "second_factors" else None
    links = {"sign_out": "/sign-out", "back": f"/account/{section}", "go_on": waiting, "console": console}
    person = {"name": ACCOUNT["name"], "identifier": "mara"}
    return form(root="/account", section=section, sections=sections, account=person, links=links, **more)


SIGN_IN = form(
    client={"name": "Ledgerline"},
    methods=["password", "passkey"],
    passkey_options=REQUEST,
    providers=PROVIDERS,
    remember_days=30,
    links={"recover": "/recover", "register": "/register", "identity": "/sign-in/identity"},
)
SECOND = form(method="totp", others=[{"method": "recovery_code", "url": "?m=r"}, {"method": "email_code", "url": "?m=e"}],
              account=ACCOUNT, passkey_options=REQUEST, email_hint="m…a@example.com", resend_url=None, remember_days=30)  # fmt: skip
STEP_UP = form(reason="client", client=REGISTERED, account=ACCOUNT, method="password",
               others=[{"method": "passkey", "url": "?m=p"}], passkey_options=REQUEST, cancel_url="/account", providers=[])  # fmt: skip
REGISTER = form(
    invitation={"email": "mara@example.com", "invited": False},
    asks=["name"],
    methods=["passkey", "password"],
    passkey_options=CREATION,
    password_minimum=15,
    providers=[],
    links={"sign_in": "/"},
)
PAYMENT = [
    {
        "title": "Pay from your account",
        "risk": "high",
        "rows": [("Amount", "120.00 EUR"), ("To", "Northwind AB")],
    }
]
CONSENT = form(client=REGISTERED, redirect={"kind": "web", "host": "app.ledgerline.example"}, account=ACCOUNT, scopes=SCOPES,
               resources=API, details=[], offline=True, remembered=True)  # fmt: skip
DEVICE = form(client=REGISTERED, user_code="WDJB-MJHT", account=ACCOUNT, scopes=SCOPES[:3], resources=API,
              details=[], request={"place": "Gothenburg, Sweden", "address": "203.0.113.7", "device": "Ledgerline CLI on Linux",
                       "at": NOW})  # fmt: skip
ERROR = {
    "problem_name": "general",
    "reference": "01K9-7Q2M-XT4B",
    "links": {"home": "/account"},
    "developer": None,
}
DEVELOPER = {
    "code": "invalid_request: redirect_uri",
    "summary": "The redirect_uri isn’t one of those registered for client “ledgerline”.",
    "differences": [
        {"part": "scheme", "sent": "http", "expected": "https"},
        {"part": "path", "sent": "/callback/", "expected": "/callback"},
    ],
    "changes": [
        "Send exactly https://app.ledgerline.example/callback, or",
        "register the other address: watchword client update ledgerline --redirect-uri http://app.ledgerline.example/callback/",
    ],
}
VISITS = [
    {"id": "s1", "device": "Firefox on Linux", "kind": "computer", "place": "Gothenburg, Sweden", "address": "203.0.113.7",
     "started_at": NOW - 2 * DAY, "last_used_at": NOW, "current": True, "remembered": True, "lasting": True},
    {"id": "s2", "device": "Safari on iPhone", "kind": "phone", "place": "Malmö, Sweden", "address": "2001:db8::41",
     "started_at": NOW - 9 * DAY, "last_used_at": NOW - DAY, "current": False, "remembered": True, "lasting": True},
    {"id": "s3", "device": "Chrome on Windows", "kind": "computer", "place": None, "address": "198.51.100.23",
     "started_at": NOW - 40 * DAY, "last_used_at": NOW - 31 * DAY, "current": False, "remembered": False, "lasting": False},
]  # fmt: skip
PASSKEYS = [
    {
        "id": "p1",
        "name": "Work laptop",
        "created_at": NOW - 90 * DAY,
        "last_used_at": NOW - 3_600,
        "backed_up": False,
    },
    {
        "id": "p2",
        "name": "iCloud Keychain",
        "created_at": NOW - 300 * DAY,
        "last_used_at": None,
        "backed_up": True,
    },
]
TOKEN = {"id": "t1", "name": "Nightly backup", "hint": "wwa_7Fk2…x9Qz", "scopes": ["invoices:read", "backup"], "resources": API,
         "created_at": NOW - 60 * DAY, "last_used_at": NOW - 3_600, "last_address": "203.0.113.7",
         "expires_at": NOW + 30 * DAY, "state": "active", "can_rotate": True}  # fmt: skip
TOKENS = [
    TOKEN,
    {
        **TOKEN,
        "id": "t2",
        "name": "CI deploy",
        "hint": "wwa_Q81d…0aRb",
        "state": "expiring",
        "expires_at": NOW + 4 * DAY,
    },
    {
        **TOKEN,
        "id": "t3",
        "name": "Old laptop",
        "state": "revoked",
        "last_used_at": None,
        "expires_at": None,
        "resources": [],
    },
]
GRANTS = [
    {"id": "g1", "client": REGISTERED, "scopes": SCOPES[:4], "resources": API, "details": PAYMENT, "granted_at": NOW - 50 * DAY,
     "last_used_at": NOW - DAY, "offline": True},
    {"id": "g2", "client": DOCUMENT, "scopes": SCOPES[2:3], "resources": [], "details": [], "granted_at": NOW - DAY, "last_used_at": None,
     "offline": False},
]  # fmt: skip

# The pages, each by the template's name; a variant's name follows a colon.
PAGES: Mapping[str, Context] = {
    "sign_in": SIGN_IN,
    "sign_in:wrong": {**SIGN_IN, "errors": {"password": "credentials"}, "values": {"identifier": "mara", "remember": "yes"}},
    "sign_in:password_only": {**SIGN_IN, "client": None, "methods": ["password"], "providers": [], "remember_days": 0,
                              "notice": "password_reset", "links": {"recover": None, "register": None, "identity": None}},
    "sign_in:passkey_only": {**SIGN_IN, "methods": ["passkey"], "providers": []},
    "sign_in:providers_only": {**SIGN_IN, "methods": [], "passkey_options": ""},
    "sign_in:throttled": {**SIGN_IN, "errors": {"form": Problem("throttled", {"minutes": 3})}},
    "select_account": form(client=REGISTERED, links={"other": "/other"}, accounts=[
        {"id": "a1", **ACCOUNT}, {"id": "a2", "name": "ops", "identifier": "ops@example.com"}]),
    "second_factor": SECOND,
    "second_factor:wrong": {**SECOND, "errors": {"code": "code_wrong"}},
    "second_factor:recovery": {**SECOND, "method": "recovery_code"},
    "second_factor:email": {**SECOND, "method": "email_code", "resend_url": "?again", "notice": "code_sent"},
    "second_factor:passkey": {**SECOND, "method": "passkey"},
    "step_up": STEP_UP,
    "step_up:provider": {**STEP_UP, "method": None, "reason": "settings", "others": [], "providers": PROVIDERS},
    "step_up:totp": {**STEP_UP, "method": "totp", "reason": "settings", "others": [], "cancel_url": None},
    "step_up:passkey": {**STEP_UP, "method": "passkey", "reason": "settings", "others": [{"method": "password", "url": "?m=w"}]},
    "step_up:recovery": {**STEP_UP, "method": "recovery_code", "reason": "console", "others": []},
    "recover": form(links={"sign_in": "/"}),
    "recover_sent": reading(form(identifier="mara@example.com", minutes=30, links={"sign_in": "/", "again": "/recover"})),
    "recover_passkey": form(identifier="mara", methods=["passkey"], passkey_options=CREATION),
    "reset_password": form(identifier="mara", methods=["password"], password_minimum=15,
                           errors={"new_password": "password_breached"}),
    "reset_password:either": form(identifier="mara", methods=["passkey", "password"], passkey_options=CREATION, password_minimum=15),
    "register": REGISTER,
    "register:invited": {**REGISTER, "invitation": {"email": "mara@example.com", "invited": True}, "providers": PROVIDERS,
                         "errors": {"new_password": Problem("password_short", {"minimum": 15})}},
    "register:address": {**REGISTER, "invitation": None, "asks": ["email"], "methods": [], "passkey_options": ""},
    "register:passkey_only": {**REGISTER, "methods": ["passkey"]},
    "register:providers_only": {**REGISTER, "invitation": {"email": "mara@example.com", "invited": True}, "asks": [], "methods": [],
                                "passkey_options": "", "providers": PROVIDERS},
    "verify_email": form(email="mara@example.com", account="mara"),
    "email_sent": reading(form(purpose="verify", email="mara@example.com", minutes=30, links={"again": "/again", "sign_in": "/"})),
    "sign_out": form(account=ACCOUNT, client=REGISTERED, other=False),
    "sign_out:other": form(account=ACCOUNT, client=REGISTERED, other=True),
    "signed_out": reading(form(frames=["https://app.ledgerline.example/logout?sid=1"], links={"sign_in": "/"}, **{"continue": {"url": "/bye", "name": "Ledgerline"}})),
    "consent": CONSENT,
    "consent:loopback": {**CONSENT, "client": STRANGER, "redirect": {"kind": "loopback", "host": "127.0.0.1:51004"},
                         "scopes": SCOPES[:3], "offline": False},
    "consent:document": {**CONSENT, "client": DOCUMENT, "redirect": {"kind": "web", "host": "agent.inkwell.example:8443"},
                         "details": PAYMENT},
    "consent:app": {**CONSENT, "client": STRANGER, "redirect": {"kind": "app", "host": "com.example.ledgerline:"}},
    "device": form(),
    "device:wrong": form(errors={"user_code": "user_code_wrong"}, values={"user_code": "WDJB-MJH"}),
    "device_confirm": DEVICE,
    "device_confirm:details": {**DEVICE, "scopes": [], "details": PAYMENT},
    "device_done": reading(form(outcome="approved", client=REGISTERED)),
    "device_done:denied": reading(form(outcome="denied", client=REGISTERED)),
    "setup": form(methods=["passkey", "password"], passkey_options=CREATION, password_minimum=15, providers=[]),
    "setup:passkey_only": form(methods=["passkey"], passkey_options=CREATION, password_minimum=15, providers=[]),
    "setup:providers_only": form(methods=[], passkey_options="", password_minimum=15, providers=PROVIDERS,
                                 errors={"form": Problem("upstream_taken", {"provider": "GitHub"})}),
    "link_account": form(provider={"name": "GitHub"}, upstream={"identifier": "mara@example.com"}, account=ACCOUNT,
                         methods=["password", "passkey"], passkey_options=REQUEST),
    "error": {**ERROR, "languages": LANGUAGES},
    "error:developer": {**ERROR, "problem_name": "redirect_mismatch", "developer": DEVELOPER},
    "form_post": {"redirect_uri": "/callback", "host": "app.ledgerline.example", "fields": {"code": "wwc_1", "state": "x"}},
    "dev_mail": {"messages": [{"to": "mara@example.com", "subject": "Set a new password", "at": NOW, "link": "/reset?k=1",
                               "body": "Hello,\n\nset it here:\n\n/reset?k=1\n"}]},
    "identity_sign_in": form(challenge='{"type": "challenge"}', command="watchword zero prove …",
                             links={"sign_in": "/sign-in"}, errors={"proof": "proof_refused"}),
    "dev_mail:none": {"messages": []},
    "account/overview": account(
        "overview", providers=LINKABLE, values={"name": "Mara Lindqvist"}, advice=["add_passkey", "save_recovery_codes"], may=["change_email", "delete"],
        profile={"username": "mara", "email": "mara@example.com", "email_verified": True, "pending_email": None,
                 "created_at": NOW - 400 * DAY}),
    "account/overview:bare": account(
        "overview", providers=[], advice=[], may=[], notice="profile_saved",
        profile={"username": "mara", "email": None, "email_verified": False, "pending_email": "m@example.net",
                 "created_at": NOW}),
    "account/passkeys": account("passkeys", passkeys=PASSKEYS, passkey_options=CREATION, may_remove=True),
    "account/passkeys:wrong": account("passkeys", passkeys=PASSKEYS, passkey_options=CREATION, may_remove=True,
                                      errors={"name": Problem("name_invalid", {"maximum": 128})}),
    "account/passkeys:none": account("passkeys", passkeys=[], passkey_options=CREATION, may_remove=False),
    "account/second_factors": account(
        "second_factors", totp={"added_at": NOW - 90 * DAY, "last_used_at": NOW - DAY}, passkeys=2, required=True,
        email_code={"on": False, "address": "m…a@example.com"}, recovery_codes={"left": 8, "made_at": NOW - 90 * DAY},
        offers=["passkey", "totp", "recovery_code"]),
    "account/second_factors:none": account("second_factors", totp=None, email_code=None, recovery_codes=None, passkeys=0,
                                           required=False, offers=["passkey", "totp", "recovery_code"]),
    "account/second_factors:passkeys": account("second_factors", totp=None, email_code=None, recovery_codes=None, passkeys=1,
                                               required=True, offers=["passkey"]),
    "account/totp": account("second_factors", secret="JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP",
                            qr=qr_image("otpauth://totp/Watchword:mara?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Watchword")),
    "account/recovery_codes": reading(account("second_factors", codes=[f"k7wd-{n}fqm-x2p{n}" for n in range(10)])),
    "account/sessions": account("sessions", visits=VISITS),
    "account/sessions:one": account("sessions", visits=VISITS[:1], notice="others_ended"),
    "account/applications": account("applications", granted=GRANTS, next_url="?cursor=x"),
    "account/applications:none": account("applications", granted=[], next_url=None),
    "account/tokens": account("tokens", tokens=TOKENS, new_url="/account/tokens/new", overlaps=[86_400, 3_600, 604_800, 0],
                              next_url="?cursor=x"),
    "account/tokens:none": account("tokens", tokens=[], new_url="/account/tokens/new", overlaps=[], next_url=None),
    "account/token_new": account("tokens", scopes=SCOPES[2:], resources=API, days=[30, 90, 180, 365], values={"days": 90}),
    "account/token_new:wrong": account("tokens", scopes=SCOPES[2:], resources=[], days=[30],
                                       errors={"scope": "scope_missing"}, values={"name": "CI"}),
    "account/token_new:nothing_open": account("tokens", None, scopes=[], resources=API, days=[30], values={}),
    "account/token_new:nothing_described": account("tokens", scopes=[], resources=API, days=[30], values={}),
    "account/token_secret": reading(account(
        "tokens", made="rotated", token=TOKEN, secret="wwa_7Fk2mPq9LxVt3RzYc8HnBw5JdGs1KaE6uQx9Qz", old_until=NOW + DAY,
        example='curl -H "Authorization: Bearer $TOKEN" https://api.example.com/invoices')),
    "account/token_secret:created": reading(account("tokens", made="created", token=TOKEN, secret="wwa_1", old_until=None, example=None)),
    "account/identities": account(
        "identities", challenge='{"type": "challenge"}', command="watchword zero prove …", identities=[
            {"id": "zid_Tue", "name": "work laptop", "registered_at": NOW - DAY, "last_used_at": NOW,
             "expires_at": NOW + 300 * DAY, "state": "active"},
            {"id": "zid_Old", "name": "old laptop", "registered_at": NOW - 400 * DAY, "last_used_at": None,
             "expires_at": NOW - DAY, "state": "expired"}]),
    "account/identities:none": account(
        "identities", challenge="{}", command="watchword zero prove …", identities=[],
        errors={"proof": "proof_refused"}),
    "account/password": account("password", has_password=True, changed_at=NOW - 200 * DAY, password_minimum=15),
    "account/password:wrong": account("password", has_password=True, changed_at=None, password_minimum=15,
                                      errors={"password": "password_wrong", "new_password": "password_common"}),
    "account/password:none": account("password", has_password=False, changed_at=None, password_minimum=15),
    "account/email": account("overview", email="mara@example.com", is_name=True),
    "account/email:none": account("overview", email=None, is_name=False, errors={"email": "email_invalid"}, values={"email": "mara@"}),
    "account/delete": account("overview", ends={"sessions": 3, "applications": 2, "tokens": 3}),
    **CONSOLE_PAGES,
    **SERVICE_PAGES, **KEYS_AND_TRUST_PAGES,
    **CONSOLE_PEOPLE_PAGES,
    **CONSOLE_CLIENT_PAGES,
}  # fmt: skip

ASKED = {"at": NOW, "address": "203.0.113.7", "place": "Gothenburg, Sweden"}
ORIGIN = {**ASKED, "device": "Firefox on Linux"}
LINK = {"link": "https://id.example.com/a?k=7Q2"}
MAILS: Mapping[str, Context] = {
    "verify": {**LINK, "minutes": 30},
    "reset": {**LINK, **ASKED, "minutes": 30},
    "reset_unknown": ASKED,
    "already_registered": LINK,
    "code": {**ASKED, "code": "482913", "minutes": 10},
    "new_device": {**LINK, **ORIGIN},
    "new_factor": {**LINK, **ORIGIN, "change": "passkey_added"},
    "second_factor_guessed": {**LINK, **ORIGIN},
    "password_changed": {**LINK, **ORIGIN, "ended": True},
    "account_ended": {**LINK, **ORIGIN, "change": "deleted"},
    "email_changed": {**LINK, "at": NOW, "new_email": "m…@example.net", "renamed": True},
    "invite": {**LINK, "inviter": "ops", "hours": 72},
    "token_expiring": {
        **LINK,
        "tokens": [{"name": "Nightly backup", "hint": "wwa_…x9Qz", "expires_at": NOW + DAY}],
        "further": 2,
    },
    "token_leaked": {
        **LINK,
        "at": NOW,
        "change": "revoked",
        "tokens": [{"name": "Nightly backup", "hint": "wwa_…x9Qz"}],
        "further": 0,
    },
}
