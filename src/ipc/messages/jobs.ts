// Work on a tenant's history that takes longer than a request: the control plane asks a node for it again and again until
// it is done. Asking starts the job where it does not run, so a lost reply, a worker that died and a control plane that
// restarted all mend themselves; every job may be run again from its start.

import type { TenantId, Txid } from '../../lib/brand.ts'
import type { Placement, TenantSpec } from './tenant.ts'

/** A moment of a tenant as a person names it; `txid` is one of `data.db`. */
export type PointWish =
  | { readonly type: 'latest' }
  | { readonly type: 'time'; readonly atMs: number }
  | { readonly type: 'txid'; readonly txid: Txid }

/** One moment of all databases of a tenant: of each the last TXID at or before `atMs`. */
export interface Cut {
  readonly atMs: number
  readonly data: Txid
  readonly hooks: Txid
  readonly auxiliary: Txid
}

export type TenantJob =
  /** What can be restored. */
  | { readonly type: 'points'; readonly latestMax: number }
  /** What a wish means; everything committed so far is shipped first. */
  | { readonly type: 'cut'; readonly wish: PointWish }
  /** What going back would change. */
  | { readonly type: 'preview'; readonly wish: PointWish }
  /** Goes back in place. The tenant is closed meanwhile. */
  | { readonly type: 'restore'; readonly placement: Placement; readonly cut: Cut }
  /** Makes a new tenant, which is placed here, out of a moment of another one. */
  | {
      readonly type: 'fork'
      readonly tenant: TenantSpec
      readonly placement: Placement
      readonly source: TenantId
      readonly cut: Cut
    }
  /** Moves what lies there to a cheaper class; null: there is none. The tenant is closed. */
  | { readonly type: 'archive'; readonly stage: ArchiveStage; readonly storageClass: string | null }
  /** What is stored, by one listing. */
  | { readonly type: 'usage' }
  /** `isHandedOver`: the tenant is stopped for good; leave its histories as the official replicator needs them. */
  | { readonly type: 'eject'; readonly isHandedOver: boolean }
  /** Proves that all histories can be restored; best on another node than the tenant's. */
  | { readonly type: 'drill' }
  /**
   * Deletes what nobody needs, or only looks at it: of a deleted tenant everything (`belowEpoch` null), of a living one the
   * paths of epochs below. What was written after `unchangedSinceMs` is in use, and so is a history of a higher epoch
   * than `knownEpoch` (0: none is known).
   */
  | {
      readonly type: 'sweep'
      readonly belowEpoch: number | null
      readonly knownEpoch: number
      readonly unchangedSinceMs: number
      readonly isDryRun: boolean
    }
  /** Copies the tenant to a node that is about to get it, for a worker of it; may be repeated for what came since. */
  | { readonly type: 'warm'; readonly worker: number }

/** Where the databases stand for programs that are not ours; handed over, the official replicator may go on with them. */
export interface EjectReport {
  readonly databases: readonly { readonly name: string; readonly txid: Txid; readonly atMs: number }[]
  readonly isHandedOver: boolean
}

export interface SweepReport {
  readonly objects: number
  readonly bytes: number
  /** How many of them are deleted; a dry run deletes none. */
  readonly objectsDeleted: number
}

export interface WarmReport {
  /** Those that were copied: none that is small, and none at all when the node has files that it must not touch. */
  readonly databases: readonly { readonly name: string; readonly txid: Txid }[]
}

export interface DrillReport {
  readonly databases: readonly {
    readonly name: string
    readonly txid: Txid
    readonly sizeBytes: number
    readonly filesCount: number
    readonly bytesRead: number
    readonly restoreMs: number
    /** Files whose checksum its owner had noted. */
    readonly notedCount: number
    /** Files of the second restore; null when there is no second way. */
    readonly otherFilesCount: number | null
  }[]
}

export type ArchiveStage = 'infrequent' | 'archived'

export interface ArchiveReport {
  readonly objectsMoved: number
  readonly bytesMoved: number
  /** Of the history, which is one image now. */
  readonly filesDeleted: number
}

/** What lies in the object store for a tenant. */
export interface UsageReport {
  readonly stored: readonly {
    readonly kind: 'history' | 'files' | 'backups' | 'other'
    /** The store's own word; `STANDARD` where it has none. */
    readonly storageClass: string
    readonly objects: number
    readonly bytes: number
  }[]
  readonly atMs: number
}

export interface RestorePointsReport {
  readonly ranges: readonly {
    readonly fromMs: number
    readonly toMs: number
    readonly fromTxid: Txid
    readonly toTxid: Txid
    readonly pointsCount: number
    readonly resolution: 'transaction' | 'merged'
  }[]
  /** Newest first. */
  readonly latest: readonly { readonly txid: Txid; readonly atMs: number }[]
}

/** What going back would do to one collection. */
export interface CollectionChange {
  readonly id: string
  /** Its name now, or before where it is gone now. */
  readonly name: string
  /** `restored`: it is gone now and comes back; `removed`: it did not exist then. */
  readonly fate: 'kept' | 'restored' | 'removed'
  readonly isSchemaChanged: boolean
  /** Records that come back, get other content, or go. */
  readonly added: number
  readonly changed: number
  readonly removed: number
}

export interface PreviewReport {
  readonly cut: Cut
  /** Only collections that would change. */
  readonly collections: readonly CollectionChange[]
  /** The tenant's settings would be others. */
  readonly isSettingsChanged: boolean
  readonly hooks: { readonly added: number; readonly changed: number; readonly removed: number }
}

export interface RestoreReport {
  readonly cut: Cut
  /** The new end of the history: to undo, restore to a time before this restore. */
  readonly dataTxid: Txid
  /** Files that the newer state had alone; they go when no restore point needs them any more. */
  readonly filesReleased: number
}

export interface ForkReport {
  readonly cut: Cut
  readonly filesCount: number
  readonly filesBytes: number
  /** What a person should know, a sentence each. */
  readonly notes: readonly string[]
}

export interface JobReports {
  points: RestorePointsReport
  cut: Cut
  preview: PreviewReport
  restore: RestoreReport
  fork: ForkReport
  eject: EjectReport
  usage: UsageReport
  archive: ArchiveReport
  drill: DrillReport
  sweep: SweepReport
  warm: WarmReport
}

export interface JobProgress {
  readonly done: number
  /** null: not known yet. */
  readonly total: number | null
  /** What is being done, a few words. */
  readonly step: string
}

export type JobState<Report> =
  | { readonly state: 'running'; readonly progress: JobProgress }
  | { readonly state: 'done'; readonly report: Report }
  | {
      readonly state: 'failed'
      readonly code: string
      readonly message: string
    }
