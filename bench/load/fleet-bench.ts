// What a fleet on this machine does: requests direct to a worker and through the gateway, cold starts, lag, memory.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeLtxHeader, ltxHeaderBytes } from '../../src/replicate/ltx/header.ts'
import { Fleet } from '../../test/support/fleet.ts'
import { quantile } from '../quantile.ts'
import type { Figure } from '../report.ts'
import { encodeRequest, load } from './http-load.ts'
import { residentBytes, type Target, type TenantAnswer, workerPid, workerTarget } from './worker-target.ts'

export interface BenchSize {
  readonly rows: number
  readonly durationMs: number
  readonly coldTenants: number
  readonly tenantCounts: readonly number[]
  /** How long the last tenants may take to be at rest, ms. */
  readonly restMs: number
}

/** Long enough to open a thousand tenants before the first of them rests. */
const idleMs = 20_000
/** Between two looks of the pool at who rests, with a margin. */
const sweepMs = 10_000

export const fullSize: BenchSize = {
  rows: 10_000,
  durationMs: 4_000,
  coldTenants: 20,
  tenantCounts: [1, 100, 1_000],
  restMs: idleMs + sweepMs,
}
export const smokeSize: BenchSize = { rows: 50, durationMs: 300, coldTenants: 1, tenantCounts: [1], restMs: 0 }

export const superuser = { email: 'bench@example.com', password: 'a-long-bench-password' }
const connections = 16

