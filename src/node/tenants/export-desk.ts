// Exports of one worker. The first who asks for a moment starts its preparation, in a process of its own, and comes back
// until it is done; then its ZIP is streamed, whole or from a byte on. Parts stay on this disk for a while, because a
// download may break off; when they are gone, the same are made again.

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { ReadableStream as NodeStream } from 'node:stream/web'
import { ZipFile } from 'yazl'
import type { JobProgress } from '../../ipc/messages/jobs.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { OverloadedError, TimeoutError } from '../../lib/errors.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { type ExportCut, type ExportReport, exportedDatabases, filesListName } from './export.ts'
import type { RunJob } from './job-process.ts'
import { tenantPrefix } from './manifest.ts'
import type { ReplicaPath } from './replica-path.ts'

export interface ExportDeps {
  readonly store: ObjectStore
  readonly objectPrefix: string
  readonly clock: Clock
  readonly log: Logger
  /** Everything in it is the desk's. */
  readonly dir: string
  readonly run: RunJob
  /** Where the histories of a tenant lie that is open here. */
  readonly replicasOf: (tenantId: TenantId) => readonly ReplicaPath[]
}

/** Exports on disk at once, each as large as its databases. */
const sessionsMax = 4
/** Of one tenant, those that are prepared or read: others want to export too. */
const busyOfTenantMax = 2
/** A preparation may take this long, ms: what is in a tenant's tables is its own business. */
const prepareMsMax = 2 * 3_600_000
/** Parts that nobody reads are kept for this long, ms. */
const restMs = 15 * 60_000
/** Fixed, so that the archive's bytes are; PocketBase writes the same. */
const fileMode = 0o100644

interface Session {
  readonly key: string
  readonly tenantId: TenantId
  readonly dir: string
  state:
    | { readonly type: 'preparing'; progress: JobProgress }
    | { readonly type: 'ready'; readonly report: ExportReport }
    | { readonly type: 'failed'; readonly error: unknown }
  readers: number
  usedAtMs: number
}

export type ExportAnswer =
  | { readonly type: 'preparing'; readonly progress: JobProgress }
  | { readonly type: 'ready'; readonly archive: ExportArchive }

export interface ExportArchive {
  readonly etag: string
  readonly sizeBytes: number
  /** The archive's bytes from `from` on. Cancelling it ends the reading. */
  stream(from: number): ReadableStream<Uint8Array>
}

export class ExportDesk {
  readonly #deps: ExportDeps
  readonly #sessions = new Map<string, Session>()
  readonly #closing = new AbortController()
  readonly #preparing = new Set<Promise<void>>()
  #sequence = 0
  #cancelSweep: Cancel | null = null

  constructor(deps: ExportDeps) {
    this.#deps = deps
  }

