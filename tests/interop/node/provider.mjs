// An authorization server that nobody here wrote: oidc-provider, for the guard, the client and the sign-in with other providers.
//
//   node provider.mjs '{"port": …, "clients": […]}'
//
// Whoever comes is signed in as "ada" and has agreed to everything. The resource https://jwt.example has JWTs as access tokens,
// https://opaque.example has opaque ones; both know the scopes `orders:read` and `orders:write`. Prints a line when it listens.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const { port, clients } = JSON.parse(process.argv[2]);
const SCOPE = "orders:read orders:write";
const FORMATS = { "https://jwt.example": "jwt", "https://opaque.example": "opaque" };
const made = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }), alg, use: "sig", kid: alg,
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  jwks: { keys: [made("rsa", { modulusLength: 2048 }, "RS256"), made("ec", { namedCurve: "P-256" }, "ES256")] },
  scopes: ["openid", "offline_access", "email", "profile"],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: "Ada", email: `${id}@example.org`, email_verified: true }),
  }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: ["a key for cookies"] },
  issueRefreshToken: async (_, client) => client.grantTypeAllowed("refresh_token"),
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope("openid offline_access email profile");
    for (const resource of Object.keys(FORMATS)) grant.addResourceScope(resource, SCOPE);
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: SCOPE, audience: resource, accessTokenFormat: FORMATS[resource], accessTokenTTL: 600,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});
const answer = provider.callback();
const server = createServer(async (req, res) => {
  if (!req.url.startsWith("/interaction/")) return answer(req, res);
  await provider.interactionFinished(req, res, { login: { accountId: "ada" }, consent: {} });
});
server.listen(port, "127.0.0.1", () => console.log("listening"));
