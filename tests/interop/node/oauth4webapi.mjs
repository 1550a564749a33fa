// The same server seen by oauth4webapi, step by step, with everything that the library can check switched on.

import * as oauth from 'oauth4webapi'
import { importJWK } from 'jose'
import { run, visit, walk } from './converse.mjs'

const REDIRECT = 'https://rp.example.com/cb'

async function discover(issuer, algorithm = 'oidc') {
  const response = await oauth.discoveryRequest(new URL(issuer), { algorithm })
  return oauth.processDiscoveryResponse(new URL(issuer), response)
}

async function request(scope, parameters = {}) {
  const verifier = oauth.generateRandomCodeVerifier()
  const made = new URLSearchParams({
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope,
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  })
  return { made, verifier }
}

async function signIn(as, client, authentication, scope, { DPoP, parameters } = {}) {
  const { made, verifier } = await request(scope, parameters)
  const response = await oauth.pushedAuthorizationRequest(as, client, authentication, made, { DPoP })
  const pushed = await oauth.processPushedAuthorizationResponse(as, client, response)
  const address = new URL(as.authorization_endpoint)
  address.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri })
  const back = oauth.validateAuthResponse(as, client, await visit(address), made.get('state'))
  const bought = await oauth.authorizationCodeGrantRequest(as, client, authentication, back, REDIRECT, verifier, { DPoP })
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, bought, {
    expectedNonce: made.get('nonce'),
    requireIdToken: true,
  })
  await oauth.validateApplicationLevelSignature(as, bought)
  return tokens
}

function registered({ id, metadata }) {
  return { client_id: id, ...metadata }
}

await run({
  async everything({ issuer, key, algorithm, resource, ...given }) {
    const as = await discover(issuer, 'oauth2')
    const client = registered(given)
    const authentication = oauth.PrivateKeyJwt({ key: await importJWK(key, key.alg), kid: key.kid })
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(algorithm))
    const parameters = { resource, max_age: '600' }
    const tokens = await signIn(as, client, authentication, 'openid email offline_access orders:read', { DPoP, parameters })
    const claims = oauth.getValidatedIdTokenClaims(tokens)

    const told = await oauth.userInfoRequest(as, client, tokens.access_token, { DPoP })
    const person = await oauth.processUserInfoResponse(as, client, claims.sub, told)

    const renewed = await oauth.refreshTokenGrantRequest(as, client, authentication, tokens.refresh_token, { DPoP })
    const fresh = await oauth.processRefreshTokenResponse(as, client, renewed)

    // RFC 9068 and RFC 9449 as an API would check them
    const arrived = new Request(resource, { headers: await proven(DPoP, fresh.access_token, resource) })
    const access = await oauth.validateJwtAccessToken(as, arrived, resource, { requireDPoP: true })

    const asked = await oauth.introspectionRequest(as, client, authentication, fresh.access_token)
    const active = await oauth.processIntrospectionResponse(as, client, asked)
    const revoked = await oauth.revocationRequest(as, client, authentication, fresh.refresh_token)
    await oauth.processRevocationResponse(revoked)
    return { claims, person, access, active, type: tokens.token_type }
  },

  async client_credentials({ issuer, secret, ...given }) {
    const as = await discover(issuer, 'oauth2')
    const client = registered(given)
    const authentication = oauth.ClientSecretBasic(secret)
    const answer = await oauth.clientCredentialsGrantRequest(as, client, authentication, { scope: 'orders:read' })
    return oauth.processClientCredentialsResponse(as, client, answer)
  },

  async device({ issuer, ...given }) {
    const as = await discover(issuer)
    const client = registered(given)
    const asked = await oauth.deviceAuthorizationRequest(as, client, oauth.None(), { scope: 'openid' })
    const begun = await oauth.processDeviceAuthorizationResponse(as, client, asked)
    await walk(begun.verification_uri_complete)
    const answer = await oauth.deviceCodeGrantRequest(as, client, oauth.None(), begun.device_code)
    return oauth.processDeviceCodeResponse(as, client, answer)
  },

  async registration({ issuer }) {
    const as = await discover(issuer)
    const metadata = { redirect_uris: [REDIRECT], client_name: 'Newcomer', token_endpoint_auth_signing_alg: 'ES256' }
    const answer = await oauth.dynamicClientRegistrationRequest(as, metadata)
    const client = await oauth.processDynamicClientRegistrationResponse(answer)
    const tokens = await signIn(as, client, oauth.ClientSecretBasic(client.client_secret), 'openid')
    return { client, type: tokens.token_type }
  },

  async protected_resource({ resource }) {
    const insecure = { [oauth.allowInsecureRequests]: true }
    const answer = await oauth.resourceDiscoveryRequest(new URL(resource), insecure)
    return oauth.processResourceDiscoveryResponse(new URL(resource), answer)
  },
})

// The headers that oauth4webapi sends to an API, caught on the way.
async function proven(DPoP, token, resource) {
  let sent
  await oauth.protectedResourceRequest(token, 'GET', new URL(resource), new Headers(), undefined, {
    DPoP,
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (_, { headers }) => {
      sent = headers
      return new Response()
    },
  })
  return sent
}
