import { expect, test } from 'bun:test'
import type { NodeId } from '../../../lib/brand.ts'
import { type Candidate, choosePlace } from './strategy.ts'

const candidate = (id: string, over: Partial<Candidate> = {}): Candidate => ({
  id: id as NodeId,
  region: 'eu',
  zone: 'z1',
  labels: {},
  tenantsPlaced: 10,
  tenantsMax: 100,
  cpu: 0,
  byWorker: [5, 5],
  ...over,
})
const choose = (candidates: Candidate[], wish: Partial<Parameters<typeof choosePlace>[1]> = {}) =>
  choosePlace(candidates, { region: null, ...wish })

test('the least loaded node and worker, by size and processor', () => {
  expect(choose([candidate('a'), candidate('b', { tenantsPlaced: 9, byWorker: [6, 3] })])).toMatchObject({
    nodeId: 'b',
    worker: 1,
  })
  expect(choose([candidate('a'), candidate('b', { tenantsPlaced: 15, tenantsMax: 200 })])?.nodeId as string).toBe('b')
  expect(choose([candidate('a', { cpu: 0.9 }), candidate('b', { tenantsPlaced: 20 })])?.nodeId as string).toBe('b')
  expect(choose([candidate('b'), candidate('a')])?.nodeId as string).toBe('a')
})

test('region, labels and exclusion are conditions', () => {
  const nodes = [candidate('a'), candidate('b', { region: 'us', labels: { disk: 'ssd' } })]
  expect(choose(nodes, { region: 'us' })?.nodeId as string).toBe('b')
  expect(choose(nodes, { region: 'asia' })).toBeNull()
  expect(choose(nodes, { labels: { disk: 'ssd' } })?.nodeId as string).toBe('b')
  expect(choose(nodes, { excluded: 'a' as NodeId })?.nodeId as string).toBe('b')
  expect(choose([])).toBeNull()
})
