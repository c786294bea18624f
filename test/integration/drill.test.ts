// Goal: a person can have a restore proven, sees when it last was, and hears of a history that no longer restores. Method: a
// real fleet on a directory, whose objects are damaged behind its back.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fleet } from '../support/fleet.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-drill-fleet-'))
let fleet: Fleet | null = null
afterAll(async () => {
  await fleet?.killTree()
  rmSync(dir, { recursive: true, force: true })
})

test('tenant drill proves a restore, tenant show says so, and damage is found', async () => {
  fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
  const running = fleet
  await running.cli(['tenant', 'create', 'demo'])
  const show = async () => JSON.parse(await running.cli(['tenant', 'show', 'demo', '--json']))
  const before = await show()
  expect(before).toMatchObject({ provenRestore: null, failedDrill: null })

  const report = JSON.parse(await running.cli(['tenant', 'drill', 'demo', '--json']))
  expect(report.databases.map(({ name }: { name: string }) => name).sort()).toEqual([
    'auxiliary.db',
    'data.db',
    'hooks.db',
  ])
  expect(await running.cli(['tenant', 'drill', 'demo'])).toContain('demo can be restored')
  const proven = await show()
  expect(proven.provenRestore).toMatchObject({ txid: expect.any(Number), nodeId: before.placement.nodeId })
  expect(proven.failedDrill).toBeNull()

  const found = [...new Bun.Glob(`**/${before.id}/data.db/ltx/0/*.ltx`).scanSync({ cwd: join(dir, 'objects') })].sort()
  expect(found.length).toBeGreaterThan(0)
  const first = join(dir, 'objects', found[0]!)
  const bytes = readFileSync(first)
  bytes[bytes.length >> 1] = bytes[bytes.length >> 1]! ^ 1
  writeFileSync(first, bytes)
  await expect(running.cli(['tenant', 'drill', 'demo'])).rejects.toThrow(/is damaged/)
  const failed = await show()
  expect(failed.provenRestore).toEqual(proven.provenRestore)
  expect(failed.failedDrill).toMatchObject({ code: 'ltx_format' })
  expect(failed.failedDrill.message).toContain(found[0]!)
}, 180_000)
