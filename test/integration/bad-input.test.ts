// Goal: bad input of every kind ends in a clear refusal, and nothing is lost or half-written.
// Method: one real fleet on one directory, asked through its gateway and straight at a worker's port; then its disk and
// its object store are damaged while it is down.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import {
  type RouteHeader,
  routeHeaderKeys,
  routeHeaderName,
  signRouteHeader,
} from '../../src/ipc/messages/route-header.ts'
import type { Epoch, TenantId } from '../../src/lib/brand.ts'
import { Fleet, runCli } from '../support/fleet.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const superuser = { email: 'root@example.com', password: 'a-long-test-password' }
const nesting = '['.repeat(5_000_000) + ']'.repeat(5_000_000)

const dir = mkdtempSync(join(tmpdir(), 'pocketfleet-bad-input-'))
let fleet: Fleet
let adminToken: string
/** Sent with each request that is to be refused: the refusal is then not for want of a right. */
let rootToken: string
const ids: Record<string, TenantId> = {}

const signIn = async (slug: string) => {
  const sdk = fleet.sdk(slug)
  await sdk.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  return sdk
}
const titles = async (slug: string) => {
  const notes = await (await signIn(slug)).collection('notes').getFullList({ sort: 'title' })
  return notes.map((each) => each['title'] as string)
}
const ask = async (path: string, init: RequestInit = {}, base = fleet.url) => {
  const response = await fetch(base + path, { signal: AbortSignal.timeout(60_000), ...init })
  const text = await response.text()
  return { status: response.status, text, retryAfter: response.headers.get('retry-after') }
}
const admin = () => ({ authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' })
const tenantSlugs = async () => {
  const { items } = JSON.parse((await ask('/api/cp/tenants', { headers: admin() })).text) as {
    items: { slug: string }[]
  }
  return items.map(({ slug }) => slug).sort()
}

beforeAll(async () => {
  fleet = await Fleet.start({ dir })
  adminToken = fleet.adminToken!
  for (const slug of ['acme', 'other']) {
    const made = await fleet.cli([
      ...['tenant', 'create', slug, '--json'],
      ...['--superuser', superuser.email, '--superuser-password', superuser.password],
    ])
    ids[slug] = (JSON.parse(made) as { id: TenantId }).id
    const sdk = await signIn(slug)
    await sdk.collections.create({
      name: 'notes',
      type: 'base',
      fields: [{ name: 'title', type: 'text', required: true }],
    })
    await sdk.collection('notes').create({ title: 'first' })
    if (slug === 'acme') rootToken = sdk.authStore.token
  }
}, 180_000)

afterAll(async () => {
  await fleet?.killTree()
  rmSync(dir, { recursive: true, force: true })
})

describe('through the gateway', () => {
  const create = '/api/collections/notes/records'
  const bodies: readonly (readonly [what: string, type: string, body: string])[] = [
    ['malformed JSON', 'application/json', '{"title":"half'],
    ['a wrong content type', 'text/plain', '{"title":"half"}'],
    ['10 MB of nesting', 'application/json', nesting],
  ]
  for (const [what, type, body] of bodies)
    test(`${what} is 400 and writes nothing`, async () => {
      const headers = { 'x-tenant-id': 'acme', authorization: rootToken, 'content-type': type }
      const { status, text } = await ask(create, { method: 'POST', headers, body })
      expect([status, JSON.parse(text)]).toEqual([400, expect.objectContaining({ status: 400 })])
      expect(await titles('acme')).toEqual(['first'])
    })

  test('the control plane refuses malformed JSON and 10 MB of nesting', async () => {
    const post = (body: string) => ask('/api/cp/tenants', { method: 'POST', headers: admin(), body })
    expect((await post('{"id":')).status).toBe(400)
    expect((await post(nesting)).status).toBe(413)
    expect(await tenantSlugs()).toEqual(['acme', 'other'])
  })

  test('an unknown tenant is 404', async () => {
    expect((await ask('/api/health', { headers: { 'x-tenant-id': 'nobody' } })).status).toBe(404)
    expect((await ask('/api/health', { headers: { host: `nobody.localhost:${fleet.port}` } })).status).toBe(404)
  })

  test('missing and forged tokens are 401, and so is the token of another tenant', async () => {
    const forged = `${rootToken.slice(0, -4)}AAAA`
    for (const authorization of ['', 'forged', forged])
      expect((await ask('/api/collections', { headers: { 'x-tenant-id': 'acme', authorization } })).status).toBe(401)
    const headers = { 'x-tenant-id': 'other', authorization: rootToken }
    expect((await ask('/api/collections', { headers })).status).toBe(401)
    for (const authorization of ['', 'Bearer admin_forged', `Bearer ${adminToken}x`, rootToken])
      expect((await ask('/api/cp/tenants', { headers: { authorization } })).status).toBe(401)
  })

  test('a tenant name with ../ is refused wherever it stands', async () => {
    const body = JSON.stringify({ id: '../evil', superuser })
    expect((await ask('/api/cp/tenants', { method: 'POST', headers: admin(), body })).status).toBe(400)
    expect((await ask('/api/health', { headers: { 'x-tenant-id': '../acme' } })).status).toBe(400)
    expect((await ask('/api/cp/tenants/..%2Facme', { headers: admin() })).status).toBe(404)
    expect(await tenantSlugs()).toEqual(['acme', 'other'])
    expect(readdirSync(join(dir, 'objects/t')).sort()).toEqual(Object.values(ids).sort())
  })

  test('a Host with a port and odd case is the same tenant', async () => {
    const headers = { host: `AcMe.LOCALHOST:${fleet.port}`, authorization: rootToken }
    expect((await ask('/api/collections/notes/records', { headers })).text).toContain('"first"')
  })
})

test("straight to a worker's port: only a fresh header of the fleet's own is let in", async () => {
  const nodes = JSON.parse((await ask('/api/cp/nodes', { headers: admin() })).text)
  const { placement } = JSON.parse((await ask(`/api/cp/tenants/${ids['acme']}`, { headers: admin() })).text)
  const url = nodes.items[0].workers.find((each: { index: number }) => each.index === placement.worker).url as string
  const secret = readFileSync(join(dir, 'cp/cluster-secret'), 'utf8').trim()
  const signed = (with_: string, expiresAtMs: number) => {
    const header: RouteHeader = {
      ...{ tenantId: ids['acme']!, epoch: placement.epoch as Epoch, clientAddress: '127.0.0.1', scheme: 'http' },
      ...{ host: `acme.localhost:${fleet.port}`, expiresAtMs },
    }
    return signRouteHeader(routeHeaderKeys(clusterSecrets(with_)), header)
  }
  const look = async (route: string | null) => {
    const headers = { authorization: rootToken, ...(route !== null && { [routeHeaderName]: route }) }
    return await ask('/api/collections/notes/records', { headers }, url)
  }
  const good = await look(signed(secret, Date.now() + 30_000))
  expect([good.status, good.text]).toEqual([200, expect.stringContaining('"first"')])
  for (const route of [
    null,
    'v1.e30.AAAA',
    signed('x'.repeat(40), Date.now() + 30_000),
    signed(secret, Date.now() - 1),
  ]) {
    const { status, text } = await look(route)
    expect(status).toBeOneOf([401, 403, 421])
    expect(text).not.toContain('first')
  }
})

test('a corrupted WAL on the local disk loses no write that was shipped', async () => {
  const sdk = await signIn('acme')
  // The last one waits for the store, which then has those before it too.
  for (let i = 0; i < 20; i++)
    await sdk.collection('notes').create({ title: `wal ${i}` }, { headers: { 'x-ack': i < 19 ? 'async' : 'sync' } })
  const before = await titles('acme')
  expect(before).toHaveLength(21)
  await fleet.killTree()
  const path = join(dir, 'node/tenants', ids['acme']!, 'data.db-wal')
  const bytes = readFileSync(path)
  expect(bytes.length).toBeGreaterThan(4_096)
  for (let at = 40; at < bytes.length; at += 512) bytes[at]! ^= 0xff
  writeFileSync(path, bytes)
  fleet = await Fleet.start({ dir })
  expect(await titles('acme')).toEqual(before)
  await (await signIn('acme')).collection('notes').create({ title: 'zz after' })
  expect(await titles('acme')).toEqual([...before, 'zz after'])
}, 180_000)

test('truncated LTX objects: that tenant is 503, others work, nothing is deleted', async () => {
  const before = await titles('acme')
  expect(await fleet.stop()).toBe(0) // ships what it holds
  // Closing left one image in place of the slots. It and the slot that all others stand on are cut: no way leads around both.
  const images = join(dir, 'objects/t', ids['acme']!, 'data.db/ltx/9')
  const slots = join(dir, 'objects/t', ids['acme']!, 'data.db/ltx/0')
  const names = readdirSync(slots).sort()
  const cut = [join(slots, names[0]!), ...readdirSync(images).map((name) => join(images, name))].map((path) => {
    const whole = readFileSync(path)
    truncateSync(path, whole.length >> 1)
    return { path, whole }
  })
  expect(cut.length).toBeGreaterThan(1)
  rmSync(join(dir, 'node'), { recursive: true })
  fleet = await Fleet.start({ dir })
  const headers = { 'x-tenant-id': 'acme', authorization: rootToken }
  const { status, text } = await ask('/api/collections/notes/records', { headers })
  expect([status, JSON.parse(text)]).toEqual([503, expect.objectContaining({ status: 503 })])
  expect(await titles('other')).toEqual(['first'])
  // What an attempt to open adds is the empty slot by which a takeover seals the history before it reads it.
  const added = readdirSync(slots).filter((name) => !names.includes(name))
  for (const name of added) expect(statSync(join(slots, name)).size).toBeLessThan(200)
  expect(readdirSync(slots)).toEqual(expect.arrayContaining(names))
  for (const { path, whole } of cut) expect(statSync(path).size).toBe(whole.length >> 1)
  // The damage mended, everything is there again.
  await fleet.stop()
  for (const { path, whole } of cut) writeFileSync(path, whole)
  fleet = await Fleet.start({ dir })
  expect(await titles('acme')).toEqual(before)
}, 180_000)

describe('bad flags end with one line', () => {
  const cases: readonly (readonly [what: string, flags: () => string[], line: RegExp])[] = [
    ['an unknown flag', () => ['--bogus=1'], /ended with 2: pocketfleet: unknown option '--bogus'\n$/],
    ['a directory that cannot be', () => ['--dir=/proc/nope'], /ended with 2: pocketfleet: --dir: .*\n$/],
  ]
  for (const [what, flags, line] of cases)
    test(what, () => expect(runCli('source', ['serve', '--http=127.0.0.1:0', ...flags()])).rejects.toThrow(line))
})
