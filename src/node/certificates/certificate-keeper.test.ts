// Goal: every host has a valid certificate as long as the authority gives one, and the authority is asked as seldom as it
// can be. Method: a simulated clock and a double of the authority; the cache in a directory.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../../test/support/wait.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger } from '../../lib/obs/log.ts'
import { seededRng } from '../../lib/rng.ts'
import type { CertificateIssuer } from './acme-issuer.ts'
import { type Certificate, CertificateCache, parseCertificate } from './certificate-cache.ts'
import { CertificateKeeper } from './certificate-keeper.ts'

const dayMs = 86_400_000
const tls = join(import.meta.dir, '../../../test/support/tls')
const key = readFileSync(join(tls, 'fleet.test.key'), 'utf8')
const chain = readFileSync(join(tls, 'fleet.test.crt'), 'utf8')

let dir: string
let clock: SimClock
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'pf-certificates-'))
  clock = new SimClock()
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

function open(hosts: readonly string[], answer: (host: string, call: number) => number | Error | Promise<never>) {
  const issued: { host: string; atMs: number }[] = []
  const changes: string[][] = []
  const issuer: CertificateIssuer = {
    async issue(host) {
      issued.push({ host, atMs: clock.now() })
      const days = await answer(host, issued.length)
      if (days instanceof Error) throw days
      return { host, key, chain, validFromMs: clock.now(), expiresAtMs: clock.now() + days * dayMs }
    },
  }
  const cache = { read: async () => null, write: async () => {} }
  const onChange = (certificates: readonly Certificate[]) => {
    changes.push(certificates.map((each) => each.host))
  }
  const rng = seededRng(1)
  const log = silentLogger
  const keeper = new CertificateKeeper({ hosts, cache, issuer, challenges: new Map(), clock, rng, log, onChange })
  return { keeper, issued, changes }
}

/** Moves the clock in steps, between which files can be written. */
async function pass(ms: number, stepMs: number) {
  for (let passed = 0; passed < ms; passed += stepMs) {
    await clock.advance(stepMs)
    await Bun.sleep(0)
  }
}

test('certificates of ninety days are renewed after sixty, short ones in their last third', async () => {
  const { keeper, issued } = open(['long.test', 'short.test'], (host) => (host === 'long.test' ? 90 : 6))
  await keeper.start()
  await until('both certificates', () => issued.length === 2)
  await pass(61 * dayMs, dayMs / 4)
  const days = (host: string) =>
    issued.filter((each) => each.host === host).map((each) => (each.atMs - issued[0]!.atMs) / dayMs)
  expect(days('long.test').map(Math.round)).toEqual([0, 60])
  expect(days('short.test').slice(0, 4).map(Math.round)).toEqual([0, 4, 8, 12])
  keeper.close()
})

test('failures are few an hour, and one host does not keep another waiting', async () => {
  const { keeper, issued, changes } = open(['bad.test', 'good.test'], (host) =>
    host === 'bad.test' ? new Error('no such name') : 90,
  )
  await keeper.start()
  await until('the good one', () => changes.length === 1)
  expect(changes).toEqual([['good.test']])
  await pass(dayMs, 30_000)
  const tries = issued.filter((each) => each.host === 'bad.test').map((each) => each.atMs)
  for (const from of tries)
    expect(tries.filter((at) => at >= from && at < from + 3_600_000).length).toBeLessThanOrEqual(5)
  expect(tries.length).toBeGreaterThan(5)
  expect(tries.length).toBeLessThan(12)
  expect(issued.filter((each) => each.host === 'good.test')).toHaveLength(1)
  keeper.close()
})

test('an authority that does not answer for one host keeps no other one waiting', async () => {
  const { keeper, issued, changes } = open(['stuck.test', 'good.test'], (host) =>
    host === 'stuck.test' ? new Promise<never>(() => {}) : 90,
  )
  await keeper.start()
  await pass(3_600_000, 60_000)
  expect(changes).toEqual([['good.test']])
  const tries = issued.filter((each) => each.host === 'stuck.test').length
  expect(tries).toBeGreaterThan(1)
  expect(tries).toBeLessThanOrEqual(5)
  keeper.close()
  await pass(dayMs, dayMs / 4)
  expect(clock.pendingTimers).toBe(0)
})

test('one that is over when it comes counts as a failure', async () => {
  const { keeper, issued, changes } = open(['old.test'], () => 0)
  await keeper.start()
  await pass(3_600_000, 60_000)
  expect(issued.length).toBeLessThanOrEqual(5)
  expect(changes).toEqual([])
  keeper.close()
})

test('after close nothing is asked for', async () => {
  const { keeper, issued } = open(['one.test'], () => new Error('not now'))
  await keeper.start()
  await until('a try', () => issued.length === 1)
  keeper.close()
  await pass(dayMs, dayMs / 4)
  expect(issued).toHaveLength(1)
  expect(clock.pendingTimers).toBe(0)
})

test('what is cached serves at once, is not asked for, and is nobody else’s to read', async () => {
  const cache = new CertificateCache(join(dir, 'cache'), silentLogger)
  expect(await cache.read('app.fleet.test')).toBeNull()
  const certificate = parseCertificate('app.fleet.test', key + chain)
  await cache.write(certificate)
  await cache.writeAccountKey(key)
  expect(await cache.read('app.fleet.test')).toEqual(certificate)
  expect(await cache.readAccountKey()).toBe(key.trim())
  for (const name of readdirSync(join(dir, 'cache')))
    expect(statSync(join(dir, 'cache', name)).mode & 0o777).toBe(0o600)
  expect(readdirSync(join(dir, 'cache')).toSorted()).toEqual(['acme_account+key', 'app.fleet.test'])
})

test.each([
  ['another host', 'example.com', key + chain],
  ['no key', 'app.fleet.test', chain],
  ['no certificate', 'app.fleet.test', key],
  ['no PEM', 'app.fleet.test', 'garbage'],
  ['a damaged certificate', 'app.fleet.test', key + chain.replace(/[A-Za-z]{8}/, 'AAAAAAAA')],
])('a cached file with %s is passed over', async (_, host, text) => {
  mkdirSync(join(dir, 'cache'))
  writeFileSync(join(dir, 'cache', host), text)
  expect(await new CertificateCache(join(dir, 'cache'), silentLogger).read(host)).toBeNull()
})
