// One tenant on a fresh directory behind its own HTTP server, in the test's process, with its engine at hand.

import { tenantApp } from '../../src/node/api/app.ts'
import type { TenantHost } from '../../src/node/api/tenant-host.ts'
import type { Engine, EngineOptions } from '../../src/node/engine/engine.ts'
import { normalizeRemoteAddress } from '../../src/node/engine/rate-limit/ip.ts'
import type { EngineRecord } from '../../src/node/engine/records/record.ts'
import { openTestEngine, saveUser } from './engine.ts'

export interface Standalone extends AsyncDisposable {
  readonly engine: Engine
  readonly url: string
  /** Saves a record of `users`, past the API. */
  createUser(values: Readonly<Record<string, unknown>>): Promise<EngineRecord>
  stop(): Promise<void>
}

/** Stopped by {@link Standalone.stop} or `await using`. */
export async function startStandalone(options: Partial<EngineOptions> = {}): Promise<Standalone> {
  const opened = await openTestEngine(options)
  const { engine } = opened
  const host: TenantHost = {
    acquire: (request, connections) => ({
      engine,
      remoteAddress: normalizeRemoteAddress(connections?.requestIP(request)?.address ?? ''),
      scheme: 'http',
      release() {},
    }),
  }
  const app = tenantApp({ host }).listen({ port: 0, hostname: '127.0.0.1' })
  const stop = async () => {
    await app.stop(true)
    await opened[Symbol.asyncDispose]()
  }
  return {
    engine,
    url: `http://127.0.0.1:${app.server!.port}`,
    createUser: (values) => saveUser(engine, 'users', values),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}
