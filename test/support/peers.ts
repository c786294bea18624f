// External programs that some tests want beside ours. Tests install nothing: `.ci/run` puts the peers into a cache
// folder outside the repository; where one is missing its tests are skipped with the reason in their name, unless
// POCKETFLEET_REQUIRE_PEERS=1, which turns every such skip into a failure.

import { test } from 'bun:test'
import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

const folder = process.env['POCKETFLEET_PEERS'] ?? join(homedir(), '.cache/pocketfleet/bin')

const locations = {
  /** S3 server, `go install github.com/minio/minio`. */
  minio: [join(folder, 'minio')],
  /** Official restore tool, `go install github.com/benbjohnson/litestream/cmd/litestream`. */
  litestream: [join(folder, 'litestream')],
  /** LTX inspector, `go install github.com/superfly/ltx/cmd/ltx`. */
  ltx: [join(folder, 'ltx')],
  /** PocketBase itself, `go install github.com/pocketbase/pocketbase/examples/base`. */
  pocketbase: [join(folder, 'base')],
  /** ACME authority for tests, `go install github.com/letsencrypt/pebble/v2/cmd/pebble`. */
  pebble: [join(folder, 'pebble')],
  /** The browser that tests drive: a Debian package, or what `POCKETFLEET_CHROMIUM` names. */
  chromium: [
    ...(process.env['POCKETFLEET_CHROMIUM'] ? [process.env['POCKETFLEET_CHROMIUM']] : []),
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
  ],
  /** The recorded PocketBase cases: a file of the folder that holds `run.ts` and `fixture/`. */
  conformance: [
    ...(process.env['POCKETFLEET_CONFORMANCE'] ? [join(process.env['POCKETFLEET_CONFORMANCE'], 'run.ts')] : []),
    join(import.meta.dir, '../../../shared/conformance/run.ts'),
  ],
} as const satisfies Record<string, readonly string[]>

export type Peer = keyof typeof locations

/** The path of a peer, or null where it is not installed. */
export function peer(name: Peer): string | null {
  return locations[name].find((path) => existsSync(path)) ?? null
}

/** Versions of the programs that `.ci/peers` has installed: its stamp files tell. */
export function peerVersions(): Record<string, string> {
  const names = existsSync(folder) ? readdirSync(folder) : []
  return Object.fromEntries(
    names.flatMap((name) => [...name.matchAll(/^\.([a-z]+)-(v.+)$/g)].map(([, a, b]) => [a, b])),
  )
}

/**
 * `test`, or a named skip when one of `names` is missing.
 *
 * @param names what the test cannot do without; their paths are passed on in the same order.
 */
export function testWithPeers<const Names extends readonly Peer[]>(
  names: Names,
  title: string,
  body: (paths: { readonly [Name in Names[number]]: string }) => void | Promise<void>,
  timeoutMs = 180_000,
): void {
  const missing = names.filter((name) => peer(name) === null)
  if (missing.length === 0) {
    const paths = Object.fromEntries(names.map((name) => [name, peer(name)])) as { [Name in Names[number]]: string }
    test(title, () => body(paths), timeoutMs)
  } else if (process.env['POCKETFLEET_REQUIRE_PEERS'] === '1') {
    test(title, () => {
      throw new Error(`missing peer: ${missing.join(', ')}`)
    })
  } else {
    test.skip(`${title} [skipped: missing peer ${missing.join(', ')}]`, () => {})
  }
}
