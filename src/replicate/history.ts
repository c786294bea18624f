// A database's history, opened: what creation, failover, migration and restart share. Whoever opens it owns it from its
// seal on.

import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { errorCode } from '../lib/errors.ts'
import { ObjectNotFoundError } from '../lib/object-store/object-store.ts'
import type { Rng } from '../lib/rng.ts'
import { captureImage } from './capture.ts'
import { catchUpDatabase, cleanPoint } from './catch-up.ts'
import { type DamagedFileError, HistoryExistsError } from './errors.ts'
import { checksumText, type HistoryManifest } from './history-manifest.ts'
import { readLocalState, removeLocalState, type WalMark, writeLocalState } from './local-state.ts'
import { encodeLtx } from './ltx/encoder.ts'
import { LtxFormatError } from './ltx/errors.ts'
import type { LtxHeader, LtxWriter } from './ltx/header.ts'
import {
  getSlot,
  type HistoryLocation,
  type LtxFile,
  listByLevel,
  listLtx,
  listShort,
  ltxKey,
  putSlot,
} from './ltx-store.ts'
import { listBehindManifest } from './manifest-plan.ts'
import { planOrThrow, restoreDatabase } from './restore.ts'
import { planRestore } from './restore-plan.ts'
import { putRecovered, type Recover, readTail, sealHistory, type Tail } from './seal.ts'
import type { ReplicaSource } from './source.ts'
import type { ChainContent } from './standby-chain.ts'
import { captureWal, type WalCapture } from './wal/reader.ts'

/** Listings that may turn out to be old while the tail moves, before opening gives up. */
const openAttemptsMax = 5

export interface HistoryDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly signal?: AbortSignal
}

/** Ownership of a history at one TXID; what a shipper goes on from. */
export interface HistoryPosition {
  readonly at: HistoryLocation
  readonly dbPath: string
  readonly writer: LtxWriter
  readonly txid: Txid
  readonly checksum: bigint
  readonly timestampMs: number
  readonly pageSize: number
  /** Size of the database in pages. */
  readonly commit: number
  /** Up to where the local WAL is in the history; null: all of it is newer. */
  readonly mark: WalMark | null
  /** `commitSeq` of the source that the history holds, or -1 when only a capture can tell. */
  readonly commitSeq: number
  /** Bytes of the file at this TXID. */
  readonly tailSizeBytes: number
  /** Files that were seen: enough for the state below this TXID, unless somebody shipped meanwhile. */
  readonly known: readonly LtxFile[]
  /** Merged files that turned out to be damaged: no plan should count on them. */
  readonly damaged: readonly LtxFile[]
}

export interface OpenedHistory extends HistoryPosition {
  /**
   * `local`: the files were there and fit; they may hold commits that the shipper sends first. `caught-up`: they were an
   * older state, to which what came since was added.
   */
  readonly origin: 'local' | 'caught-up' | 'restored'
  readonly bytesRead: number
}

/**
 * Begins a history: slot 1 is the whole image of an open database.
 *
 * @throws HistoryExistsError when slot 1 is taken, by whomever; {@link openHistory} is for that.
 */
export async function createHistory(
  at: HistoryLocation,
  source: ReplicaSource,
  options: { readonly epoch: number } & HistoryDeps,
): Promise<HistoryPosition> {
  const { clock, rng, signal } = options
  const writer = newWriter(options.epoch, rng)
  const { captured, commitSeq } = await source.exclusively(async () => ({
    captured: await captureImage(source),
    commitSeq: source.commitSeq,
  }))
  const txid = 1 as Txid
  const header: LtxHeader = {
    pageSize: source.pageSize,
    commit: captured.commit,
    minTxid: txid,
    maxTxid: txid,
    timestampMs: clock.now(),
    walOffset: 32,
    walSize: 0,
    walSalt1: 0,
    walSalt2: 0,
    writer,
  }
  const file = encodeLtx(header, captured.pages, 0)
  const putOptions = signal === undefined ? {} : { signal }
  if ((await putSlot(at, file, header, putOptions)) === 'taken') {
    const found = await getSlot(at, txid, putOptions)
    if (found === null || found.checksum !== file.checksum) throw new HistoryExistsError(at.prefix)
  }
  const { mark } = captured
  writeLocalState(source.path, [{ txid, checksum: file.checksum, mark }])
  return {
    at,
    dbPath: source.path,
    writer,
    txid,
    checksum: file.checksum,
    timestampMs: header.timestampMs,
    pageSize: header.pageSize,
    commit: captured.commit,
    mark,
    commitSeq,
    tailSizeBytes: file.bytes.length,
    known: [],
    damaged: [],
  }
}

