// From a placement to a tenant that answers: seal and restore, open, replicate. Whoever opens it closes it, on every path.

import type { Placement, StandbyRef, TenantSpec } from '../../ipc/messages/tenant.ts'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Rng } from '../../lib/rng.ts'
import { type DamagedFileError, StaleEpochError } from '../../replicate/errors.ts'
import { type OpenedHistory, openHistory } from '../../replicate/history.ts'
import type { Recover } from '../../replicate/seal.ts'
import { Shipper } from '../../replicate/shipper.ts'
import type { ReplicaSource } from '../../replicate/source.ts'
import { acksMinOf, StandbyCouncil, type StandbyNode } from '../../replicate/standby-council.ts'
import { StandbyStream, StandbysBehindError } from '../../replicate/standby-stream.ts'
import type { UpkeepRunner } from '../../replicate/upkeep.ts'
import type { PasswordQueue } from '../engine/auth/password.ts'
import { ObjectBackups } from '../engine/backups/backup-storage.ts'
import { clearTemporary } from '../engine/backups/backups.ts'
import { cronsOf } from '../engine/crons/system-jobs.ts'
import { CorruptDatabaseError } from '../engine/db/database.ts'
import { type Engine, openEngine } from '../engine/engine.ts'
import type { FileCache } from '../engine/files/file-cache.ts'
import { ObjectStorage } from '../engine/files/object-storage.ts'
import { logsOf } from '../engine/logs/log-store.ts'
import { locate } from './cut.ts'
import { noFacts, readFacts, type TenantFacts, tenantPrefix } from './manifest.ts'
import { ackDeadlineMs, ReplicatedGate, type ShipProgress } from './output-gate.ts'
import type { OpenTenant } from './pool.ts'
import { SlotWatch } from './slot-watch.ts'
import type { StandbyClients } from './standby-clients.ts'
import { dropEarlierRecords, recordStandbys } from './standby-records.ts'
import { allowFleetRestore } from './tenant-content.ts'
import { WrongOwnerError } from './tenant-errors.ts'
import { type DatabaseName, databaseNames, type TenantFiles } from './tenant-files.ts'
import { TenantUpkeep } from './tenant-upkeep.ts'
import { WarmHints } from './warm-hints.ts'

export interface TenantDeps {
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  readonly store: ObjectStore
  readonly objectPrefix: string
  readonly files: TenantFiles
  readonly fileCache: FileCache
  readonly passwords: PasswordQueue
  readonly isDev: boolean
  /** Merges and deletes files of histories, where it holds up nobody. */
  readonly upkeep: UpkeepRunner
  /** A tenant was closed: when its histories need a look; null for never. */
  readonly onUpkeepDue: (id: TenantId, dueAtMs: number | null) => void
  /** A tenant closes whose next cron job is then; null: it has none that must run while it is closed. */
  readonly onCronDue: (id: TenantId, dueAtMs: number | null) => void
  /** How long the control plane has given this node no lease, ms; 0 while it has one. */
  readonly leaseLostMs: () => number
  readonly standbys: StandbyClients
  /** The owner under this placement has sealed, and asked all standbys of earlier epochs before. */
  readonly onSealed: (placement: Placement) => void
  /** The tenant should be closed and opened again, so that its standbys promise anew. */
  readonly onStandbyLost: (id: TenantId) => void
  /** The histories were opened in so many ms; restored: at least one came from the object store. */
  readonly onOpened: (ms: number, isRestored: boolean) => void
}

/** `auxiliary.db` holds logs: outside the loss bound, and not worth a request a second. */
const auxiliaryDelayMs = 60_000
/** A restored file up to this size is checked before it serves; larger ones are left to the drills. */
const checkedBytesMax = 32 * 1024 * 1024
/** How long the tail may take at close before it is left to the next opening. */
const closeDeadlineMs = 10_000
/** Page cache, statements and JavaScript objects of an open tenant, bytes; measured over 500 of them. */
const openFootprintBytes = 640 * 1024

/**
 * Opens a placed tenant or leaves nothing behind.
 *
 * Throws WrongOwnerError when a later owner has the history; NeverShippedError, LtxGapError, CorruptDatabaseError;
 * ObjectStoreError. Local commits that a later owner overtook are kept as an orphan.
 */
