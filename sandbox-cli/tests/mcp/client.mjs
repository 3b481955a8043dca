// What users of the official TypeScript SDK do with `sandbox mcp`.
//
// client.mjs stdio SANDBOX   starts the server itself
// client.mjs http URL [TOKEN]   talks to one that runs

import assert from "node:assert/strict";
import { createRequire } from "node:module";

// From where scripts/test-tools has installed it.
const require = createRequire(process.env.SANDBOX_TEST_MCP_TS + "/");
const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");

const [kind, where, token] = process.argv.slice(2);
const transport = kind === "stdio"
  ? new StdioClientTransport({ command: where, args: ["mcp"] })
  : new StreamableHTTPClientTransport(new URL(where), {
      requestInit: token ? { headers: { Authorization: `Bearer ${token}` } } : {},
    });
const client = new Client({ name: "test", version: "1" });
const run = (code, options, language = "python") =>
  client.callTool({ name: "run_code", arguments: { language, code } }, options);
const texts = (result) =>
  result.content.filter((block) => block.type === "text").map((block) => block.text).join("\n");

await client.connect(transport);
const { tools } = await client.listTools();
assert.deepEqual(tools.map((tool) => tool.name).sort(), ["list_files", "read_file", "run_code"]);
console.log("ok tools");

let result = await run("console.log(6 * 7)", undefined, "node");
assert.ok(!result.isError && texts(result).includes("stdout:\n42"), JSON.stringify(result));
result = await run("1 / 0");
assert.ok(result.isError && texts(result).includes("ZeroDivisionError"), JSON.stringify(result));
result = await client.callTool({ name: "run_code", arguments: { source: "1" } });
assert.ok(result.isError && texts(result).includes("unknown field"), JSON.stringify(result));
await assert.rejects(client.callTool({ name: "no_such_tool", arguments: {} }), /no tool/);
console.log("ok run");

result = await run("open('data.csv', 'w').write('a,b')");
const link = result.content.find((block) => block.type === "resource_link");
assert.equal(link.name, "data.csv");
const { resources } = await client.listResources();
assert.deepEqual(resources.map((resource) => resource.name), ["data.csv"]);
const { contents } = await client.readResource({ uri: link.uri });
assert.deepEqual([contents[0].text, contents[0].mimeType], ["a,b", "text/csv"]);
console.log("ok files");

const seen = [];
await run("import time\nfor n in range(3):\n    print(n, flush=True)\n    time.sleep(.1)", {
  onprogress: ({ message }) => seen.push(message),
});
assert.equal(seen.join(""), "0\n1\n2\n");
console.log("ok progress");

const abort = new AbortController();
await assert.rejects(
  run("print('up', flush=True)\nwhile True: pass", {
    signal: abort.signal,
    onprogress: () => abort.abort(),
  }),
);
assert.ok(texts(await run("print('still there')")).includes("still there"));
console.log("ok cancel");

await client.close();
console.log("done");
