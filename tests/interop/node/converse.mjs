// How a program here talks to the test that started it: one JSON document a line, both ways.

import { createInterface } from 'node:readline'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

async function ask(what) {
  console.log(JSON.stringify(what))
  return JSON.parse((await lines.next()).value)
}

// Send the person's browser to an address and return where it was sent in the end.
export async function visit(address) {
  return new URL(await ask({ visit: String(address) }))
}

// Have the person walk the server's own pages, without an end outside of them.
export async function walk(address) {
  await ask({ walk: String(address) })
}

// Run the scenario that the test names, and tell its result or how it failed.
export async function run(scenarios) {
  const { scenario, ...given } = await ask({ ready: Object.keys(scenarios) })
  try {
    console.log(JSON.stringify({ result: await scenarios[scenario](given) }))
  } catch (error) {
    const { name, message, code, error: protocol, error_description: description, cause } = error
    console.log(JSON.stringify({ failed: { name, message, code, protocol, description, cause: String(cause?.message ?? cause) } }))
  }
  process.exit(0)
}
