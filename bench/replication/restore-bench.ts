// Restores of the same histories by us and by official Litestream, and opening a small tenant database cold.

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../src/lib/clock.ts'
import { MeteredObjectStore } from '../../src/lib/object-store/metered.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { openHistory } from '../../src/replicate/history.ts'
import { ImageHistory } from '../../test/replication/image-histories.ts'
import { peer } from '../../test/support/peers.ts'
import type { Figure } from '../report.ts'
import { createPosts, fill } from './source.ts'
import { type BenchStore, type Ended, start } from './stores.ts'

export interface RestoreSize {
  readonly name: string
  readonly sizeBytes: number
  readonly rounds: number
}

const script = join(import.meta.dir, 'restore-process.ts')
/** Slots behind the image, each with a thousandth of the rows. */
const changesCount = 3

/** A history of one image and a few changes. */
async function makeHistory(store: BenchStore, prefix: string, sizeBytes: number): Promise<ImageHistory> {
  const history = new ImageHistory(store.store, { prefix })
  await history.ship((db) => {
    db.run(createPosts)
    fill(db, sizeBytes)
  })
  for (let change = 1; change <= changesCount; change++)
    await history.ship((db) => db.run(`UPDATE posts SET views = -${change} WHERE rowid % 997 = ${change}`))
  return history
}

/** Both restore the same history in turns; the best round of each counts, and both must give the same bytes. */
export async function benchRestore(dir: string, store: BenchStore, size: RestoreSize): Promise<Figure[]> {
  const prefix = `t/${size.name.replaceAll(' ', '')}/data.db`
  const litestream = peer('litestream')
  using history = await makeHistory(store, prefix, size.sizeBytes)
  const image = history.images.at(-1)!
  const hash = Bun.hash(image)
  const path = join(dir, 'restored.db')
  const ours: (Ended & { readonly output: string })[] = []
  const theirs: typeof ours = []
  const round = async (into: typeof ours, command: readonly string[]) => {
    rmSync(path, { force: true })
    into.push(await start(command, store.env).ended())
    if (Bun.hash(await Bun.file(path).bytes()) !== hash) throw new Error(`${command[0]} restored something else`)
  }
  for (let i = 0; i < size.rounds; i++) {
    const job = JSON.stringify({ store: store.config, prefix, path })
    await round(ours, [process.execPath, script, job])
    if (litestream !== null) await round(theirs, [litestream, 'restore', '-o', path, store.url(prefix)])
  }
  rmSync(path, { force: true })
  const at = `restore of ${size.name}, ${store.name}`
  const best = (ends: typeof ours) => ends.reduce((a, b) => (b.wallMs < a.wallMs ? b : a))
  const figures: Figure[] = []
  for (const [name, ends] of [
    ['ours', ours],
    ['Litestream', theirs],
  ] as const) {
    if (ends.length === 0) continue
    const { wallMs, cpuMs, residentBytesMax, output } = best(ends)
    // A process that ends before the first look at its memory has no peak.
    const peak = residentBytesMax > 0 ? `, peak ${(residentBytesMax / 1e6).toFixed(0)} MB` : ''
    const rate = `${(image.length / 1e3 / wallMs).toFixed(0)} MB/s, ${((cpuMs * 1e6) / image.length).toFixed(1)} ms CPU/MB`
    figures.push({
      name: `${at}: ${name}`,
      value: wallMs,
      unit: 'ms',
      note: `${rate}${peak}; with the start of the process${name === 'ours' ? `, without it ${Number(output).toFixed(0)} ms` : ''}`,
    })
  }
  if (theirs.length > 0) {
    const ratio = best(theirs).wallMs / best(ours).wallMs
    figures.push({ name: `${at}: times Litestream's speed`, value: ratio, unit: '×' })
  }
  return figures
}

/** Takes over a database of 1 MB on an empty disk: listing, tail, seal, image. In this process, as a node does it. */
export async function benchColdOpen(dir: string, store: BenchStore, rounds: number): Promise<Figure[]> {
  const prefix = 't/cold/data.db'
  using history = await makeHistory(store, prefix, 1_000_000)
  await history.putImage() // as the owner leaves a small database
  const metered = new MeteredObjectStore(store.store)
  const times: number[] = []
  const counts: number[] = []
  for (let round = 0; round < rounds; round++) {
    const folder = mkdtempSync(join(dir, 'cold-'))
    const before = metered.reading.calls
    const startedAtMs = performance.now()
    const deps = { epoch: 2 + round, clock: systemClock, rng: seededRng(round) }
    await openHistory({ store: metered, prefix }, join(folder, 'data.db'), deps)
    times.push(performance.now() - startedAtMs)
    const after = metered.reading.calls
    counts.push(
      Object.entries(after).reduce((sum, [kind, count]) => sum + count - before[kind as keyof typeof before], 0),
    )
    rmSync(folder, { recursive: true })
  }
  times.sort((a, b) => a - b)
  const at = `cold open of 1 MB, ${store.name}`
  return [
    {
      name: `${at}: p50`,
      value: times[times.length >> 1]!,
      unit: 'ms',
      note: `${rounds} rounds, store on this machine`,
    },
    { name: `${at}: p99`, value: times.at(-1)!, unit: 'ms' },
    {
      name: `${at}: requests`,
      value: Math.max(...counts),
      unit: 'requests',
      note: 'the most of any round: listing, tail, seal, image',
    },
  ]
}
