// Makes one file of several: streamed from the store into a file on this disk, from there back into the store, then read
// again and compared, because its inputs may be deleted for it. A merge of TXIDs that the store has is the same whoever
// makes it, so it needs no lock and a fenced owner does no harm.

import { closeSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { type Clock, sleep } from '../lib/clock.ts'
import { ObjectExistsError } from '../lib/object-store/object-store.ts'
import { type MergeJob, mergedRange } from './compaction.ts'
import { checksumText, type ManifestFile } from './history-manifest.ts'
import { LtxFormatError } from './ltx/errors.ts'
import { checkLtx, type LtxInput, mergeLtx } from './ltx/merge.ts'
import { type HistoryLocation, ltxKey, ltxName } from './ltx-store.ts'

/** Bytes that are written to the disk at once. */
const writeBytes = 1 << 20

export interface MergeDeps {
  readonly clock: Clock
  /** A folder of this process alone. */
  readonly scratchDir: string
  readonly pacer: Pacer
  readonly signal?: AbortSignal
}

/** Keeps background work at an average rate. */
export class Pacer {
  readonly #clock: Clock
  readonly #bytesPerSecond: number
  #freeAtMs = 0

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock
    this.#bytesPerSecond = bytesPerSecond
  }

  /** Waits until what was taken before has had its time. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic()
    const waitMs = this.#freeAtMs - now
    this.#freeAtMs = Math.max(now, this.#freeAtMs) + (bytes / this.#bytesPerSecond) * 1_000
    if (waitMs >= 1) await sleep(this.#clock, waitMs, signal)
  }
}

/**
 * Carries out a merge; again after a failure at any point.
 *
 * @returns the merged file, which is in the store and was read back.
 * @throws LtxFormatError when an input is damaged or not what the plan says; what the store throws.
 */
export async function mergeFiles(at: HistoryLocation, job: MergeJob, deps: MergeDeps): Promise<ManifestFile> {
  const { scratchDir, signal } = deps
  const range = mergedRange(job)
  const name = ltxName(range.minTxid, range.maxTxid)
  const key = ltxKey(at, { level: job.level, ...range })
  const folder = await mkdtemp(join(scratchDir, 'merge-'))
  const scratch = join(folder, name)
  try {
    const inputs = job.inputs.map((file) => inputOf(at, file, deps))
    const { header, checksum, sizeBytes } = await writeFile(scratch, (write) => mergeLtx(inputs, write))
    if (header.minTxid !== range.minTxid || header.maxTxid !== range.maxTxid)
      throw new LtxFormatError(`merged ${ltxName(header.minTxid, header.maxTxid)}, not ${name}`)
    const merged: ManifestFile = {
      level: job.level,
      ...range,
      sizeBytes,
      timestampMs: header.timestampMs,
      checksum: checksumText(checksum),
    }
    const metadata = { 'litestream-timestamp': new Date(header.timestampMs).toISOString() }
    const options = signal === undefined ? { metadata } : { metadata, signal }
    await deps.pacer.take(sizeBytes, signal)
    try {
      // Create-only, so that nobody who reads it in pieces gets two files mixed.
      await at.store.putFile(key, scratch, { ...options, createOnly: true })
    } catch (error) {
      if (!(error instanceof ObjectExistsError)) throw error
      const known = await existing(at, merged, deps)
      if (known !== null) return known
      await at.store.putFile(key, scratch, options) // what lies there cannot be read by anybody
    }
    await readBack(at, merged, checksum, deps)
    return merged
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Compares what the store has with what was written; a file that differs is deleted, or restores would read it. */
async function readBack(at: HistoryLocation, merged: ManifestFile, checksum: bigint, deps: MergeDeps): Promise<void> {
  const key = ltxKey(at, merged)
  try {
    const { checksum: stored } = await checkLtx(inputOf(at, merged, deps))
    if (stored !== checksum) throw new LtxFormatError(`${key} is not what was written`)
  } catch (error) {
    if (error instanceof LtxFormatError)
      await at.store.delete([key], deps.signal === undefined ? {} : { signal: deps.signal })
    throw error
  }
}

/** The file that an earlier merge left under the same name; null when it is damaged. */
async function existing(at: HistoryLocation, merged: ManifestFile, deps: MergeDeps): Promise<ManifestFile | null> {
  const found = await at.store.head(ltxKey(at, merged), deps.signal === undefined ? {} : { signal: deps.signal })
  if (found === null) return null
  const file = { ...merged, sizeBytes: found.sizeBytes }
  try {
    const { header, checksum } = await checkLtx(inputOf(at, file, deps))
    if (header.minTxid !== merged.minTxid || header.maxTxid !== merged.maxTxid) return null
    return { ...file, timestampMs: header.timestampMs, checksum: checksumText(checksum) }
  } catch (error) {
    if (error instanceof LtxFormatError) return null
    throw error
  }
}

/** A file of the store, read at the pace of background work. */
export function inputOf(
  at: HistoryLocation,
  file: { readonly level: number; readonly minTxid: Txid; readonly maxTxid: Txid; readonly sizeBytes: number },
  { pacer, signal }: Pick<MergeDeps, 'pacer' | 'signal'>,
): LtxInput {
  const key = ltxKey(at, file)
  return {
    name: key,
    sizeBytes: file.sizeBytes,
    async read(from, to) {
      await pacer.take(to - from, signal)
      const bytes = await at.store.get(key, { range: { from, to }, ...(signal === undefined ? {} : { signal }) })
      if (bytes.length !== to - from) throw new LtxFormatError(`${key} has other bytes than ${from} to ${to}`)
      return bytes
    },
  }
}

async function writeFile<T>(path: string, fill: (write: (bytes: Uint8Array) => void) => Promise<T>): Promise<T> {
  const fd = openSync(path, 'w', 0o600)
  try {
    const buffer = new Uint8Array(writeBytes)
    let length = 0
    const flush = (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at)
    }
    const result = await fill((bytes) => {
      if (length + bytes.length > buffer.length) {
        flush(buffer.subarray(0, length))
        length = 0
      }
      if (bytes.length >= buffer.length) return flush(bytes)
      buffer.set(bytes, length)
      length += bytes.length
    })
    flush(buffer.subarray(0, length))
    return result
  } finally {
    closeSync(fd)
  }
}
