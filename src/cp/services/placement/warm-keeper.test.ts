// Goal: a tenant that shall have a warm copy has one on a node that may take it over, whenever there is such a node; a copy
// is not given up for a silence, and the keeper comes to rest. Method: the service over real state and nodes that are what a
// test says; then random histories of nodes, moves and wishes.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { registerNode, tenantIdOf, tenantRow } from '../../../../test/support/cluster-rows.ts'
import { candidate } from '../../../../test/support/played-orders.ts'
import type { AckMode } from '../../../ipc/messages/tenant.ts'
import type { NodeId } from '../../../lib/brand.ts'
import { apply } from '../../state/apply.ts'
import { type Command, commands } from '../../state/command.ts'
import { ClusterState, StateBatch } from '../../state/state.ts'
import type { NodeState } from '../health/failure-detector.ts'
import { WarmKeeper } from './warm-keeper.ts'

const id = tenantIdOf(1)
const node = (name: string) => name as NodeId

interface PlayedNode {
  state: NodeState
  isDraining: boolean
  region: string
  tenantsPlaced: number
}

function setUp(names: readonly string[], tenant: { readonly ackMode?: AckMode; readonly region?: string } = {}) {
  const state = new ClusterState()
  const played = new Map<string, PlayedNode>()
  const control = { proposals: 0, told: 0 }
  const run = (command: Command) => {
    const outcome = apply(state, new StateBatch(state), commands.decode(commands.encode(command)))
    if (!outcome.ok) throw new Error(`${command.type}: ${outcome.error}`)
    return outcome
  }
  const keeper = new WarmKeeper({
    state,
    propose: async (command) => {
      control.proposals++
      return run(command)
    },
    nodes: {
      stateOf: (of) => played.get(of)?.state ?? 'down',
      isDraining: (of) => played.get(of)?.isDraining ?? false,
      candidates: () =>
        [...played]
          .filter(([, each]) => each.state === 'healthy' && !each.isDraining)
          .map(([name, { region, tenantsPlaced }]) => ({
            ...candidate(node(name)),
            region,
            tenantsPlaced,
            byWorker: [1, 0],
          })),
    },
    tenantOrders: { tell: async () => void control.told++ },
  })
  for (const [at, name] of names.entries()) {
    played.set(name, { state: 'healthy', isDraining: false, region: 'local', tenantsPlaced: at })
    run(registerNode(node(name)))
  }
  run({ type: 'tenant.create', tenant: { ...tenantRow(1, 1), ...tenant }, nodeId: node(names[0]!), worker: 0 })
  run({ type: 'tenant.activate', id, atMs: 2 })
  const placement = () => state.placements.get(id)!
  const row = () => state.tenants.get(id)!
  const move = (to: string, standbys: readonly string[] = []) => {
    const { epoch } = placement()
    const by = { expected: epoch, seen: epoch, standbys: standbys.map(node), forget: false }
    run({ type: 'tenant.place', id, nodeId: node(to), worker: 0, ...by })
  }
  return {
    state,
    played,
    control,
    keeper,
    placement,
    move,
    wish: (isWanted: boolean) => {
      const wish = keeper.wishOf(row(), isWanted)
      if (wish !== null) run({ type: 'tenant.warm', id, ...wish })
      return wish !== null
    },
    renew: () => keeper.renew(row(), placement()),
    lacks: () => keeper.lacks(row(), placement()),
    place: () => (state.warmStandbys.get(id)?.place?.nodeId as string | undefined) ?? null,
    successor: () => (keeper.successorOf(placement())?.nodeId as string | undefined) ?? null,
  }
}

test('wished: the least loaded node that is not the owner, on its emptiest worker', async () => {
  const { keeper, placement, control, wish, renew, lacks, place, state } = setUp(['a', 'b', 'c'])
  expect(lacks()).toBe(false)
  await renew() // nobody wished it
  expect(control).toEqual({ proposals: 0, told: 0 })
  expect(wish(true)).toBe(true)
  expect(keeper.successorOf(placement())).toEqual({ nodeId: node('b'), worker: 1 })
  expect(wish(true)).toBe(false) // again: nothing changes
  expect(lacks()).toBe(false)
  await renew()
  expect(control).toEqual({ proposals: 0, told: 0 })
  expect(wish(false)).toBe(true)
  expect(place()).toBeNull()
  expect(state.warmStandbys.get(id)).toBeUndefined()
})

