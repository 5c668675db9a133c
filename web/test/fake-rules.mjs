/** The HTTP API of alerts, as far as the page uses it. */
export class FakeRules {
  /** The rules that were made, by name. */
  rules = new Map();
  alerts = [];
  token;

  constructor({ token = null, rules = [] } = {}) {
    this.token = token;
    for (const rule of rules) this.rules.set(rule.name, { rule, epoch: 1, source: "file" });
  }

  async serve(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const [status, body] = this.#answer(request, Buffer.concat(chunks).toString());
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }

  #answer({ method, url, headers }, body) {
    const [path] = url.split("?");
    if (this.token !== null && headers.authorization !== `Bearer ${this.token}`) return [401, error("token_needed", "this needs the token")];
    if (path === "/api/v1/alerts") return [200, { alerts: this.alerts }];
    if (path === "/api/v1/rules" && method === "GET") return [200, { rules: [...this.rules.values()] }];
    if (path === "/api/v1/rules" && method === "POST") {
      const rule = JSON.parse(body);
      if (headers["content-type"] !== "application/json") return [415, error("wrong_type", "the body is JSON")];
      if (this.rules.has(rule.name)) return [409, error("rule_exists", "there is a rule of this name")];
      if (rule.symbols[0] === "NOPE") return [400, error("bad_rule", "symbols: write BTC-USD")];
      this.rules.set(rule.name, { rule, epoch: Date.now(), source: "http" });
      return [201, this.rules.get(rule.name)];
    }
    const name = path.slice("/api/v1/rules/".length);
    const stored = this.rules.get(name);
    if (stored === undefined) return [404, error("unknown_rule", "there is no such rule")];
    if (stored.source === "file") return [409, error("rule_of_file", "change the file")];
    this.rules.delete(name);
    return [200, stored];
  }
}

function error(code, message) {
  return { error: { code, message } };
}
