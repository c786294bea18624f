// Goal: what a scrape shows is what was counted, under the product's prefix.

import { expect, test } from 'bun:test'
import { Metrics } from './metrics.ts'

test('counts, sets and observes under one prefix', async () => {
  const metrics = new Metrics()
  const requests = metrics.counter({ name: 'node_requests_total', help: 'Requests.', labels: ['code'] })
  requests.inc({ code: 200 })
  requests.inc({ code: 200 }, 2)
  let open = 3
  metrics.gauge({ name: 'node_tenants_open', help: 'Open tenants.' }, (set) => set(open))
  metrics.histogram({ name: 'restore_seconds', help: 'Restores.', buckets: [1, 5] }).observe(2)
  open = 4
  const text = await metrics.render()
  expect(text).toContain('pocketfleet_node_requests_total{code="200"} 3')
  expect(text).toContain('pocketfleet_node_tenants_open 4')
  expect(text).toContain('pocketfleet_restore_seconds_bucket{le="5"} 1')
  expect(text).toContain('pocketfleet_restore_seconds_bucket{le="1"} 0')
})

test('refuses a second registration of one name', () => {
  const metrics = new Metrics()
  metrics.counter({ name: 'x_total', help: 'x' })
  expect(() => metrics.counter({ name: 'x_total', help: 'x' })).toThrow()
})
