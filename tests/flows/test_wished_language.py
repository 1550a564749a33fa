"""OpenID Connect Core §3.1.2.1 `ui_locales`: the language that an application wishes for, of its own request and of no other."""

import httpx
from tests.fixtures.accounts import ada, server
from tests.fixtures.code_flow import register, request
from tests.fixtures.people import Person

__all__ = ["ada", "server"]


async def language_for(ada: Person, **changes: str) -> str:
    """Return the language of the page that an application's request leads to."""
    client = await register(ada.server)
    page = await ada.open(str(httpx.URL("/authorize", params=request(client, **changes))))
    return page.text.partition('<html lang="')[2][:2]


async def test_one_application_chooses_for_no_other(ada: Person) -> None:
    await ada.sign_in()
    for prompt in ("login", "create", "select_account", "consent"):
        assert await language_for(ada, prompt=prompt, ui_locales="de-AT") == "de"
        assert await language_for(ada, prompt=prompt, ui_locales="en") == "en"
        assert await language_for(ada, prompt=prompt, ui_locales="de") == "de"
        assert await language_for(ada, prompt=prompt) == "en", "the browser's, as nobody wished for another"


async def test_the_pages_on_the_way_keep_to_it_and_what_the_person_chose_goes_before(ada: Person) -> None:
    assert await language_for(ada, ui_locales="de") == "de"
    assert '<html lang="de"' in (await ada.open("/recover")).text
    await ada.open("/sign-in?lang=en")
    assert await language_for(ada, ui_locales="de") == "en"
