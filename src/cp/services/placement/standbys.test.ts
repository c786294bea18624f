// Goal: standbys lie apart from their owner and from each other where they can, and stay while they may.

import { expect, test } from 'bun:test'
import type { NodeId } from '../../../lib/brand.ts'
import { chooseStandbys } from './standbys.ts'
import type { Candidate } from './strategy.ts'

const node = (id: string, zone: string, tenantsPlaced = 0): Candidate => ({
  id: id as NodeId,
  region: 'r',
  zone,
  labels: {},
  tenantsPlaced,
  tenantsMax: 10,
  cpu: 0,
  byWorker: [0],
})
const choose = (nodes: readonly Candidate[], owner: string, current: readonly string[] = []) =>
  chooseStandbys(nodes, { id: owner as NodeId, region: 'r' }, current as NodeId[]) as readonly string[]

test('none alone; one of up to two others; three where there are three', () => {
  expect(choose([node('a', 'z1')], 'a')).toEqual([])
  expect(choose([node('a', 'z1'), node('b', 'z1')], 'a')).toEqual(['b'])
  expect(choose([node('a', 'z1'), node('b', 'z1'), node('c', 'z1')], 'a')).toEqual(['b'])
  expect([
    ...choose(
      ['a', 'b', 'c', 'd', 'e'].map((id) => node(id, 'z1')),
      'a',
    ),
  ]).toEqual(['b', 'c', 'd'])
})

test('none from another region', () => {
  expect(choose([node('a', 'z1'), { ...node('b', 'z2'), region: 'elsewhere' }], 'a')).toEqual([])
})

test('other zones first, then room', () => {
  expect(choose([node('a', 'z1'), node('b', 'z1'), node('c', 'z2')], 'a')).toEqual(['c'])
  const nodes = [node('a', 'z1'), node('b', 'z1'), node('c', 'z2', 5), node('d', 'z2', 1), node('e', 'z3', 9)]
  expect(choose(nodes, 'a')).toEqual(['d', 'e', 'b'])
})

test('who stands by already stays, also when it takes no new tenants; the owner never does', () => {
  const nodes = [node('a', 'z1'), node('b', 'z2'), node('c', 'z3')]
  expect(choose(nodes, 'a', ['c'])).toEqual(['c'])
  expect(choose(nodes, 'a', ['x'])).toEqual(['x', 'b', 'c'])
  expect(choose(nodes, 'c', ['c'])).toEqual(['a'])
})
