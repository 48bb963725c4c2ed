"""The identity provider: OpenID Connect with the authorisation code, PKCE, state and nonce, by Authlib.

What a login in progress has to remember (state, nonce, code verifier) stays here, under a random cookie of the
browser that began it, and is used once.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from fleet_console.login.markup import CALLBACK
from fleet_console.settings import FleetConsoleSettings
from fleetloop.kit.process.clock import Clock, seconds_to_ns

LOGIN_S = 600
_MOST = 10_000
_TIMEOUT_S = 10.0
_FAILURES = (httpx2.HTTPError, AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, RuntimeError)
_SIGNED_BY = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""No shared secrets and no unsigned tokens, whatever the provider's metadata say."""


class ProviderError(Exception):
    """The provider does not answer, or its answer does not belong to this login; the text says which."""


class Provider:
    """The one provider of this console."""

    def __init__(self, settings: FleetConsoleSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._begun: OrderedDict[str, tuple[int, dict[str, Any]]] = OrderedDict()
        self._client: StarletteOAuth2App = OAuth().register(
            "provider",
            server_metadata_url=f"{settings.oidc_issuer.rstrip('/')}/.well-known/openid-configuration",
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret or None,
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_S,
                **({} if settings.oidc_client_secret else {"token_endpoint_auth_method": "none"}),
                **({"verify": str(settings.oidc_ca)} if settings.oidc_ca is not None else {}),
            },
        )

    @property
    def origin(self) -> str:
        """Where the browser is sent to."""
        parts = urlsplit(self._settings.oidc_issuer)
        return f"{parts.scheme}://{parts.netloc}"

    async def begin(self, request: Request) -> tuple[Response, str]:
        """The redirect to the provider, and the value of the cookie for `finish`. Raises ProviderError."""
        begun: dict[str, Any] = {}
        try:
            await self._check_metadata()
            request.scope["session"] = begun
            response: Response = await self._client.authorize_redirect(
                request, f"{self._settings.page_origin}{CALLBACK}"
            )
        except _FAILURES as error:
            raise ProviderError(
                f"the identity provider does not answer as expected: {type(error).__name__}"
            ) from error
        cookie = secrets.token_urlsafe(32)
        now = self._clock.monotonic_ns()
        self._begun[cookie] = (now, begun)
        while self._begun and (
            len(self._begun) > _MOST or now - next(iter(self._begun.values()))[0] > seconds_to_ns(LOGIN_S)
        ):
            self._begun.popitem(last=False)
        return response, cookie

    async def finish(self, request: Request, cookie: str) -> Mapping[str, Any]:
        """The verified claims of the ID token. Raises ProviderError."""
        begun_ns, begun = self._begun.pop(cookie, (0, None))
        if begun is None or self._clock.monotonic_ns() - begun_ns > seconds_to_ns(LOGIN_S):
            raise ProviderError("this browser has no login in progress; begin again")
        request.scope["session"] = begun
        try:
            metadata = await self._check_metadata()
            if (said := request.query_params.get("iss")) is not None and said != metadata["issuer"]:
                raise ProviderError("the answer is of another provider")
            token = await self._client.authorize_access_token(
                request,
                claims_options={
                    "iss": {"essential": True, "value": metadata["issuer"]},
                    "aud": {"essential": True, "value": self._settings.oidc_client_id},
                    "sub": {"essential": True},
                    "exp": {"essential": True},
                    "nonce": {"essential": True},
                },
                leeway=60,
            )
        except _FAILURES as error:
            raise ProviderError(f"the provider's answer is refused: {type(error).__name__}") from error
        claims = token.get("userinfo")
        if not isinstance(claims, Mapping):
            raise ProviderError("the provider gave no ID token")
        return {**claims, "id_token": token["id_token"]}

    def logout_url(self, id_token: str) -> str:
        """Where the provider ends its own session; empty if it has no such address."""
        metadata = self._client.server_metadata
        endpoint = metadata.get("end_session_endpoint") if isinstance(metadata, dict) else None
        if not isinstance(endpoint, str) or not endpoint.startswith(
            ("https://", "http://127.0.0.1", "http://localhost")
        ):
            return ""
        query = urlencode(
            {
                "id_token_hint": id_token,
                "client_id": self._settings.oidc_client_id,
                "post_logout_redirect_uri": f"{self._settings.page_origin}/login",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def _check_metadata(self) -> Mapping[str, Any]:
        metadata: dict[str, Any] = await self._client.load_server_metadata()
        if str(metadata.get("issuer", "")).rstrip("/") != self._settings.oidc_issuer.rstrip("/"):
            raise ProviderError(f"the provider calls itself {metadata.get('issuer')!r}, not as oidc_issuer says")
        offered = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        metadata["id_token_signing_alg_values_supported"] = [alg for alg in offered if alg in _SIGNED_BY] or ["RS256"]
        return metadata