export async function createTenant(fleet: Fleet, slug: string): Promise<TenantAnswer> {
  const response = await fetch(`${fleet.url}/api/cp/tenants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${fleet.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ id: slug, superuser }),
  })
  if (!response.ok) throw new Error(`${slug}: ${response.status} ${await response.text()}`)
  return (await response.json()) as TenantAnswer
}

/** Runs `body` with a fresh fleet of one worker, and deletes it. */
export async function withFleet<T>(
  flags: readonly string[],
  body: (fleet: Fleet, dir: string) => Promise<T>,
): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-bench-'))
  const fleet = await Fleet.start({ dir, flags: ['--workers=1', ...flags] })
  try {
    return await body(fleet, dir)
  } finally {
    await fleet.killTree()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function seed(
  fleet: Fleet,
  slug: string,
  rows: number,
): Promise<{ readonly ids: string[]; readonly token: string }> {
  const client = fleet.sdk(slug)
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  await client.collections.create({
    name: 'posts',
    type: 'base',
    listRule: '',
    viewRule: '',
    createRule: '',
    updateRule: '',
    fields: [
      { name: 'title', type: 'text' },
      { name: 'n', type: 'number' },
      { name: 'category', type: 'select', maxSelect: 1, values: ['a', 'b', 'c', 'd'] },
    ],
    indexes: ['CREATE INDEX idx_posts_category ON posts (category)'],
  })
  const ids: string[] = []
  for (let from = 0; from < rows; from += 32)
    await Promise.all(
      Array.from({ length: Math.min(32, rows - from) }, async (_, i) => {
        const n = from + i
        const made = await client
          .collection('posts')
          .create({ title: `post ${n} ${'x'.repeat(60)}`, n, category: 'abcd'[n % 4] })
        ids.push(made.id)
      }),
    )
  return { ids, token: client.authStore.token }
}

/** Requests a second and latencies, direct to the worker and through the gateway. */
export async function benchHttp(size: BenchSize): Promise<Figure[]> {
  return withFleet([], async (fleet, dir) => {
    const slug = 'bench'
    const tenant = await createTenant(fleet, slug)
    const { ids } = await seed(fleet, slug, size.rows)
    const base = '/api/collections/posts/records'
    const body = { title: 'written', n: 1, category: 'a' }
    const scenarios: Record<string, { method: string; path: string; body?: unknown }[]> = {
      view: ids.slice(0, 500).map((id) => ({ method: 'GET', path: `${base}/${id}` })),
      'list of 30, skipTotal': [{ method: 'GET', path: `${base}?perPage=30&skipTotal=1` }],
      'list of 30 with total': [{ method: 'GET', path: `${base}?perPage=30` }],
      'filtered list (indexed)': [{ method: 'GET', path: `${base}?perPage=30&skipTotal=1&filter=category%3D%22b%22` }],
      create: [{ method: 'POST', path: base, body }],
      update: ids.slice(0, 500).map((id) => ({ method: 'PATCH', path: `${base}/${id}`, body: { title: 'changed' } })),
    }
    const figures: Figure[] = []
    const targets: Readonly<Record<'direct' | 'gateway', Target>> = {
      direct: await workerTarget(fleet, dir, slug, tenant),
      gateway: { host: '127.0.0.1', port: fleet.port, headers: {}, name: `${slug}.localhost:${fleet.port}` },
    }
    const run = (target: Target, requests: { method: string; path: string; body?: unknown }[], rate: number) =>
      load({
        host: target.host,
        port: target.port,
        connections,
        durationMs: size.durationMs,
        rate,
        requests: requests.map((each) => encodeRequest({ ...each, host: target.name, headers: target.headers })),
      })
    for (const [name, requests] of Object.entries(scenarios)) {
      for (const [via, target] of Object.entries(targets)) {
        const report = await run(target, requests, 0)
        const bad = report.requests - (report.statuses['200'] ?? 0)
        if (report.errors > 0 || bad > 0) throw new Error(`${name} ${via}: ${JSON.stringify(report)}`)
        const note = `p50 ${report.p50Ms.toFixed(2)} ms, p99 ${report.p99Ms.toFixed(2)} ms`
        figures.push({ name: `${name}, ${via}`, value: report.requestsPerSecond, unit: 'requests/s', note })
      }
    }
    const saturation = figures.find((each) => each.name === 'view, gateway')!.value
    const direct = await run(targets.direct, scenarios['view']!, saturation / 5)
    const through = await run(targets.gateway, scenarios['view']!, saturation / 5)
    figures.push({
      name: 'gateway adds at a fifth of saturation, p50',
      value: through.p50Ms - direct.p50Ms,
      unit: 'ms',
    })
    return [...figures, ...lagFigures(dir, tenant.id)]
  })
}

/**
 * From a slot's own time (when its commits were captured from the WAL) to its file being there, over all slots that the
 * load above made; the delay before the capture, at most 400 ms by the shipper's timer, comes on top.
 */
function lagFigures(dir: string, tenantId: string): Figure[] {
  const folder = join(dir, 'objects/t', tenantId, 'data.db/ltx/0')
  const lags = readdirSync(folder).map((name) => {
    const path = join(folder, name)
    const header = decodeLtxHeader(new Uint8Array(readFileSync(path).subarray(0, ltxHeaderBytes)))
    return statSync(path).ctimeMs - header.timestampMs
  })
  const note = `${lags.length} slots, capture to object`
  return [
    { name: 'replication, capture to object, p50', value: quantile(lags, 0.5), unit: 'ms', note },
    { name: 'replication, capture to object, p99', value: quantile(lags, 0.99), unit: 'ms', note },
  ]
}

/** First requests after the loss of every local file: restored from the object store before they are answered. */
export async function benchColdStart(size: BenchSize): Promise<Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-bench-cold-'))
  let fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
  try {
    const slugs = Array.from({ length: size.coldTenants }, (_, i) => `cold-${i}`)
    for (const slug of slugs) {
      await createTenant(fleet, slug)
      const client = fleet.sdk(slug)
      await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
      await client.collections.create({
        name: 'blobs',
        type: 'base',
        listRule: '',
        viewRule: '',
        fields: [{ name: 'v', type: 'editor' }],
      })
      const v = Buffer.from(crypto.getRandomValues(new Uint8Array(48_000))).toString('base64')
      for (let i = 0; i < 12; i++) await client.collection('blobs').create({ v: v + i })
    }
    await fleet.stop()
    rmSync(join(dir, 'node'), { recursive: true, force: true })
    fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
    const times: number[] = []
    for (const slug of slugs) {
      const startedAtMs = performance.now()
      const response = await fetch(`${fleet.tenantUrl(slug)}/api/collections/blobs/records?perPage=1&fields=id`)
      await response.text()
      if (response.status !== 200) throw new Error(`${slug} answered ${response.status}`)
      times.push(performance.now() - startedAtMs)
    }
    const note = `${times.length} tenants of about 1 MB, directory store`
    return [
      { name: 'cold start, p50', value: quantile(times, 0.5), unit: 'ms', note },
      { name: 'cold start, p99', value: quantile(times, 0.99), unit: 'ms', note },
    ]
  } finally {
    await fleet.killTree()
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Memory and descriptors of the worker, open and after all tenants were closed for rest. */
export async function benchTenants(size: BenchSize): Promise<Figure[]> {
  return withFleet([`--idle-ms=${idleMs}`, '--max-tenants=2000'], async (fleet) => {
    const measure = () => ({
      rssBytes: residentBytes(workerPid(fleet)),
      descriptors: readdirSync(`/proc/${workerPid(fleet)}/fd`).length,
    })
    const empty = measure()
    const figures: Figure[] = []
    let made = 0
    for (const count of size.tenantCounts) {
      for (; made < count; made += 8)
        await Promise.all(
          Array.from({ length: Math.min(8, count - made) }, (_, i) => createTenant(fleet, `t-${made + i}`)),
        )
      made = count
      const open = async () => {
        for (let i = 0; i < count; i += 16)
          await Promise.all(
            Array.from(
              { length: Math.min(16, count - i) },
              async (_, j) => await (await fetch(`${fleet.tenantUrl(`t-${i + j}`)}/api/health`)).text(),
            ),
          )
      }
      await open()
      const now = measure()
      figures.push(
        {
          name: `memory per open tenant at ${count}`,
          value: (now.rssBytes - empty.rssBytes) / count / 1e6,
          unit: 'MB',
        },
        { name: `descriptors of the worker, up to ${count} open`, value: now.descriptors, unit: 'descriptors' },
      )
      if (count !== size.tenantCounts.at(-1)) continue
      await Bun.sleep(size.restMs)
      const rested = measure()
      figures.push(
        { name: `memory of the worker with ${count} at rest`, value: rested.rssBytes / 1e6, unit: 'MB' },
        {
          name: `descriptors of the worker with ${count} at rest`,
          value: rested.descriptors,
          unit: 'descriptors',
          note: `${empty.descriptors} without tenants`,
        },
      )
    }
    return figures
  })
}
