// `dev`: all-in-one with text logs, and children that restart when the source changes. RocksDB and the workers hold
// locks, so nothing reloads in place: a child ends gracefully and its successor loads the new code.

import { watch } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../lib/clock.ts'
import { fleetOptions } from '../lib/config/fleet-options.ts'
import { readSmallFile, resolveOptions } from '../lib/config/resolve.ts'
import { ConfigError } from '../lib/errors.ts'
import { createLogger } from '../lib/obs/log.ts'
import { serveUntilStopped } from './lifetime.ts'
import { startAllInOne } from './modes/all-in-one.ts'

/** Editors write a file in several steps; wait for them to finish, ms. */
const settleMs = 300

export async function runDev(typed: Readonly<Record<string, string>>): Promise<number> {
  const { config: configPath, ...flags } = typed
  const file: unknown = configPath ? JSON.parse(readSmallFile(configPath, '--config')) : {}
  if (typeof file !== 'object' || file === null)
    throw new ConfigError(`--config: ${configPath} must hold a JSON object`)
  const resolved = resolveOptions(fleetOptions, {
    flags,
    env: process.env,
    file: file as Record<string, unknown>,
    fileName: configPath,
  })
  if (resolved.mode !== undefined && resolved.mode !== 'all-in-one')
    throw new ConfigError(`--mode: got "${resolved.mode}", dev runs all-in-one only`)
  const options = {
    ...resolved,
    dev: true,
    logFormat: resolved.logFormat ?? ('text' as const),
    logLevel: resolved.logLevel ?? ('warn' as const),
  }
  const log = createLogger({
    level: options.logLevel,
    format: options.logFormat,
    now: systemClock.now,
    fields: { mode: 'dev' },
  })
  const running = await startAllInOne({ options, log, isChild: false, domains: [] })
  for (const line of running.banner) console.log(line)
  const stopWatching = Bun.isStandaloneExecutable ? () => {} : watchSource(() => reload(running))
  try {
    return await serveUntilStopped(running, null, log)
  } finally {
    stopWatching()
  }
}

async function reload(running: { reload(): Promise<void> }): Promise<void> {
  console.log('source changed, restarting')
  await running.reload()
}

/** Calls `onChange` once per burst of changes, and not again while it runs. */
function watchSource(onChange: () => Promise<void>): () => void {
  let cancel = () => {}
  let busy = false
  let again = false
  const run = async () => {
    if (busy) {
      again = true
      return
    }
    busy = true
    try {
      await onChange()
    } finally {
      busy = false
      if (again) {
        again = false
        run()
      }
    }
  }
  const watcher = watch(fileURLToPath(new URL('..', import.meta.url)), { recursive: true }, (_, name) => {
    if (name === null || !/\.(ts|tsx|css|html)$/.test(name) || name.endsWith('.test.ts')) return
    cancel()
    cancel = systemClock.setTimer(settleMs, run)
  })
  return () => watcher.close()
}