test('a standby that holds its last commits comes before a node that has more room', async () => {
  const { wish, move, place } = setUp(['a', 'b', 'c'], { ackMode: 'quorum' })
  move('a', ['c'])
  wish(true)
  expect(place()).toBe('c')
})

test('a silence costs no copy, nor does a control plane that has just begun; a node that is down does', async () => {
  const { played, control, wish, renew, lacks, place, successor } = setUp(['a', 'b', 'c'])
  wish(true)
  for (const each of played.values()) each.state = 'degraded'
  expect(lacks()).toBe(false)
  expect(successor()).toBeNull() // it may not take over now
  await renew()
  expect(control.proposals).toBe(0)
  for (const each of played.values()) each.state = 'healthy'
  expect(successor()).toBe('b')
  played.get('b')!.state = 'down'
  expect(lacks()).toBe(true)
  await renew()
  expect(place()).toBe('c')
  played.get('c')!.isDraining = true
  played.get('b')!.state = 'healthy'
  await renew()
  expect(place()).toBe('b')
})

test('with nobody left the wish stays, and the next node that comes gets the copy', async () => {
  const { played, state, wish, renew, lacks, place } = setUp(['a', 'b'])
  wish(true)
  played.get('b')!.state = 'down'
  await renew()
  expect(place()).toBeNull()
  expect(state.warmStandbys.get(id)).toEqual({ tenantId: id, place: null })
  expect(lacks()).toBe(false) // nothing can be done
  played.get('b')!.state = 'healthy'
  expect(lacks()).toBe(true)
  await renew()
  expect(place()).toBe('b')
})

test('after a takeover the copy is the owner, and another node gets one; the region binds', async () => {
  const { played, wish, move, renew, lacks, place, successor } = setUp(['a', 'b', 'c', 'd'], { region: 'local' })
  played.get('c')!.region = 'elsewhere'
  wish(true)
  expect(place()).toBe('b')
  move('b')
  expect(successor()).toBeNull()
  expect(lacks()).toBe(true)
  played.get('a')!.state = 'down'
  await renew()
  expect(place()).toBe('d')
})

test('random histories: a copy is where it may be, and the keeper comes to rest at once', async () => {
  const names = ['a', 'b', 'c', 'd'] as const
  const name = fc.constantFrom(...names)
  const step = fc.oneof(
    fc.record({ does: fc.constant('state' as const), name, to: fc.constantFrom('healthy', 'degraded', 'down') }),
    fc.record({ does: fc.constant('drain' as const), name, to: fc.boolean() }),
    fc.record({ does: fc.constant('move' as const), name }),
    fc.record({ does: fc.constant('wish' as const), to: fc.boolean() }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const { played, state, placement, control, keeper, wish, move, renew, lacks } = setUp(names)
      for (const each of steps) {
        if (each.does === 'state') played.get(each.name)!.state = each.to as NodeState
        else if (each.does === 'drain') played.get(each.name)!.isDraining = each.to
        else if (each.does === 'move') move(each.name)
        else wish(each.to)
        const before = state.warmStandbys.get(id)?.place ?? null
        await renew()
        const rest = control.proposals
        expect(lacks()).toBe(false)
        await renew()
        expect(control.proposals).toBe(rest)
        const row = state.warmStandbys.get(id)
        const mayBe: readonly string[] = names.filter((of) => {
          const { state: is, isDraining } = played.get(of)!
          return is !== 'down' && !isDraining && of !== placement().nodeId
        })
        if (row === undefined) continue
        if (row.place !== null) expect(mayBe).toContain(row.place.nodeId)
        else expect(mayBe.filter((of) => played.get(of)!.state === 'healthy')).toEqual([])
        // Who may keep it keeps it.
        if (before !== null && mayBe.includes(before.nodeId)) expect(row.place).toEqual(before)
        const successor = keeper.successorOf(placement())
        if (successor !== null) expect(successor).toEqual(row.place!)
      }
    }),
    { numRuns: 200 },
  )
})