export async function openTenant(spec: TenantSpec, placement: Placement, deps: TenantDeps): Promise<OpenTenant> {
  const { files, log } = deps
  const { id } = spec
  const aside = files.isClean(id) ? null : await files.setAside(id)
  await files.markDirty(id)
  try {
    const council = councilOf(placement, deps)
    const startedAtMs = deps.clock.monotonic()
    const reading = readFacts(deps, id)
    const [data, aux, hooks, facts, standbys] = await Promise.all([
      takeOver('data.db', placement, deps, reading, council),
      takeOver('auxiliary.db', placement, deps, reading),
      takeOver('hooks.db', placement, deps, reading),
      reading,
      reading.then((known) => recordStandbys(placement, known?.standbys ?? null, deps)),
    ])
    if (standbys.isNew) void dropEarlierRecords(placement, deps)
    const openMs = deps.clock.monotonic() - startedAtMs
    const histories = { 'data.db': data, 'auxiliary.db': aux, 'hooks.db': hooks }
    const upkeep = new TenantUpkeep(spec, histories, { ...(facts ?? noFacts), standbys: standbys.facts }, deps)
    upkeep.openingTook(openMs)
    deps.onOpened(
      openMs,
      [data, aux, hooks].some(({ origin }) => origin === 'restored'),
    )
    if (council !== null) {
      deps.onSealed(placement)
      void council.releaseOthers(data.writer)
    }
    if (data.origin === 'restored' && aside !== null)
      log.warn('local commits were overtaken, kept as an orphan', { tenant: id, orphan: await aside.keep() })
    else await aside?.drop()
    return await openReplicated(spec, placement, { data, aux, council, upkeep }, deps)
  } catch (error) {
    if (!(error instanceof StaleEpochError)) {
      await aside?.drop() // the files themselves are still there, and so is the next attempt
      throw error
    }
    if (aside !== null)
      log.warn('local commits were overtaken, kept as an orphan', { tenant: id, orphan: await aside.keep() })
    await files.remove(id)
    throw new WrongOwnerError(`tenant ${id} belongs to epoch ${error.foundEpoch}`, { cause: error })
  }
}

function takeOver(
  name: DatabaseName,
  placement: Placement,
  deps: TenantDeps,
  facts: Promise<TenantFacts | null>,
  council: StandbyCouncil | null = null,
): Promise<OpenedHistory> {
  const { clock, rng, files, log } = deps
  const { tenantId: id, epoch } = placement
  const onDamaged = (error: DamagedFileError) =>
    log.warn('a merged file is damaged, other files are read in its place', { tenant: id, error: errorMessage(error) })
  const recover: Recover | null = council && ((tail, writer, at) => council.recover(tail, writer, at))
  const manifest = async () => (await facts)?.databases[name] ?? null
  const options = { epoch, clock, rng, onDamaged, manifest, ...(recover && { recover }) }
  return openHistory(locate({ ...deps, tenantId: id }, name), files.path(id, name), options)
}

/** null for a tenant that never had standbys. Only `data.db` has them: what it holds is what is acknowledged. */
function councilOf(placement: Placement, { standbys, log }: TenantDeps): StandbyCouncil | null {
  const { tenantId, standbySets = [] } = placement
  if (standbySets.length === 0) return null
  const nodes = new Map<string, StandbyNode>()
  const nodeOf = (ref: StandbyRef) => {
    const known = nodes.get(ref.nodeId) ?? standbys.node(ref, tenantId)
    nodes.set(ref.nodeId, known)
    return known
  }
  const sets = standbySets.map((set) => ({ epoch: set.epoch, nodes: set.nodes.map(nodeOf) }))
  return new StandbyCouncil({ sets, own: sets.at(-1)!.nodes, log: log.with({ tenant: tenantId }) })
}

/** The engine of a tenant of a fleet; its gate is set by whoever replicates it. */
export function openFleetEngine(spec: TenantSpec, deps: TenantDeps): Promise<Engine> {
  const { clock, rng, log, store, objectPrefix, files, fileCache, passwords, isDev } = deps
  return openEngine({
    dir: files.dir(spec.id),
    clock,
    rng,
    log: log.with({ tenant: spec.id }),
    passwords: passwords.lane(),
    files: new ObjectStorage({
      store,
      prefix: `${tenantPrefix(objectPrefix, spec.id)}/files/`,
      cache: fileCache,
      keepsDeleted: true,
    }),
    backups: new ObjectBackups({
      store,
      prefix: `${tenantPrefix(objectPrefix, spec.id)}/backups/`,
      createOnly: true,
    }),
    checkpoint: 'owner',
    isDev,
  })
}

