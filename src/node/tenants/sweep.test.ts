// Goal: a sweep takes exactly what nobody needs: everything of the tenant and of nobody else, only what is old enough and not
// a higher epoch's, and it goes on after being cut off anywhere. Method: real histories in a store in memory.

import { Database } from 'bun:sqlite'
import { afterAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TenantId } from '../../lib/brand.ts'
import { utf8 } from '../../lib/bytes.ts'
import { SimClock } from '../../lib/clock.ts'
import { MemoryObjectStore } from '../../lib/object-store/memory.ts'
import { seededRng } from '../../lib/rng.ts'
import { createHistory } from '../../replicate/history.ts'
import { closedSource } from '../../replicate/point-in-time.ts'
import type { JobContext } from './job-context.ts'
import { StillUsedError, sweepTenant } from './sweep.ts'

const root = mkdtempSync(join(tmpdir(), 'pf-sweep-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const id = 'tenant000000001' as TenantId
const other = 'tenant000000002' as TenantId
const dayMs = 86_400_000
const rng = seededRng(1)

const imagePath = join(root, 'image.db')
{
  const image = new Database(imagePath, { create: true })
  image.run('CREATE TABLE t (a)')
  image.close()
}

/** A pause between two deletions ends at once. */
function soon(_: number, work: () => void): () => void {
  queueMicrotask(work)
  return () => {}
}

function setUp(prefix = 'fleet') {
  const clock = new SimClock()
  const store = new MemoryObjectStore({ clock })
  const context: JobContext = {
    store,
    objectPrefix: prefix,
    clock: { now: () => clock.now(), monotonic: () => clock.monotonic(), setTimer: soon },
    rng,
    scratchDir: root,
    signal: new AbortController().signal,
    report: () => {},
  }
  const history = (tenant: string, path: string, epoch: number) =>
    createHistory({ store, prefix: `${prefix}/t/${tenant}/${path}` }, closedSource(imagePath), { epoch, clock, rng })
  const put = (key: string) => store.put(`${prefix}/t/${key}`, utf8('x'))
  return { clock, store, context, history, put }
}

const ofDeleted = { type: 'sweep', belowEpoch: null, isDryRun: false } as const

test('all of the tenant goes, and nothing of others, however their ids begin', async () => {
  const { clock, store, context, history, put } = setUp()
  await history(id, 'data.db', 3)
  for (const key of [
    `${id}/manifest.json`,
    `${id}/files/c/r/f.txt`,
    `${id}/backups/b.zip`,
    `${id}/data.db/keep/x.json`,
  ])
    await put(key)
  const stays = [`${other}/manifest.json`, `${id}9/manifest.json`, `${id}.json`]
  for (const key of stays) await put(key)
  await clock.advance(dayMs)
  const job = { ...ofDeleted, knownEpoch: 3, unchangedSinceMs: clock.now() - dayMs }
  const before = [...store.keys]
  expect(await sweepTenant(id, { ...job, isDryRun: true }, context)).toMatchObject({ objects: 5, objectsDeleted: 0 })
  expect(store.keys).toEqual(before)
  expect(await sweepTenant(id, job, context)).toMatchObject({ objects: 5, objectsDeleted: 5 })
  expect([...store.keys].sort()).toEqual(stays.map((key) => `fleet/t/${key}`).sort())
  expect(await sweepTenant(id, job, context)).toEqual({ objects: 0, bytes: 0, objectsDeleted: 0 })
})

test('what was written since, or has an owner of a higher epoch, is in use', async () => {
  const { clock, store, context } = setUp('')
  const at = { store, prefix: `t/${id}/data.db` }
  await createHistory(at, closedSource(imagePath), { epoch: 7, clock, rng })
  await clock.advance(dayMs)
  const job = { ...ofDeleted, knownEpoch: 6, unchangedSinceMs: clock.now() - dayMs }
  await expect(sweepTenant(id, job, context)).rejects.toBeInstanceOf(StillUsedError)
  await store.put(`t/${id}/files/new`, utf8('x'))
  await expect(sweepTenant(id, { ...job, knownEpoch: 7 }, context)).rejects.toThrow('written to')
  await expect(sweepTenant(id, { ...job, knownEpoch: 0 }, context)).rejects.toThrow('written to')
  expect(store.keys.length).toBe(2)
})

test('what somebody begins to write while it is deleted stays', async () => {
  const { clock, store, context, put } = setUp()
  for (let file = 1_000; file < 2_500; file++) await put(`${id}/files/c/r/${file}`)
  await clock.advance(dayMs)
  const job = { ...ofDeleted, knownEpoch: 0, unchangedSinceMs: clock.now() - dayMs }
  const late = `fleet/t/${id}/files/c/r/9999`
  let writing: Promise<unknown> | null = null
  store.fault = (operation, key) => {
    if (operation === 'delete' && !key.endsWith('manifest.json')) writing ??= put(`${id}/files/c/r/9999`)
    return null
  }
  await expect(sweepTenant(id, job, context)).rejects.toBeInstanceOf(StillUsedError)
  await writing
  expect(store.keys).toContain(late)
})

test('of a living tenant the paths below its epoch go, each once it is old', async () => {
  const { clock, store, context, history, put } = setUp()
  await history(id, 'data.db', 1)
  await history(id, 'hooks.db', 1)
  await history(id, 'data.db/e2', 2)
  await put(`${id}/data.db/takeover.json`)
  await put(`${id}/manifest.json`)
  await put(`${id}/files/c/r/e1/f.txt`)
  await clock.advance(dayMs)
  await history(id, 'data.db/e4', 4) // written lately by an owner that was overtaken
  await history(id, 'data.db/e5', 5)
  await history(id, 'data.db/e6', 6) // about to be the next
  const job = {
    type: 'sweep',
    belowEpoch: 5,
    knownEpoch: 0,
    unchangedSinceMs: clock.now() - dayMs,
    isDryRun: false,
  } as const
  expect(await sweepTenant(id, job, context)).toMatchObject({ objects: 4, objectsDeleted: 4 })
  const left = [...store.keys].map((key) => key.slice(`fleet/t/${id}/`.length).replace(/\/0000\/.*/, '')).sort()
  expect(left).toEqual(['data.db/e4', 'data.db/e5', 'data.db/e6', 'files/c/r/e1/f.txt', 'manifest.json'])
  await clock.advance(2 * dayMs)
  expect(await sweepTenant(id, { ...job, unchangedSinceMs: clock.now() - dayMs }, context)).toMatchObject({
    objects: 1,
  })
  expect([...store.keys].filter((key) => key.includes('data.db'))).toHaveLength(2)
})

test('cut off after any request it goes on; the manifest is the first to go', async () => {
  for (let at = 1; ; at++) {
    const { clock, store, context, history, put } = setUp()
    await history(id, 'data.db', 1)
    await put(`${id}/manifest.json`)
    for (let file = 0; file < 1_200; file++) await put(`${id}/files/c/r/${file}`)
    await put(`${other}/manifest.json`)
    await clock.advance(dayMs)
    const job = { ...ofDeleted, knownEpoch: 1, unchangedSinceMs: clock.now() - dayMs }
    let requests = 0
    store.fault = () => (++requests === at ? { type: 'lost-reply' } : null)
    const cut = await sweepTenant(id, job, context).then(
      () => false,
      () => true,
    )
    store.fault = null
    const hasManifest = store.keys.includes(`fleet/t/${id}/manifest.json`)
    if (hasManifest) expect(store.keys.length).toBe(1_203)
    await sweepTenant(id, job, context)
    expect(store.keys).toEqual([`fleet/t/${other}/manifest.json`])
    if (!cut) {
      expect(at).toBeGreaterThan(6)
      return
    }
  }
})