  /**
   * Starts an export, tells how far it is, or hands it out. Throws what the preparation threw, once; OverloadedError when
   * too many are on disk.
   */
  async look(tenantId: TenantId, cut: ExportCut): Promise<ExportAnswer> {
    const key = `${tenantId}-${cut.atMs}-${cut.data}-${cut.auxiliary}`
    const session = this.#sessions.get(key) ?? (await this.#start(key, tenantId, cut))
    session.usedAtMs = this.#deps.clock.monotonic()
    switch (session.state.type) {
      case 'preparing':
        return { type: 'preparing', progress: session.state.progress }
      case 'failed':
        await this.#drop(session)
        throw session.state.error
      case 'ready':
        return { type: 'ready', archive: await this.#archiveOf(session, session.state.report, tenantId, cut) }
    }
  }

  async close(): Promise<void> {
    this.#cancelSweep?.()
    this.#closing.abort(new OverloadedError('the node is stopping'))
    await Promise.all(this.#preparing)
  }

  async #start(key: string, tenantId: TenantId, cut: ExportCut): Promise<Session> {
    const { clock, run, dir, replicasOf } = this.#deps
    const resting = [...this.#sessions.values()]
      .filter(({ readers, state }) => readers === 0 && state.type !== 'preparing')
      .sort((a, b) => a.usedAtMs - b.usedAtMs)
    const busy = [...this.#sessions.values()].filter((each) => each.tenantId === tenantId && !resting.includes(each))
    if (busy.length >= busyOfTenantMax)
      throw new OverloadedError(`${busyOfTenantMax} exports of tenant ${tenantId} are under way here`)
    const isFull = this.#sessions.size >= sessionsMax
    if (isFull && resting.length === 0) throw new OverloadedError(`${sessionsMax} exports are under way here`)
    const progress = { step: 'waiting', done: 0, total: null }
    const session: Session = {
      key,
      tenantId,
      dir: join(dir, String(++this.#sequence)),
      state: { type: 'preparing', progress },
      readers: 0,
      usedAtMs: clock.monotonic(),
    }
    this.#sessions.set(key, session)
    const deadline = new AbortController()
    const late = new TimeoutError(`the export was not prepared within ${prepareMsMax} ms`)
    const cancelDeadline = clock.setTimer(prepareMsMax, () => deadline.abort(late))
    const preparing = run(
      {
        tenantId,
        job: { type: 'export', cut },
        scratchDir: session.dir,
        keepsScratch: true,
        replicas: replicasOf(tenantId),
      },
      (now) => {
        session.state = { type: 'preparing', progress: now }
      },
      AbortSignal.any([deadline.signal, this.#closing.signal]),
    )
      .then(
        (report) => {
          session.state = { type: 'ready', report: report as ExportReport }
        },
        (error: unknown) => {
          session.state = { type: 'failed', error }
        },
      )
      .finally(() => {
        cancelDeadline()
        this.#preparing.delete(preparing)
      })
    this.#preparing.add(preparing)
    this.#sweepLater()
    if (isFull) await this.#drop(resting[0]!) // last, so that whoever asks meanwhile finds the new one
    return session
  }

  async #archiveOf(session: Session, report: ExportReport, tenantId: TenantId, cut: ExportCut): Promise<ExportArchive> {
    const { store, objectPrefix, clock } = this.#deps
    const text = await Bun.file(join(session.dir, filesListName)).text()
    const files = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as readonly [key: string, sizeBytes: number])
    const prefix = `${tenantPrefix(objectPrefix, tenantId)}/files/`
    /** @param signal null: to know its size, for which no file is opened. */
    const build = async (signal: AbortSignal | null) => {
      const zip = new ZipFile()
      const options = { mtime: new Date(cut.atMs), mode: fileMode, compress: false }
      for (const name of exportedDatabases) {
        const file = Bun.file(join(session.dir, name))
        // Opened in its turn: a file that is open is not a file that is read.
        zip.addReadStreamLazy(name, { ...options, size: file.size }, (done) => {
          if (signal !== null) done(null, webToNode(file.stream()))
        })
      }
      for (const [key, sizeBytes] of files)
        zip.addReadStreamLazy(`storage/${key}`, { ...options, size: sizeBytes }, (done) => {
          if (signal === null) return
          store.getStream(prefix + key, { signal }).then(
            ({ body }) => done(null, webToNode(body)),
            (error: Error) => done(error, null as never),
          )
        })
      const size = Promise.withResolvers<number>()
      zip.end({ forceZip64Format: false, comment: '' }, size.resolve)
      return { zip, sizeBytes: await size.promise }
    }
    const { sizeBytes } = await build(null)
    const begin = () => {
      session.readers++
    }
    const end = () => {
      session.readers--
      session.usedAtMs = clock.monotonic()
    }
    return { etag: report.etag, sizeBytes, stream: (from) => streamFrom(from, build, { begin, end }) }
  }

  async #drop(session: Session): Promise<void> {
    this.#sessions.delete(session.key)
    await rm(session.dir, { recursive: true, force: true })
  }

  #sweepLater(): void {
    if (this.#cancelSweep !== null || this.#closing.signal.aborted) return
    this.#cancelSweep = this.#deps.clock.setTimer(restMs, () => void this.#sweep())
  }

  async #sweep(): Promise<void> {
    const { clock, log } = this.#deps
    this.#cancelSweep = null
    const rested = [...this.#sessions.values()].filter(
      ({ readers, state, usedAtMs }) =>
        readers === 0 && state.type !== 'preparing' && clock.monotonic() - usedAtMs >= restMs,
    )
    for (const session of rested)
      await this.#drop(session).catch((error) => log.warn('parts of an export were not removed', { error }))
    if (this.#sessions.size > 0) this.#sweepLater()
  }
}

/** The bytes before `from` are made and thrown away: checksums of what they hold stand at the archive's end. */
function streamFrom(
  from: number,
  build: (signal: AbortSignal) => Promise<{ readonly zip: ZipFile }>,
  use: { readonly begin: () => void; readonly end: () => void },
): ReadableStream<Uint8Array> {
  const stop = new AbortController()
  async function* bytes(): AsyncGenerator<Uint8Array> {
    use.begin()
    try {
      const { zip } = await build(stop.signal)
      const output = zip.outputStream as unknown as Readable
      // yazl tells of a file that cannot be read by an event of its own, and its output then never ends.
      zip.on('error', (error) => output.destroy(error instanceof Error ? error : new Error(String(error))))
      let skip = from
      for await (const piece of output as AsyncIterable<Uint8Array>) {
        if (skip < piece.length) yield piece.subarray(skip)
        skip = Math.max(0, skip - piece.length)
      }
    } finally {
      stop.abort()
      use.end()
    }
  }
  const iterator = bytes()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await iterator.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    async cancel() {
      stop.abort()
      await iterator.return(undefined)
    },
  })
}

function webToNode(stream: ReadableStream<Uint8Array>): Readable {
  return Readable.fromWeb(stream as unknown as NodeStream<Uint8Array>)
}
