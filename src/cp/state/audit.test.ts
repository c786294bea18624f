// Goal: a decision and its record are there together or not at all; rows are bounded, the oldest go first; the stored form
// keeps its bytes.

import { expect, test } from 'bun:test'
import { registerNode } from '../../../test/support/cluster-rows.ts'
import type { NodeId } from '../../lib/brand.ts'
import { fromUtf8 } from '../../lib/bytes.ts'
import { apply } from './apply.ts'
import {
  type AuditFacts,
  auditDetailsMax,
  auditKeepMs,
  auditRows,
  auditRowsMax,
  auditTextMax,
  auditTrimMax,
  boundedFacts,
} from './audit.ts'
import { type Command, commands } from './command.ts'
import { ClusterState, StateBatch } from './state.ts'

const facts = (over: Partial<AuditFacts> = {}): AuditFacts => ({
  atMs: 1_700_000_000_000,
  actorId: 'admin1',
  actor: 'root@example.com',
  from: '192.0.2.1',
  action: 'node.drain',
  target: 'n1',
  targetName: '',
  details: { why: 'test' },
  ...over,
})

function run(state: ClusterState, command: Command): { readonly outcome: string; readonly keys: readonly string[] } {
  const batch = new StateBatch(state)
  const outcome = apply(state, batch, commands.decode(commands.encode(command)))
  return { outcome: outcome.ok ? 'ok' : outcome.error, keys: batch.writes.map(({ key }) => fromUtf8(key)) }
}

const drain = commands.encode({ type: 'node.drain', id: 'n1' as NodeId, draining: true })

test('a decision that is refused leaves no record, one that is taken leaves its own in the same batch', () => {
  const state = new ClusterState()
  expect(run(state, { type: 'audited', audit: facts(), command: drain })).toEqual({
    outcome: 'node_not_found',
    keys: [],
  })
  run(state, registerNode('n1' as NodeId))
  const { outcome, keys } = run(state, { type: 'audited', audit: facts(), command: drain })
  expect(outcome).toBe('ok')
  expect(keys).toEqual(['s/n/n1', 's/l/000000000001'])
  expect(state.nodes.get('n1' as NodeId)?.draining).toBe(true)
  expect([...state.audit.newestFirst()]).toEqual([{ number: 1, ...facts() }])
})

test('a record of a record is a mistake of ours', () => {
  const inner = commands.encode({ type: 'audited', audit: facts(), command: drain })
  expect(() => run(new ClusterState(), { type: 'audited', audit: facts(), command: inner })).toThrow()
})

test('rows go by number and by age, the oldest first, few at a time; numbers go on', () => {
  const state = new ClusterState()
  for (let number = 1; number <= auditRowsMax; number++) state.setAudit({ number, ...facts() })
  const { keys } = run(state, { type: 'audit.append', audit: facts() })
  expect(keys).toEqual([`s/l/${String(auditRowsMax + 1).padStart(12, '0')}`, 's/l/000000000001'])
  expect(state.audit.count).toBe(auditRowsMax)
  const late = run(state, { type: 'audit.append', audit: facts({ atMs: facts().atMs + auditKeepMs + 1 }) })
  expect(late.keys.length).toBe(1 + auditTrimMax)
  expect(state.audit.oldest()?.number).toBe(2 + auditTrimMax)
  expect(state.audit.last).toBe(auditRowsMax + 2)
  // However old the others are, the newest is never removed by itself.
  const alone = new ClusterState()
  run(alone, { type: 'audit.append', audit: facts({ atMs: 0 }) })
  expect(alone.audit.count).toBe(1)
})

test('rows are found again after a start', () => {
  const state = new ClusterState()
  for (let at = 0; at < 3; at++) run(state, { type: 'audit.append', audit: facts({ atMs: facts().atMs + at }) })
  const loaded = new ClusterState()
  for (const { key, value } of state.rows()) loaded.load(key, value)
  expect([...loaded.audit.newestFirst()].map(({ number }) => number)).toEqual([3, 2, 1])
  expect(run(loaded, { type: 'audit.append', audit: facts() }).keys).toEqual(['s/l/000000000004'])
})

test('facts are bounded', () => {
  const long = 'x'.repeat(10_000)
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`k${at}`, long]))
  const bounded = boundedFacts(facts({ actor: long, targetName: long, details: many }))
  expect(bounded.actor.length).toBe(auditTextMax)
  expect(bounded.targetName.length).toBe(auditTextMax)
  expect(Object.keys(bounded.details).length).toBe(auditDetailsMax)
  expect(Math.max(...Object.values(bounded.details).map((value) => value.length))).toBe(auditTextMax)
})

test('golden bytes', () => {
  expect(Buffer.from(auditRows.encode({ number: 7, ...facts() })).toString('hex')).toBe(
    '010780d095ffbc31010661646d696e3110726f6f74406578616d706c652e636f6d093139322e302e322e310a6e6f64652e647261696e026e310001037768790474657374',
  )
  expect(
    Buffer.from(commands.encode({ type: 'audit.append', audit: facts() }))
      .toString('hex')
      .slice(0, 4),
  ).toBe('0129')
})
