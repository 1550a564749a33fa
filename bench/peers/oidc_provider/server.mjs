// A peer to measure against: oidc-provider with one confidential client: client_credentials, introspection, refresh tokens that rotate,
// and the code flow of people who are signed in.
//
//   node server.mjs jwt|memory|sqlite [DATABASE]
//
// jwt:    ES256-signed JWT access tokens, which oidc-provider does not store.
// memory: opaque access tokens in memory: nothing survives a restart. oidc-provider's own adapter forgets all but the last thousand
//         entries, which the load would notice; this one forgets nothing.
// sqlite: opaque access tokens in SQLite, each answer after a durable commit (WAL, synchronous=FULL).
//
// GET /bench/sign-in?id=… of the interaction signs somebody in and grants everything, so that what is measured afterwards is the flow on
// a live session. Prints {"port": …} when it listens. Settings follow oidc-provider's documentation; what is not needed stays at
// its default.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { DatabaseSync } from "node:sqlite";
import { Provider } from "oidc-provider";

const [mode, file = "tokens.db"] = process.argv.slice(2);
const RESOURCE = "https://api.example.com/";
const SECONDS = 600;

function memoryAdapter() {
  const entries = new Map(), grants = new Map(), uids = new Map(), codes = new Map();
  return class {
    constructor(kind) { this.kind = kind; }
    key(id) { return `${this.kind}:${id}`; }
    async upsert(id, payload) {
      const key = this.key(id);
      entries.set(key, payload);
      if (payload.uid) uids.set(payload.uid, id);
      if (payload.userCode) codes.set(payload.userCode, id);
      if (payload.grantId) {
        const known = grants.get(payload.grantId);
        if (known) known.push(key); else grants.set(payload.grantId, [key]);
      }
    }
    async find(id) { return entries.get(this.key(id)); }
    async findByUid(uid) { return this.find(uids.get(uid)); }
    async findByUserCode(code) { return this.find(codes.get(code)); }
    async destroy(id) { entries.delete(this.key(id)); }
    async revokeByGrantId(id) { for (const key of grants.get(id) ?? []) entries.delete(key); grants.delete(id); }
    async consume(id) { const found = entries.get(this.key(id)); if (found) found.consumed = Math.floor(Date.now() / 1000); }
  };
}

function sqliteAdapter(path) {
  const database = new DatabaseSync(path);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  database.exec(`
    CREATE TABLE IF NOT EXISTS entry (
      kind TEXT NOT NULL, id TEXT NOT NULL, grant_id TEXT, uid TEXT, user_code TEXT,
      payload TEXT NOT NULL, expires_at INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS entry_grant ON entry (grant_id) WHERE grant_id IS NOT NULL;
    CREATE INDEX IF NOT EXISTS entry_uid ON entry (kind, uid) WHERE uid IS NOT NULL;
    CREATE INDEX IF NOT EXISTS entry_code ON entry (kind, user_code) WHERE user_code IS NOT NULL`);
  const columns = "SELECT payload FROM entry WHERE (expires_at IS NULL OR expires_at > ?) AND kind = ? AND";
  const sql = {
    upsert: database.prepare("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)"),
    id: database.prepare(`${columns} id = ?`),
    uid: database.prepare(`${columns} uid = ?`),
    userCode: database.prepare(`${columns} user_code = ?`),
    destroy: database.prepare("DELETE FROM entry WHERE kind = ? AND id = ?"),
    revoke: database.prepare("DELETE FROM entry WHERE grant_id = ?"),
    consume: database.prepare(
      "UPDATE entry SET payload = json_set(payload, '$.consumed', unixepoch()) WHERE kind = ? AND id = ?"),
  };
  const now = () => Math.floor(Date.now() / 1000);
  const one = (statement, ...values) => {
    const row = statement.get(now(), ...values);
    return row && JSON.parse(row.payload);
  };
  return class {
    constructor(kind) { this.kind = kind; }
    async upsert(id, payload, expiresIn) {
      const { grantId = null, uid = null, userCode = null } = payload;
      const end = expiresIn ? now() + expiresIn : null;
      sql.upsert.run(this.kind, id, grantId, uid, userCode, JSON.stringify(payload), end);
    }
    async find(id) { return one(sql.id, this.kind, id); }
    async findByUid(uid) { return one(sql.uid, this.kind, uid); }
    async findByUserCode(code) { return one(sql.userCode, this.kind, code); }
    async destroy(id) { sql.destroy.run(this.kind, id); }
    async revokeByGrantId(id) { sql.revoke.run(id); }
    async consume(id) { sql.consume.run(this.kind, id); }
  };
}

const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    adapter: mode === "sqlite" ? sqliteAdapter(file) : memoryAdapter(),
    clients: [{
      client_id: "bench",
      client_secret: "bench-secret-bench-secret-bench-secret",
      grant_types: ["client_credentials", "authorization_code", "refresh_token"],
      redirect_uris: ["https://app.example/cb"],
      response_types: ["code"],
      token_endpoint_auth_method: "client_secret_basic",
      id_token_signed_response_alg: "ES256",
    }],
    jwks: { keys: [{ ...key, alg: "ES256", use: "sig", kid: "bench" }] },
    scopes: ["openid", "offline_access", "read", "write"],
    ttl: { ClientCredentials: SECONDS, AccessToken: SECONDS, IdToken: SECONDS, AuthorizationCode: 60, RefreshToken: 86400,
           Session: 86400, Grant: 86400, Interaction: 600 },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/bench/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    issueRefreshToken: async () => true,
    rotateRefreshToken: true,
    cookies: { keys: ["bench-cookie-key"] },
    loadExistingGrant: async (ctx) => {
      const known = ctx.oidc.result?.consent?.grantId ?? ctx.oidc.session.grantIdFor(ctx.oidc.client.clientId);
      if (known) return ctx.oidc.provider.Grant.find(known);
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid offline_access");
      grant.addResourceScope(RESOURCE, "read write");
      await grant.save();
      return grant;
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        getResourceServerInfo: () => ({
          scope: "read write",
          audience: RESOURCE,
          accessTokenTTL: SECONDS,
          accessTokenFormat: mode === "jwt" ? "jwt" : "opaque",
          ...(mode === "jwt" && { jwt: { sign: { alg: "ES256" } } }),
        }),
      },
    },
  });
  const answer = provider.callback();
  let people = 0;
  server.on("request", async (req, res) => {
    if (!req.url.startsWith("/bench/interaction/")) return answer(req, res);
    people += 1;
    await provider.interactionFinished(req, res, { login: { accountId: `person${people}` } });
  });
  console.log(JSON.stringify({ port }));
});
process.on("SIGTERM", () => process.exit(0));
