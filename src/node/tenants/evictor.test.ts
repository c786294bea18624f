// Goal: only what rests and is in the store goes, and nothing that another worker opens or keeps up to date. Method: real
// folders.

import { afterAll, expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { evictResting } from './evictor.ts'
import { TenantFiles } from './tenant-files.ts'

const root = mkdtempSync(join(tmpdir(), 'pf-evictor-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const pool = { whileClosed: (_: TenantId, work: () => Promise<boolean>) => work() }

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
