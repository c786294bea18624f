// Goal: a stopped member's database is read whole, every kind of row and what recorded decisions hold, and no hash of a
// secret comes with it. Method: a real member that has made its first admin, and a tenant with a superuser.

import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { registerNode, tenantRow } from '../../test/support/cluster-rows.ts'
import { openMember } from '../../test/support/member.ts'
import type { NodeId } from '../lib/brand.ts'
import { type InspectedRecord, inspectRecords } from './inspect.ts'
import { apply } from './state/apply.ts'
import type { Command } from './state/command.ts'
import { ClusterState, decodeRow, StateBatch } from './state/state.ts'

test('everything is read but the hashes', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-inspect-'))
  try {
    const member = await openMember(dir)
    await member[Symbol.asyncDispose]()
    const records: InspectedRecord[] = []
    for await (const record of inspectRecords(dir)) records.push(record)
    expect(records.filter(({ error }) => error !== null)).toEqual([])
    const decisions = records.filter(({ key }) => key.startsWith('r/l/')).map(({ value }) => value)
    expect(decisions).toContainEqual(
      expect.objectContaining({
        type: 'audited',
        audit: expect.objectContaining({ action: 'admin.create', actor: 'system' }),
        command: expect.objectContaining({
          type: 'admin.create',
          admin: expect.objectContaining({ email: 'root@fleet.test' }),
        }),
      }),
    )
    const kinds = records.filter(({ key }) => key.startsWith('s/')).map(({ key }) => key.slice(0, 3))
    expect(new Set(kinds)).toEqual(new Set(['s/a', 's/c', 's/l']))
    // Neither as a field nor within bytes, of which it could be taken again.
    const shown = JSON.stringify(records)
    for (const secret of ['tokenHash', '"0":', '"data":[']) expect(shown).not.toContain(secret)
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})

test('each kind of row that is stored can be looked at', () => {
  const state = new ClusterState()
  const id = tenantRow(1, 1).id
  const nodeId = 'n1' as NodeId
  const run = (command: Command) => expect(apply(state, new StateBatch(state), command)).toMatchObject({ ok: true })
  run({ type: 'cluster.init', clusterId: 'c', atMs: 1 })
  run(registerNode(nodeId))
  run({ type: 'tenant.create', tenant: tenantRow(1, 1), nodeId, worker: 0 })
  run({ type: 'tenant.activate', id, atMs: 1 })
  run({ type: 'tenant.warm', id, warm: { place: null } })
  run({ type: 'tenant.retention', id, keepEveryMs: 1 })
  run({ type: 'replica.begin', id, epoch: 0 })
  const rows = [...state.rows()].map(({ key, value }) => decodeRow(Buffer.from(key).toString(), value))
  expect(rows.length).toBe(7)
  expect(rows).not.toContain(null)
  expect(decodeRow('s/x/1', new Uint8Array())).toBeNull()
  expect(decodeRow('a/index', new Uint8Array())).toBeNull()
})
