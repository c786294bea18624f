// A bucket that a tenant names in its settings, for its files or its backups. Its address is somebody else's choice: on a
// node that tenants share, it is checked at the moment of connecting, like every address that a tenant names.

import type { lookup } from 'node:dns'
import { isIP } from 'node:net'
import type { Cancel, Clock } from '../../../lib/clock.ts'
import { errorMessage } from '../../../lib/errors.ts'
import { type ObjectStore, ObjectStoreError } from '../../../lib/object-store/object-store.ts'
import type { S3Network } from '../../../lib/object-store/s3.ts'
import type { Rng } from '../../../lib/rng.ts'
import { isPublicAddress, lookupPublic, OutboundError } from '../auth/oauth2/outbound.ts'
import type { S3Settings } from '../settings/settings.ts'

/** A bucket that the settings no longer name stays open this long for what was under way, ms. */
const retiredMs = 15 * 60_000
/** Buckets that are still open after they were replaced; with more the oldest ends at once. */
const retiredMax = 4

export interface TenantBucketDeps {
  readonly clock: Clock
  readonly rng: Rng
  /** See EngineOptions. */
  readonly mayReachPrivate: boolean
}

const publicNetwork: S3Network = {
  lookup: lookupPublic as typeof lookup,
  checkHost(host) {
    if (isIP(host) !== 0 && !isPublicAddress(host)) throw new OutboundError(`address ${host} is not public`)
  },
}

/** A client over the bucket of the settings; no request is made. Throws ObjectStoreError for settings that make none. */
export async function openTenantBucket(s3: S3Settings, deps: TenantBucketDeps): Promise<ObjectStore> {
  const { openS3ObjectStore } = await import('../../../lib/object-store/s3.ts') // most tenants never need it
  const network = deps.mayReachPrivate ? {} : { network: publicNetwork }
  const config = {
    kind: 's3',
    endpoint: /^https?:\/\//.test(s3.endpoint) ? s3.endpoint : `https://${s3.endpoint}`,
    region: s3.region,
    bucket: s3.bucket,
    prefix: '',
    credentials: { accessKeyId: s3.accessKey, secretAccessKey: s3.secret },
    forcePathStyle: s3.forcePathStyle,
    checksumsOnlyWhenRequired: true,
  } as const
  try {
    return openS3ObjectStore(config, { clock: deps.clock, rng: deps.rng, ...network })
  } catch (cause) {
    const facts = { retryable: false, status: null }
    throw new ObjectStoreError(`the bucket of the settings cannot be opened: ${errorMessage(cause)}`, facts, { cause })
  }
}

/** The bucket that one group of the settings names now. Follows every change of them. */
export class TenantBucket {
  readonly #settings: () => S3Settings
  readonly #deps: TenantBucketDeps
  #opened: { readonly settings: string; readonly store: Promise<ObjectStore> } | null = null
  readonly #retired: Retired[] = []

  constructor(settings: () => S3Settings, deps: TenantBucketDeps) {
    this.#settings = settings
    this.#deps = deps
  }

  get isEnabled(): boolean {
    return this.#settings().enabled
  }

  /** null while the settings name none. */
  async store(): Promise<ObjectStore | null> {
    const s3 = this.#settings()
    if (!s3.enabled) return null
    const settings = JSON.stringify(s3)
    if (this.#opened?.settings !== settings) {
      this.#retire()
      this.#opened = { settings, store: openTenantBucket(s3, this.#deps) }
    }
    return this.#opened.store
  }

  async close(): Promise<void> {
    this.#retire()
    await Promise.all(this.#retired.splice(0).map(end))
  }

  #retire(): void {
    if (this.#opened === null) return
    const { store } = this.#opened
    this.#opened = null
    const cancel = this.#deps.clock.setTimer(retiredMs, () => {
      const at = this.#retired.indexOf(retired)
      if (at >= 0) void end(this.#retired.splice(at, 1)[0]!)
    })
    const retired: Retired = { store, cancel }
    this.#retired.push(retired)
    if (this.#retired.length > retiredMax) void end(this.#retired.shift()!)
  }
}

interface Retired {
  readonly store: Promise<ObjectStore>
  readonly cancel: Cancel
}

async function end({ store, cancel }: Retired): Promise<void> {
  cancel()
  const opened = await store.catch(() => null) // what never opened has nothing to close; whoever asked has the error
  await opened?.close()
}