async function openReplicated(
  spec: TenantSpec,
  placement: Placement,
  histories: {
    readonly data: OpenedHistory
    readonly aux: OpenedHistory
    readonly council: StandbyCouncil | null
    readonly upkeep: TenantUpkeep
  },
  deps: TenantDeps,
): Promise<OpenTenant> {
  const { clock, rng, log } = deps
  await using opened = new AsyncDisposableStack()
  await clearTemporary(deps.files.dir(spec.id))
  const engine = opened.use(await openFleetEngine(spec, deps))
  const { data, upkeep } = histories
  if (data.origin === 'restored' && data.pageSize * data.commit <= checkedBytesMax) check(engine)
  const fence = new Fence()
  const options = {
    clock,
    rng,
    log,
    onFenced: (error: { readonly foundEpoch: number }) => fence.close(error.foundEpoch),
  }
  const hints = new WarmHints(placement, deps.standbys, clock, log)
  const onShipped = (name: DatabaseName) => {
    const noted = upkeep.shipped(name)
    return (...shipped: Parameters<typeof noted>) => {
      noted(...shipped)
      hints.shipped(name)
    }
  }
  const shipper = Shipper.attach(engine.data, data, { ...options, onShipped: onShipped('data.db') })
  opened.defer(() => void shipper.close({ deadlineMs: 0 }))
  const auxShipper = Shipper.attach(engine.aux, histories.aux, {
    ...options,
    shipDelayMs: auxiliaryDelayMs,
    onShipped: onShipped('auxiliary.db'),
  })
  const stream = streamOf(placement, histories.council, { engine, shipper }, deps)
  const watch = new SlotWatch({
    clock,
    log: log.with({ tenant: spec.id }),
    leaseLostMs: deps.leaseLostMs,
    storeHeardAtMs: () => shipper.heardAtMs,
    look: (signal) => shipper.look(signal),
  })
  opened.defer(() => watch.close())
  const gate = new ReplicatedGate(progressOf(engine.data, shipper, stream), watch, spec, clock)
  engine.gate = gate
  engine.data.admission = () => gate.admit()
  allowFleetRestore(engine)
  cronsOf(engine).start()
  await engine.serve()
  opened.move()
  upkeep.start(engine)
  hints.shipped(...databaseNames) // the seals
  return new ReplicatedTenant(
    spec,
    placement,
    { engine, shipper, auxShipper, stream, watch, gate, fence, upkeep, hints },
    deps,
  )
}

function check(engine: Engine): void {
  const rows = engine.data.values('PRAGMA quick_check(1)')
  const found = rows[0]?.[0]
  if (found !== 'ok') throw new CorruptDatabaseError(`the restored database is damaged: ${String(found)}`)
}

/** Remembers that another owner came, for those who ask before and after. */
class Fence {
  #seen: Epoch | null = null
  #listener: ((seenEpoch: Epoch) => void) | null = null

  get isClosed(): boolean {
    return this.#seen !== null
  }

