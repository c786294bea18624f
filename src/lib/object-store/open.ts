// From configuration to a store.

import { type Clock, systemClock } from '../clock.ts'
import { type Rng, systemRng } from '../rng.ts'
import { FileObjectStore } from './file.ts'
import type { ObjectStore } from './object-store.ts'
import type { S3StoreConfig } from './s3.ts'
import { type StoreRate, ThrottledObjectStore } from './throttled.ts'

/** Plain data: it crosses a process boundary as JSON, on standard input, because it may hold a secret. */
export type ObjectStoreConfig =
  | { readonly kind: 'file'; readonly dir: string }
  | (S3StoreConfig & { readonly rate?: StoreRate })

/** The configuration for one of several processes that share what a machine may ask of a bucket. */
export function shareOf(config: ObjectStoreConfig, share: number): ObjectStoreConfig {
  if (config.kind === 'file' || config.rate === undefined) return config
  const part = (rate: number | null) => (rate === null ? null : rate * share)
  const { requestsPerSecond, bytesPerSecond } = config.rate
  return { ...config, rate: { requestsPerSecond: part(requestsPerSecond), bytesPerSecond: part(bytesPerSecond) } }
}

/** Where a store is, without what lets one in. */
export type StoreLocation =
  | { readonly kind: 'file'; readonly dir: string }
  | Pick<S3StoreConfig, 'kind' | 'endpoint' | 'region' | 'bucket' | 'prefix'>

export function locationOf(config: ObjectStoreConfig): StoreLocation {
  if (config.kind === 'file') return config
  const { kind, endpoint, region, bucket, prefix } = config
  return { kind, endpoint, region, bucket, prefix }
}

/** Opens a store. Nothing is asked of it yet but a directory of its own, which is made. */
export async function openObjectStore(
  config: ObjectStoreConfig,
  deps: { readonly clock?: Clock; readonly rng?: Rng } = {},
): Promise<ObjectStore> {
  const { clock = systemClock, rng = systemRng } = deps
  if (config.kind === 'file') return FileObjectStore.open({ dir: config.dir, rng })
  // The client of S3 takes longer to load than a small database to restore, and a directory never needs it.
  const { openS3ObjectStore } = await import('./s3.ts')
  const store = openS3ObjectStore(config, { clock, rng })
  return config.rate === undefined ? store : new ThrottledObjectStore(store, config.rate, clock)
}
