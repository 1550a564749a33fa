// What an application does with openid-client, feature by feature, each answer checked by the library.

import * as client from 'openid-client'
import { importJWK } from 'jose'
import { run, visit, walk } from './converse.mjs'

const REDIRECT = 'https://rp.example.com/cb'

async function discover({ issuer, id, secret, metadata }, authentication, algorithm = 'oidc') {
  const given = { ...metadata, ...(secret ? { client_secret: secret } : {}) }
  const config = await client.discovery(new URL(issuer), id, given, authentication, { algorithm })
  client.enableNonRepudiationChecks(config)
  return config
}

async function signIn(config, scope, { pushed = false, options, parameters = {} } = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const checks = { expectedNonce: client.randomNonce(), expectedState: client.randomState(), idTokenExpected: true }
  const request = {
    redirect_uri: REDIRECT,
    scope,
    nonce: checks.expectedNonce,
    state: checks.expectedState,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...parameters,
  }
  const address = pushed
    ? await client.buildAuthorizationUrlWithPAR(config, request, options)
    : client.buildAuthorizationUrl(config, request)
  const back = await visit(address)
  return client.authorizationCodeGrant(config, back, { ...checks, pkceCodeVerifier: verifier }, undefined, options)
}

async function refused(promise) {
  try {
    await promise
  } catch (error) {
    return error.error ?? error.code
  }
  return 'nothing'
}

await run({
  async code_flow(given) {
    const config = await discover(given, client.ClientSecretBasic(given.secret))
    const tokens = await signIn(config, 'openid profile email offline_access orders:read', {
      parameters: { prompt: 'consent', max_age: '300', ui_locales: 'de', acr_values: 'none' },
    })
    const claims = tokens.claims()
    const person = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
    const fresh = await client.refreshTokenGrant(config, tokens.refresh_token)
    const active = await client.tokenIntrospection(config, fresh.access_token)
    await client.tokenRevocation(config, fresh.refresh_token)
    const after = await client.tokenIntrospection(config, fresh.access_token)
    return {
      claims, person, active, after,
      rotated: fresh.refresh_token !== tokens.refresh_token,
      same: fresh.claims().sub === claims.sub,
      dead: await refused(client.refreshTokenGrant(config, fresh.refresh_token)),
    }
  },

  async pushed_and_bound(given) {
    const config = await discover(given, client.None())
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair())
    const tokens = await signIn(config, 'openid profile', { pushed: true, options: { DPoP } })
    const subject = tokens.claims().sub
    const person = await client.fetchUserInfo(config, tokens.access_token, subject, { DPoP })
    const fresh = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
    const other = { DPoP: client.getDPoPHandle(config, await client.randomDPoPKeyPair()) }
    return {
      type: tokens.token_type, person: person.sub === subject, fresh: fresh.token_type,
      stolen: await refused(client.refreshTokenGrant(config, fresh.refresh_token, undefined, other)),
    }
  },

  async private_key(given) {
    const key = await importJWK(given.key, given.key.alg)
    const config = await discover(given, client.PrivateKeyJwt({ key, kid: given.key.kid }))
    const tokens = await signIn(config, 'openid', { pushed: true })
    const fresh = await client.refreshTokenGrant(config, tokens.refresh_token)
    await client.tokenRevocation(config, fresh.access_token)
    return { subject: tokens.claims().sub, type: fresh.token_type }
  },

  async signed_request(given) {
    const key = await importJWK(given.key, given.key.alg)
    const config = await discover(given, client.PrivateKeyJwt({ key, kid: given.key.kid }))
    const verifier = client.randomPKCECodeVerifier()
    const checks = { expectedNonce: client.randomNonce(), expectedState: client.randomState(), idTokenExpected: true }
    const request = {
      redirect_uri: REDIRECT,
      scope: 'openid',
      nonce: checks.expectedNonce,
      state: checks.expectedState,
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    }
    const signed = await client.buildAuthorizationUrlWithJAR(config, request, { key, kid: given.key.kid })
    const pushed = await client.buildAuthorizationUrlWithPAR(config, signed.searchParams)
    const found = {}
    for (const [how, address] of Object.entries({ signed, pushed })) {
      const tokens = await client.authorizationCodeGrant(config, await visit(address), { ...checks, pkceCodeVerifier: verifier })
      found[how] = tokens.token_type
    }
    return found
  },

  async client_credentials(given) {
    const config = await discover(given, client.ClientSecretPost(given.secret), 'oauth2')
    const tokens = await client.clientCredentialsGrant(config, { scope: 'orders:read' })
    const wrong = await refused(client.clientCredentialsGrant(config, { scope: 'everything' }))
    return { type: tokens.token_type, scope: tokens.scope, wrong }
  },

  async device(given) {
    const config = await discover(given, client.None())
    const begun = await client.initiateDeviceAuthorization(config, { scope: 'openid offline_access' })
    await walk(begun.verification_uri_complete)
    const tokens = await client.pollDeviceAuthorizationGrant(config, { ...begun, interval: 1 })
    return { type: tokens.token_type, subject: tokens.claims().sub, refresh: !!tokens.refresh_token }
  },

  async registration({ issuer }) {
    const metadata = {
      redirect_uris: [REDIRECT],
      client_name: 'Newcomer',
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'client_secret_post', // what the library uses where it is told nothing
    }
    const config = await client.dynamicClientRegistration(new URL(issuer), metadata, undefined, { algorithm: 'oidc' })
    client.enableNonRepudiationChecks(config)
    const tokens = await signIn(config, 'openid offline_access')
    return { metadata: config.clientMetadata(), subject: tokens.claims().sub }
  },

  async logout(given) {
    const config = await discover(given, client.ClientSecretBasic(given.secret))
    const tokens = await signIn(config, 'openid')
    const back = await visit(client.buildEndSessionUrl(config, {
      id_token_hint: tokens.id_token,
      post_logout_redirect_uri: given.bye,
      state: 's-42',
    }))
    return { back: back.href, silent: await refused(signIn(config, 'openid', { parameters: { prompt: 'none' } })) }
  },

  async denied(given) {
    const config = await discover(given, client.ClientSecretBasic(given.secret))
    return { error: await refused(signIn(config, 'openid')) }
  },
})
