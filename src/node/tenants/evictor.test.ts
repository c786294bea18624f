// Goal: only what rests and is in the store goes, and nothing that another worker opens or keeps up to date. Method: real
// folders.

import { afterAll, expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../../test/support/wait.ts'
import type { TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { evictResting, startEvictor } from './evictor.ts'
import type { TenantPool } from './pool.ts'
import { TenantFiles } from './tenant-files.ts'

const root = mkdtempSync(join(tmpdir(), 'pf-evictor-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const pool: Pick<TenantPool, 'whileClosed'> = { whileClosed: (_, work) => work() }

test('resting folders go, but for those that are dirty, warm or in the hands of another worker', async () => {
  const clock = new SimClock()
  const files = new TenantFiles(root, clock)
  const [resting, dirty, warm, opening] = ['resting', 'dirtydx', 'warmwrm', 'opening'].map(
    (name) => `${name}00000001` as TenantId,
  ) as [TenantId, TenantId, TenantId, TenantId]
  for (const id of [resting, dirty, warm, opening]) {
    mkdirSync(files.dir(id), { recursive: true })
    writeFileSync(files.path(id, 'data.db'), 'pages')
    if (id !== dirty) await files.markClean(id)
  }
  await files.markWarm(warm, 0)
  const later = Math.max(...[resting, warm, opening].map((id) => statSync(files.dir(id)).mtimeMs)) + 1
  {
    using lock = new TenantFiles(root, clock).tryLock(opening)
    expect(lock).not.toBeNull()
    expect(await evictResting(pool, files, later, log)).toBe(1)
  }
  expect([resting, dirty, warm, opening].map((id) => existsSync(files.dir(id)))).toEqual([false, true, true, true])
  expect(await evictResting(pool, files, later, log)).toBe(1)
  expect(existsSync(files.dir(opening))).toBe(false)
  expect(readdirSync(join(root, 'locks'))).toEqual([])
})

test('it looks again and again, tells after each look, and rests for ever once it is stopped', async () => {
  const clock = new SimClock()
  const files = new TenantFiles(join(root, 'timed'), clock)
  const id = 'restsforlong001' as TenantId
  mkdirSync(files.dir(id), { recursive: true })
  await files.markClean(id)
  const touchedAtMs = clock.now()
  utimesSync(files.dir(id), touchedAtMs / 1_000, touchedAtMs / 1_000)
  /** Whether the folder was there at the end of each look. */
  const looks: boolean[] = []
  let told = Promise.withResolvers<void>()
  const stop = startEvictor({
    pool,
    files,
    clock,
    log,
    evictMs: 60_000,
    async onLooked() {
      looks.push(existsSync(files.dir(id)))
      told.resolve()
    },
  })
  for (let look = 0; look < 7; look++) {
    await clock.advance(10_000)
    await told.promise
    told = Promise.withResolvers()
    await until('the timer of the next look', () => clock.pendingTimers === 1)
  }
  expect(looks).toEqual([true, true, true, true, true, false, false])
  stop()
  expect(clock.pendingTimers).toBe(0)
})