/**
 * Takes over a history: seals it under `epoch`, then makes the file at `dbPath` the database as of the seal: from the
 * local files when they fit, by what came since when they are an older state, and from the store otherwise. No connection to `dbPath` may be open. The caller should run
 * a quick check after it has opened the file.
 *
 * @param options.onDamaged as of `restoreDatabase`.
 * @param options.manifest as of {@link findTail}.
 * @throws NeverShippedError, LtxGapError, StaleEpochError, DamagedFileError; ObjectStoreError when the store fails.
 */
export async function openHistory(
  at: HistoryLocation,
  dbPath: string,
  options: {
    readonly epoch: number
    readonly recover?: Recover
    readonly onDamaged?: (error: DamagedFileError) => void
    readonly manifest?: ReadManifest
  } & HistoryDeps,
): Promise<OpenedHistory> {
  const { clock, recover, onDamaged, manifest } = options
  const writer = newWriter(options.epoch, options.rng)
  const signal = options.signal === undefined ? {} : { signal: options.signal }
  const since = cleanPoint(dbPath)?.txid ?? null
  const { files, last, bodies, isNoted } = await findTail(at, options.signal, { since, ...(manifest && { manifest }) })
  const sealed = await sealHistory(at, last, { writer, clock, ...signal, ...(recover && { recover }) })
  const { tail, recovered } = sealed
  const newest =
    recovered === null
      ? sealed.seal
      : await putRecovered(at, { seal: sealed.seal, recovered }, { writer, clock, ...signal })
  const target = recovered === null ? tail.header.maxTxid : newest.header.maxTxid
  const base = {
    at,
    dbPath,
    writer,
    txid: newest.header.maxTxid,
    checksum: newest.checksum,
    timestampMs: newest.header.timestampMs,
    pageSize: tail.header.pageSize,
    commit: newest.header.commit,
    commitSeq: -1,
    tailSizeBytes: newest.sizeBytes,
  }
  const local = await localMark(dbPath, tail, recovered)
  if (local !== null) {
    writeLocalState(dbPath, [{ txid: base.txid, checksum: base.checksum, mark: local.mark }])
    return { ...base, mark: local.mark, origin: 'local', bytesRead: 0, known: files, damaged: [] }
  }
  // Somebody may have shipped between the listing and the seal; nobody can any more.
  const isSame = last.header.maxTxid === target
  let known = isSame ? files : await listLtx(at, signal)
  const restore = { target, files: known, isNoted: isNoted && isSame, bodies, ...signal }
  const caughtUp = await catchUpDatabase(at, dbPath, restore)
  if (caughtUp === null) removeLocalState(dbPath)
  const damaged: LtxFile[] = []
  const around = onDamaged && {
    onDamaged: (error: DamagedFileError) => {
      damaged.push(error.file)
      onDamaged(error)
    },
  }
  const onListed = (listed: readonly LtxFile[]) => {
    known = listed
  }
  const { bytesRead } = caughtUp ?? (await restoreDatabase(at, dbPath, { ...restore, ...around, onListed }))
  writeLocalState(dbPath, [{ txid: base.txid, checksum: base.checksum, mark: null }])
  const origin = caughtUp === null ? 'restored' : 'caught-up'
  return { ...base, mark: null, origin, bytesRead, known, damaged }
}

/** Reads what a manifest says of a history; asked at most once, and only where the history is long. */
export type ReadManifest = () => Promise<HistoryManifest | null>

export interface FoundTail {
  readonly files: readonly LtxFile[]
  readonly last: Tail
  /** What of the files was read whole, by key. */
  readonly bodies: ReadonlyMap<string, Uint8Array>
  /** Some of the files are known by the manifest alone. */
  readonly isNoted: boolean
}

