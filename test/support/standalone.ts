// A standalone tenant on a free port, in a directory of its own or on a copy of another.

import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'
import type { Engine } from '../../src/node/engine/engine.ts'
import { openStandalone } from '../../src/node/standalone.ts'

export interface Standalone {
  readonly url: string
  readonly engine: Engine
  readonly dir: string
  /** Closes it; a directory that was made for it is deleted. */
  stop(): Promise<void>
}

/** @param fixture a `pb_data` to start from; it is copied. */
export async function startStandalone(fixture: string | null = null): Promise<Standalone> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-standalone-'))
  if (fixture !== null) cpSync(fixture, dir, { recursive: true })
  const standalone = await serveStandalone(dir)
  return {
    ...standalone,
    async stop() {
      await standalone.stop()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Serves a directory of the caller's, which stays. */
export async function serveStandalone(dir: string): Promise<Standalone> {
  const standalone = await openStandalone({
    dir,
    http: { host: '127.0.0.1', port: 0 },
    encryptionKey: null,
    isDev: true,
    clock: systemClock,
    rng: systemRng,
    log: silentLogger,
  })
  return { url: standalone.url, engine: standalone.engine, dir, stop: () => standalone.close() }
}
