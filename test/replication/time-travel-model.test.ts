// Goal: whatever is written, deleted, swept, gone back to and forked in whatever order, every moment that is promised comes
// back with exactly its rows, and every row with its files. Method: random walks of a real tenant beside a model of it.
// SEED=… runs exactly one walk, STEPS=… makes it longer.

import { expect, setDefaultTimeout, test } from 'bun:test'
import type { TenantId } from '../../src/lib/brand.ts'
import { newTenantId } from '../../src/lib/id.ts'
import { MemoryObjectStore } from '../../src/lib/object-store/memory.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { toTexts } from '../../src/node/engine/fields/cast.ts'
import { sweepDeletedFiles } from '../../src/node/engine/files/deleted-files.ts'
import type { EngineRecord } from '../../src/node/engine/records/record.ts'
import type { OpenTenant } from '../../src/node/tenants/pool.ts'
import { LaterClock } from '../support/later-clock.ts'
import { addCollection, addRecord, specOfTest, TenantBench } from '../support/tenant.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

/** Titles with what their files hold. */
type Content = ReadonlyMap<string, readonly string[]>

interface Moment {
  readonly atMs: number
  readonly content: Content
}

const seeds = process.env['SEED'] === undefined ? [1, 2] : [Number(process.env['SEED'])]
const steps = Number(process.env['STEPS'] ?? 25)

async function contentOf(tenant: OpenTenant): Promise<Content> {
  const { engine } = tenant
  const { id: collection } = engine.collections.require('notes').data
  const content = new Map<string, readonly string[]>()
  for (const row of engine.data.all<{ id: string; title: string; photos: string }>(
    'SELECT id, title, photos FROM notes',
  )) {
    const texts = await Promise.all(
      toTexts(row.photos).map(async (name) => {
        const file = await engine.files.open(`${collection}/${row.id}/${name}`)
        if (file === null) throw new Error(`${row.title} lost its file ${name}`)
        return new Response(await file.body(undefined)).text()
      }),
    )
    content.set(row.title, texts.sort())
  }
  return content
}

const sorted = (content: Content) => [...content].sort(([a], [b]) => (a < b ? -1 : 1))

async function walk(seed: number): Promise<void> {
  const rng = seededRng(seed)
  const clock = new LaterClock()
  await using bench = await TenantBench.start(new MemoryObjectStore({ clock }), clock)
  let tenant = await bench.create()
  const { id } = tenant.spec
  await addCollection(tenant, 'notes', true)
  let now = new Map<string, readonly string[]>()
  let moments: Moment[] = []
  const note = async () => {
    await tenant.flush()
    moments.push({ atMs: clock.tick(), content: new Map(now) })
  }
  const pick = <T>(items: readonly T[]) => items[rng.below(items.length)]!
  const cutAt = (moment: Moment) => bench.job(id, { type: 'cut', wish: { type: 'time', atMs: moment.atMs } })
  const forkTo = async (moment: Moment): Promise<TenantId> => {
    const copy = newTenantId(rng)
    const placement = bench.placement(copy)
    await bench.job(copy, { type: 'fork', tenant: specOfTest(copy), placement, source: id, cut: await cutAt(moment) })
    return copy
  }
  await note()
  for (let step = 0; step < steps; step++) {
    const dice = rng.below(10)
    if (dice < 4) {
      const texts = Array.from({ length: rng.below(3) }, (_, at) => `${step} ${at}`)
      await addRecord(tenant, 'notes', `note ${step}`, texts)
      now.set(`note ${step}`, texts)
    } else if (dice < 6 && now.size > 0) {
      const title = pick([...now.keys()])
      const { records, collections, data } = tenant.engine
      const row = data.get<{ id: string }>('SELECT id FROM notes WHERE title = ?', [title])!
      const found = (await records.findById(collections.require('notes'), row.id)) as EngineRecord
      await records.delete(found)
      now.delete(title)
    } else if (dice < 8) {
      const moment = pick(moments)
      const cut = await cutAt(moment)
      await bench.close(tenant)
      await bench.job(id, { type: 'restore', placement: bench.placement(id), cut })
      tenant = await bench.open(id)
      now = new Map(moment.content)
    } else if (dice < 9) {
      // Retention: what was deleted before the oldest promised moment goes.
      moments = moments.slice(rng.below(moments.length))
      await sweepDeletedFiles(tenant.engine.data, tenant.engine.files, moments[0]!.atMs)
    } else {
      const moment = pick(moments)
      const fork = await bench.open(await forkTo(moment))
      expect(sorted(await contentOf(fork))).toEqual(sorted(moment.content))
      await bench.close(fork)
    }
    expect(sorted(await contentOf(tenant))).toEqual(sorted(now))
    await note()
  }
  // Everything that is still promised, one after the other.
  for (const moment of moments) {
    const fork = await bench.open(await forkTo(moment))
    expect(sorted(await contentOf(fork))).toEqual(sorted(moment.content))
    await bench.close(fork)
  }
}

for (const seed of seeds) test(`a walk through time (SEED=${seed})`, () => walk(seed), 60_000 + steps * 10_000)