  set listener(listener: (seenEpoch: Epoch) => void) {
    this.#listener = listener
    if (this.#seen !== null) listener(this.#seen)
  }

  close(foundEpoch: number): void {
    if (this.#seen !== null) return // the second database of the tenant
    this.#seen = foundEpoch as Epoch
    this.#listener?.(this.#seen)
  }
}

/** null where too few standbys have promised: then the store answers for them. */
function streamOf(
  { tenantId, standbySets = [] }: Placement,
  council: StandbyCouncil | null,
  { engine, shipper }: { readonly engine: Engine; readonly shipper: Shipper },
  { clock, log, onStandbyLost }: TenantDeps,
): StandbyStream | null {
  const own = standbySets.at(-1)?.nodes ?? []
  if (council === null || own.length === 0) return null
  const acksMin = acksMinOf(own.length)
  const peers = council.peers(shipper.writer)
  if (peers.length < acksMin) {
    log.warn('too few standbys have promised, the store answers alone', {
      tenant: tenantId,
      peers: peers.length,
      acksMin,
    })
    return null
  }
  return new StandbyStream(engine.data, shipper, {
    clock,
    log: log.with({ tenant: tenantId }),
    peers,
    acksMin,
    firstSeq: council.firstSeq,
    onLost: () => onStandbyLost(tenantId),
  })
}

/** What the gate of a database asks its shipper and its standbys. */
export function progressOf(
  data: Pick<ReplicaSource, 'commitSeq'>,
  shipper: Shipper,
  stream: StandbyStream | null,
): ShipProgress {
  const whenDurable = () => shipper.waitDurable(data.commitSeq, ackDeadlineMs)
  return {
    get isDurable() {
      return shipper.durableSeq >= data.commitSeq
    },
    get isOnStandbys() {
      return stream !== null && stream.storedSeq >= data.commitSeq
    },
    hasStandbys: stream !== null,
    get lagMs() {
      return shipper.lagMs
    },
    get spoolBytes() {
      return shipper.unshippedBytes
    },
    get isFenced() {
      return shipper.fencedBy !== null
    },
    get isStoreFailing() {
      return shipper.failuresInRow > 0
    },
    whenDurable,
    whenOnStandbys: () => stream?.waitStored(data.commitSeq) ?? Promise.reject(new StandbysBehindError('no standbys')),
    whenWithin: whenDurable, // what is older than the bound is durable once everything up to now is
  }
}

interface Parts {
  readonly shipper: Shipper
  readonly auxShipper: Shipper
  readonly stream: StandbyStream | null
  readonly watch: SlotWatch
  readonly gate: ReplicatedGate
  readonly fence: Fence
  readonly upkeep: TenantUpkeep
  readonly hints: WarmHints
}

class ReplicatedTenant implements OpenTenant {
  readonly placement: Placement
  readonly engine: Engine
  readonly #parts: Parts
  readonly #deps: TenantDeps
  #spec: TenantSpec

  constructor(spec: TenantSpec, placement: Placement, parts: Parts & { readonly engine: Engine }, deps: TenantDeps) {
    this.#spec = spec
    this.placement = placement
    this.engine = parts.engine
    this.#parts = parts
    this.#deps = deps
  }

  get spec(): TenantSpec {
    return this.#spec
  }

  get lagMs(): number {
    return this.#parts.shipper.lagMs
  }

  get footprintBytes(): number {
    return openFootprintBytes
  }

  onFenced(listener: (seenEpoch: Epoch) => void): void {
    this.#parts.fence.listener = listener
  }

  async update(spec: TenantSpec, placement: Placement): Promise<void> {
    this.#spec = spec
    this.#parts.hints.moveTo(placement)
    this.#parts.gate.setPolicy(spec)
    await this.#parts.upkeep.identify(spec)
  }

  async flush(): Promise<void> {
    const { shipper, auxShipper } = this.#parts
    await Promise.all([shipper.flush(closeDeadlineMs), auxShipper.flush(closeDeadlineMs)])
  }

  async close(): Promise<void> {
    const { shipper, auxShipper, stream, watch, fence, upkeep } = this.#parts
    const { files, log } = this.#deps
    const { id } = this.#spec
    const options = { deadlineMs: closeDeadlineMs }
    let shipped: readonly boolean[]
    const nextCronAtMs = cronsOf(this.engine).nextWakeMs(this.#deps.clock.now())
    try {
      await upkeep.stop()
      // What the engine still has to write comes first, or it would be committed after the tail was shipped.
      await cronsOf(this.engine).stop()
      await logsOf(this.engine).flush()
      shipped = await Promise.all([shipper.close(options), auxShipper.close(options)])
      await stream?.close({ isShipped: shipped[0] === true })
    } finally {
      watch.close()
      await this.engine.close()
    }
    const pathOf = shipped.every(Boolean) ? (name: DatabaseName) => files.path(id, name) : null
    if (!fence.isClosed) {
      const closing = { nextCronAtMs, pathOf, settledTxid: shipped[0] === true ? shipper.txid : null }
      this.#deps.onUpkeepDue(id, await upkeep.close(closing))
      this.#deps.onCronDue(id, nextCronAtMs)
    }
    if (shipped.every(Boolean) && !fence.isClosed) return files.markClean(id)
    if (!fence.isClosed) return // the folder stays dirty: the next opening ships what is left
    const aside = await files.setAside(id)
    if (aside !== null)
      log.warn('fenced tenant left commits, kept as an orphan', { tenant: id, orphan: await aside.keep() })
    await files.remove(id)
  }
}
