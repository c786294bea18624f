// What our side of the replication costs without a store: from the WAL to the bytes of an LTX file, on one core. And how long
// an acknowledgement takes above the bare PUT that it waits for, the two in turns.

import { mkdtempSync, rmSync } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Txid } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import { createHistory } from '../../src/replicate/history.ts'
import { encodeLtx } from '../../src/replicate/ltx/encoder.ts'
import { Shipper } from '../../src/replicate/shipper.ts'
import { captureWal } from '../../src/replicate/wal/reader.ts'
import type { Figure } from '../report.ts'
import { createPosts, insertPost, PostMaker, rowsPerTransaction } from './source.ts'
import type { BenchStore } from './stores.ts'

const deadlineMs = 30_000
/** The best counts, because other work only ever slows one down. */
const captureRounds = 5
/** Not measured: the first ones compile. */
const warmUp = 20

/** Reads and verifies a WAL and encodes its pages, by the processor time of all threads of this process. */
export async function benchCapture(dir: string, sizeBytes: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(dir, 'capture-'))
  const path = join(folder, 'data.db')
  const db = Database.open({ path, checkpoint: 'owner' })
  try {
    await db.transaction(() => db.exec(createPosts))
    const posts = new PostMaker()
    for (let bytes = 0; bytes < sizeBytes; bytes = (await stat(`${path}-wal`)).size)
      await db.transaction(() => {
        for (let row = 0; row < rowsPerTransaction; row++) db.run(insertPost, posts.next())
      })
    await using wal = await open(`${path}-wal`, 'r')
    const { size } = await wal.stat()
    let bestMs = Number.POSITIVE_INFINITY
    for (let round = 0; round < captureRounds; round++) {
      const before = process.cpuUsage()
      const read = await captureWal(wal, null)
      if (read.type !== 'frames' || read.commit === 0) throw new Error('the WAL was not read')
      const { header, pages, commit } = read
      const writer = { epoch: 1, incarnation: 1 }
      const facts = { minTxid: 2 as Txid, maxTxid: 2 as Txid, timestampMs: 1, writer, walOffset: 32, walSize: 0 }
      encodeLtx({ ...facts, pageSize: header.pageSize, commit, walSalt1: 0, walSalt2: 0 }, pages, commit)
      const { user, system } = process.cpuUsage(before)
      bestMs = Math.min(bestMs, (user + system) / 1e3)
    }
    const note = `${(size / 1e6).toFixed(0)} MB of frames, ${(bestMs / (size / 1e6)).toFixed(1)} ms CPU/MB`
    return [{ name: 'capture, WAL to LTX, one core: ours', value: size / 1e3 / bestMs, unit: 'MB/s', note }]
  } finally {
    await db.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** A small commit until the store has it, and a bare create-only PUT of as many bytes, in turns. */
export async function benchSyncAck(dir: string, store: BenchStore, count: number): Promise<Figure[]> {
  const folder = mkdtempSync(join(dir, 'ack-'))
  const at = { store: store.store, prefix: 't/ack/data.db' }
  const path = join(folder, 'data.db')
  const rng = seededRng(1)
  const deps = { clock: systemClock, rng, log: silentLogger, onFenced: () => undefined }
  const db = Database.open({ path, checkpoint: 'owner' })
  const acks: number[] = []
  const puts: number[] = []
  let bytes: Uint8Array = new Uint8Array(0)
  try {
    await db.transaction(() => db.exec('CREATE TABLE notes (id INTEGER PRIMARY KEY, v TEXT)'))
    const position = await createHistory(at, db, { epoch: 1, clock: systemClock, rng })
    const onShipped = ({ sizeBytes }: { readonly sizeBytes: number }) => {
      bytes = rng.bytes(sizeBytes)
    }
    const shipper = Shipper.attach(db, position, { ...deps, onShipped })
    for (let round = 0; round < warmUp + count; round++) {
      const startedAtMs = performance.now()
      await db.transaction(() => db.run("INSERT INTO notes (v) VALUES ('a small commit')"))
      await shipper.flush(deadlineMs)
      const ackedAtMs = performance.now()
      await store.store.put(`bare/${round}`, bytes, { createOnly: true })
      if (round < warmUp) continue
      acks.push(ackedAtMs - startedAtMs)
      puts.push(performance.now() - ackedAtMs)
    }
    await shipper.close({ deadlineMs })
  } finally {
    await db.close()
    rmSync(folder, { recursive: true, force: true })
  }
  acks.sort((a, b) => a - b)
  puts.sort((a, b) => a - b)
  const figures: Figure[] = []
  for (const [name, share] of [
    ['p50', 0.5],
    ['p99', 0.99],
  ] as const) {
    const [ack, put] = [acks, puts].map((each) => each[Math.floor(share * (each.length - 1))]!) as [number, number]
    figures.push(
      {
        name: `sync ack, ${store.name}: ${name}, ours`,
        value: ack,
        unit: 'ms',
        note: `${count} commits, one at a time`,
      },
      {
        name: `sync ack, ${store.name}: ${name}, bare PUT`,
        value: put,
        unit: 'ms',
        note: `${bytes.length} bytes, in turns`,
      },
    )
  }
  return figures
}
