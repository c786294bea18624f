// What several modes read out of the options in the same way.

import { accessSync, constants, mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import type { ArchivePolicy, SweepPolicy } from '../cp/config.ts'
import { defaultPrices, type PriceTable, parsePrices } from '../cp/services/prices.ts'
import { type ClusterSecrets, clusterSecrets } from '../ipc/keys.ts'
import { systemClock } from '../lib/clock.ts'
import { readSmallFile } from '../lib/config/resolve.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import type { ObjectStore } from '../lib/object-store/object-store.ts'
import { type ObjectStoreConfig, openObjectStore } from '../lib/object-store/open.ts'
import { probeCreateOnly } from '../lib/object-store/probe.ts'
import type { Logger } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import type { FleetOptions } from './mode.ts'

/** Keys of every fleet lie below this, so that a bucket may hold other things. */
const defaultPrefix = 'pocketfleet'

export function fleetSecrets(options: FleetOptions): ClusterSecrets {
  return clusterSecrets(requireClusterSecret(options))
}

export function requireClusterSecret(options: FleetOptions): string {
  if (options.clusterSecret === undefined)
    throw new ConfigError(
      '--cluster-secret: this mode needs the secret of its fleet (CLUSTER_SECRET, or --cluster-secret-file)',
    )
  return options.clusterSecret
}

export function requireControlPlane(options: FleetOptions): readonly string[] {
  if (options.controlPlane === undefined)
    throw new ConfigError('--control-plane: this mode needs the HTTP address of at least one control-plane member')
  return options.controlPlane
}

/** The object store that the options describe: a bucket, or a directory that all processes of the fleet share. */
export function objectStoreConfig(options: FleetOptions): ObjectStoreConfig {
  if (options.s3Bucket === undefined) {
    if (options.objectsDir === undefined)
      throw new ConfigError('--s3-bucket: this mode needs an object store: a bucket, or --objects-dir on one machine')
    return { kind: 'file', dir: resolve(options.objectsDir) }
  }
  const { s3AccessKey, s3SecretKey } = options
  if ((s3AccessKey === undefined) !== (s3SecretKey === undefined))
    throw new ConfigError('--s3-access-key and --s3-secret-key belong together')
  return {
    kind: 's3',
    endpoint: options.s3Endpoint ?? null,
    region: options.s3Region ?? 'us-east-1',
    bucket: options.s3Bucket,
    prefix: (options.s3Prefix ?? defaultPrefix).replace(/\/+$/, ''),
    credentials:
      s3AccessKey === undefined || s3SecretKey === undefined
        ? null
        : { accessKeyId: s3AccessKey, secretAccessKey: s3SecretKey },
    ...((options.s3Rate !== undefined || options.s3RateBytes !== undefined) && {
      rate: { requestsPerSecond: options.s3Rate ?? null, bytesPerSecond: options.s3RateBytes ?? null },
    }),
  }
}

export interface ProbedStore {
  readonly store: ObjectStore
  /** Create-only writes are atomic; else every epoch writes to a path of its own. */
  readonly isCreateOnlyAtomic: boolean
}

/**
 * Opens the store, proves that it can be reached and lets us in, and finds out whether it keeps create-only writes apart.
 * Throws ConfigError that names the store.
 */
export async function openProbedStore(options: FleetOptions, log: Logger): Promise<ProbedStore> {
  const config = objectStoreConfig(options)
  const flag = config.kind === 'file' ? '--objects-dir' : '--s3-bucket'
  let store: ObjectStore | null = null
  try {
    store = await openObjectStore(config, { clock: systemClock, rng: systemRng })
    const isCreateOnlyAtomic = await probeCreateOnly(store, 'probe', systemRng)
    if (!isCreateOnlyAtomic)
      log.warn('the object store does not keep create-only writes apart; each owner gets a path of its own', {
        store: store.description,
      })
    return { store, isCreateOnlyAtomic }
  } catch (error) {
    await store?.close()
    throw new ConfigError(`${flag}: ${errorMessage(error)}`, { cause: error })
  }
}

/** `host:port` for URLs and sockets; IPv6 in brackets. */
export function hostPort(address: { readonly host: string; readonly port: number }): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

/** The data directory, made when missing. Throws ConfigError when it cannot be used. */
export function dataDirectory(options: FleetOptions): string {
  const path = resolve(options.dir ?? './pocketfleet-data')
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
    return path
  } catch (error) {
    throw new ConfigError(`--dir: cannot use ${path}: ${errorMessage(error)}`, { cause: error })
  }
}

/** The price table of `--prices`; throws ConfigError for one that says something impossible. */
export function pricesOf({ prices }: FleetOptions): PriceTable {
  if (prices === undefined) return defaultPrices
  const parsed = parsePrices(readSmallFile(prices, '--prices'))
  if ('problem' in parsed) throw new ConfigError(`--prices: ${prices}: ${parsed.problem}`)
  return parsed
}

const infrequentAfterDaysDefault = 7
const archiveAfterDaysDefault = 90

/** Only AWS is known to have these classes; others name theirs, or have none. */
export function archivePolicyOf(options: FleetOptions): ArchivePolicy {
  const isAws = options.s3Bucket !== undefined && options.s3Endpoint === undefined
  const classOf = (given: string | undefined, onAws: string) => {
    const name = given ?? (isAws ? onAws : 'none')
    return name === 'none' ? null : name
  }
  return {
    infrequentAfterDays: options.infrequentAfterDays ?? infrequentAfterDaysDefault,
    archiveAfterDays: options.archiveAfterDays ?? archiveAfterDaysDefault,
    infrequentClass: classOf(options.s3InfrequentClass, 'STANDARD_IA'),
    archiveClass: classOf(options.s3ArchiveClass, 'GLACIER_IR'),
  }
}

/** Everything of a month can be asked for: what is deleted may be wanted back as long, and a day longer. */
const deletedKeepDaysMin = 31
const dayMs = 86_400_000

/** Throws ConfigError. */
export function sweepPolicyOf({ deletedKeepDays }: FleetOptions): Partial<SweepPolicy> {
  if (deletedKeepDays === undefined) return {}
  if (deletedKeepDays === 0) return { graceMs: null }
  if (deletedKeepDays < deletedKeepDaysMin)
    throw new ConfigError(`--deleted-keep-days: got ${deletedKeepDays}, expected 0 or ${deletedKeepDaysMin} and more`)
  return { graceMs: deletedKeepDays * dayMs }
}
