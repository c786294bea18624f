// One tenant on one directory, without a fleet: the engine and its API, as a PocketBase of its own.

import { accessSync, constants, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Clock } from '../lib/clock.ts'
import { ConfigError, errorMessage } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import type { Rng } from '../lib/rng.ts'
import { tenantApp } from './api/app.ts'
import type { SocketAddress } from './api/listen.ts'
import type { PublicFilesOptions } from './api/public-files.ts'
import type { TenantHost, TenantLease } from './api/tenant-host.ts'
import { PasswordQueue } from './engine/auth/password.ts'
import { createInstallerPath } from './engine/auth/superusers.ts'
import { clearTemporary } from './engine/backups/backups.ts'
import { allowRestore, swapContents } from './engine/backups/restore.ts'
import { cronsOf } from './engine/crons/system-jobs.ts'
import { type Engine, openEngine } from './engine/engine.ts'
import { LocalStorage } from './engine/files/local-storage.ts'
import { normalizeRemoteAddress } from './engine/rate-limit/ip.ts'
import { openListeners, type StandaloneHttps } from './standalone-listeners.ts'

export interface StandaloneOptions {
  /** A `pb_data`; made when missing. */
  readonly dir: string
  readonly http: SocketAddress
  /** With it, {@link http} only sends clients over to here. */
  readonly https?: StandaloneHttps | null
  /** 32 characters that encrypt the settings, or null. */
  readonly encryptionKey: string | null
  readonly isDev: boolean
  /** Origins whose pages may read answers; default: all. */
  readonly origins?: readonly string[]
  /** A folder whose files are served beside the API. */
  readonly publicFiles?: PublicFilesOptions
  /** How long one read may run, ms; default: 30 s. */
  readonly readDeadlineMs?: number
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
}

export interface Standalone extends AsyncDisposable {
  readonly url: string
  readonly engine: Engine
  /** Where a browser makes the first superuser, for half an hour; null when there is one. Takes the time of a password's hash. */
  installerUrl(): Promise<string | null>
  close(): Promise<void>
}

/** Throws ConfigError for a directory or an address that cannot be used; then nothing stays open. */
export async function openStandalone(options: StandaloneOptions): Promise<Standalone> {
  const { clock, rng, log } = options
  const dir = resolve(options.dir)
  try {
    mkdirSync(dir, { recursive: true })
    accessSync(dir, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw new ConfigError(`--dir: cannot use ${dir}: ${errorMessage(error)}`, { cause: error })
  }
  await using opened = new AsyncDisposableStack()
  const passwords = new PasswordQueue().lane()
  const openTenant = async () => {
    const made = await openEngine({
      dir,
      clock,
      rng,
      log,
      passwords,
      files: new LocalStorage(join(dir, 'storage')),
      checkpoint: 'sqlite',
      encryptionKey: options.encryptionKey,
      isDev: options.isDev,
      ...(options.readDeadlineMs !== undefined && { readDeadlineMs: options.readDeadlineMs }),
    })
    allowRestore(made, (unpacked, scratch) => restart(() => swapContents(dir, unpacked, scratch)))
    cronsOf(made).start()
    await made.serve()
    return made
  }
  /** While a backup is put in place; requests wait for its end. */
  let restarting: Promise<Engine> | null = null
  const restart = async (swap: () => Promise<void>) => {
    const replace = async () => {
      await engine.close(true)
      try {
        await swap()
      } finally {
        engine = await openTenant()
      }
      return engine
    }
    restarting = replace().finally(() => {
      restarting = null
    })
    await restarting
  }
  await clearTemporary(dir)
  let engine = await openTenant()
  opened.defer(() => engine.close())
  const host = (scheme: 'http' | 'https'): TenantHost => ({
    acquire(request, connections) {
      const address = connections?.requestIP(request)?.address ?? ''
      const lease = (tenant: Engine): TenantLease => ({
        engine: tenant,
        remoteAddress: normalizeRemoteAddress(address),
        scheme,
        release() {},
      })
      return restarting === null ? lease(engine) : restarting.then(lease)
    },
  })
  const { https = null } = options
  const app = tenantApp({
    host: host(https === null ? 'http' : 'https'),
    ...(options.origins !== undefined && { origins: options.origins }),
    ...(options.publicFiles !== undefined && { publicFiles: options.publicFiles }),
  })
  const listeners = await openListeners({ app, http: options.http, https, dir, clock, rng, log })
  opened.defer(() => listeners.close())
  const installerUrl = async () => {
    const path = await createInstallerPath(engine)
    return path === null ? null : reachable(listeners.url, https) + path
  }
  const all = opened.move()
  const close = () => all.disposeAsync()
  return { url: listeners.url, engine, installerUrl, close, [Symbol.asyncDispose]: close }
}

/** A listener's address as a browser on this machine reaches it, or the domain that its certificate is for. */
function reachable(url: string, https: StandaloneHttps | null): string {
  const { protocol, hostname, port } = new URL(url)
  const isAny = hostname === '0.0.0.0' || hostname === '[::]'
  const host = https?.domains[0] ?? (isAny ? '127.0.0.1' : hostname)
  return `${protocol}//${host}${port === '' ? '' : `:${port}`}`
}
