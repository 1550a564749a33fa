"""A token source as the `auth` of requests; needs the package `requests`."""

from typing import Any

from watchword.client.credential import Source
from watchword.client.parts import check_source
from watchword.client.proofs import is_elsewhere
from watchword.extras import needing

with needing("requests", "requests"):
    from requests import PreparedRequest, Response
    from requests.auth import AuthBase
    from requests.exceptions import UnrewindableBodyError
    from requests.structures import CaseInsensitiveDict
    from requests.utils import rewind_body

TRIES = 3


class _Headers(CaseInsensitiveDict[str]):
    """Headers that lose the proof together with the token: on a redirect to another origin, requests removes only the token."""

    def copy(self) -> "_Headers":
        return _Headers(self.items())

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        if name.lower() == "authorization":
            self.pop("dpop", None)


class RequestsAuth(AuthBase):
    """Adds a token from a source to every request to its API; a request to any other address raises WrongAddress."""

    def __init__(self, source: Source) -> None:
        check_source(source)
        self._source = source

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Present a token, and register a hook on the answer."""
        request.headers = _Headers(request.headers)
        self._present(request)
        request.register_hook("response", self._answered)  # type: ignore[no-untyped-call]  # requests is typed in part
        return request

    def _present(self, request: PreparedRequest) -> None:
        request.headers.update(self._source.present(str(request.method), str(request.url)))

    def _answered(self, response: Response, **options: Any) -> Response:
        for _ in range(TRIES - 1):
            request = response.request
            sent = request.headers.get("authorization")
            if sent is None:  # a redirect led to another host, and requests removed the token
                return response
            better = self._source.heard(str(request.url), response.status_code, response.headers, str(sent))
            moved = response.status_code == 401 and is_elsewhere(
                request.headers.get("dpop"), str(request.url)
            )
            if not (better or moved) or not _can_go_again(request):
                return response
            response = self._again(response, request, options)
        return response

    def _again(self, response: Response, request: PreparedRequest, options: dict[str, Any]) -> Response:
        _ = response.content  # read to its end, so that the connection can be used again
        response.close()
        anew = request.copy()
        self._present(anew)
        answer: Response = response.connection.send(anew, **options)
        answer.history.append(response)
        answer.request = anew
        return answer


def _can_go_again(request: PreparedRequest) -> bool:
    """Whether a body can be sent again; a file is wound back to where it was."""
    body: Any = request.body  # typed as if none could stream
    if isinstance(body, str | bytes | None):
        return True
    try:
        rewind_body(request)
    except UnrewindableBodyError:
        return False
    return True