/**
 * The newest file of the history and a listing that suffices to restore it. Takes nothing over. A short history is listed by
 * the one request that proves its end; of a long one, only what is newer than its manifest, where there is one.
 *
 * @param hints.since slots from this TXID on help, if they are not too many: a local file holds it.
 */
export async function findTail(
  at: HistoryLocation,
  signal?: AbortSignal,
  hints: { readonly manifest?: ReadManifest; readonly since?: Txid | null } = {},
): Promise<FoundTail> {
  const options = { ...(signal && { signal }), since: hints.since ?? null }
  for (let attempt = 1; ; attempt++) {
    let files: readonly LtxFile[] | null = await listShort(at, options)
    // What has misled once is not asked again.
    const manifest = files === null && attempt === 1 ? ((await hints.manifest?.()) ?? null) : null
    const noted = manifest && (await listBehindManifest(at, manifest, options))
    files ??= noted?.files ?? (await listByLevel(at, options))
    if (!planRestore(files, null).ok) files = await listLtx(at, options)
    const { files: plan, txid } = planOrThrow(at, files, null)
    // A slot knows its writer; a merged file of the same TXID has forgotten it.
    const newest = files.find((file) => file.level === 0 && file.maxTxid === txid) ?? plan[plan.length - 1]!
    const wanted = noted === null || noted.tail === newest ? [newest] : [newest, noted.tail]
    try {
      const read = await Promise.all(wanted.map((file) => readTail(at, file, signal)))
      const { header, checksum } = read[0]!
      // Another history may have left its manifest here, on a store where each epoch has a path of its own.
      if (manifest !== null && noted !== null && checksumText(read.at(-1)!.checksum) !== manifest.tail.checksum)
        continue
      const bodies = new Map<string, Uint8Array>()
      for (const [index, { body }] of read.entries()) if (body !== null) bodies.set(ltxKey(at, wanted[index]!), body)
      return { files, last: { header, checksum }, bodies, isNoted: noted !== null }
    } catch (error) {
      // Retention may remove what was listed; and of a damaged file only what a plan needs is the outcome.
      const isOld = error instanceof ObjectNotFoundError || (noted !== null && error instanceof LtxFormatError)
      if (!isOld || attempt === openAttemptsMax) throw error
    }
  }
}

/**
 * The mark of local files that hold exactly the tail, plus perhaps commits of their own in the WAL; else null. Where
 * standbys had more than the tail, the WAL must hold all of that too: after a power cut it may not.
 */
async function localMark(
  dbPath: string,
  tail: Tail,
  recovered: ChainContent | null,
): Promise<{ readonly mark: WalMark | null } | null> {
  const point = readLocalState(dbPath)?.find(
    ({ txid, checksum }) => txid === tail.header.maxTxid && checksum === tail.checksum,
  )
  if (point === undefined || !existsSync(dbPath)) return null
  const { mark } = point
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(`${dbPath}-wal`, 'r')
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    return recovered === null && (mark === null || mark.isCheckpointed) ? { mark: null } : null
  }
  try {
    const whole = await captureWal(file, null)
    if (recovered !== null && !reaches(whole, recovered.walEnd)) return null
    if (mark === null) return { mark: null }
    if (whole.type === 'empty') return mark.isCheckpointed ? { mark: null } : null
    if (whole.type !== 'frames') return null
    const rest = await captureWal(file, mark.position)
    // The chain must hold from the start of the WAL: after a power cut a later frame may be there without an earlier one.
    if (rest.type === 'frames') return whole.to.offset >= mark.position.offset ? { mark } : null
    const isSuccessor = mark.isCheckpointed && whole.header.salt1 === (mark.position.salt1 + 1) >>> 0
    return isSuccessor ? { mark: null } : null
  } finally {
    await file.close()
  }
}

/** Whether the WAL is the one that `end` lies in, and goes on at least to there. */
function reaches(whole: WalCapture, end: ChainContent['walEnd']): boolean {
  if (whole.type !== 'frames') return false
  const { salt1, salt2, offset } = whole.to
  return salt1 === end.salt1 && salt2 === end.salt2 && offset >= end.offset
}

function newWriter(epoch: number, rng: Rng): LtxWriter {
  return { epoch, incarnation: rng.below(2 ** 32) }
}
