// Goal: a bill adds up, and a table that says something impossible is refused with its fault.

import { expect, test } from 'bun:test'
import { noReading } from '../../lib/object-store/metered.ts'
import { costOf, defaultPrices, parsePrices } from './prices.ts'

test('storage by class, requests by kind', () => {
  const usage = {
    atMs: 0,
    stored: [
      { kind: 'history', storageClass: 'STANDARD', objects: 1, bytes: 2e9 },
      { kind: 'files', storageClass: 'GLACIER_IR', objects: 1, bytes: 10e9 },
      { kind: 'files', storageClass: 'SOMETHING_ELSE', objects: 1, bytes: 1e9 },
    ],
  } as const
  const calls = { put: 1_000, copy: 500, list: 500, get: 9_000, head: 1_000, delete: 7 }
  const cost = costOf(defaultPrices, usage, { ...noReading, calls, bytesReceived: 5e9 })
  expect(cost.storagePerMonth).toBeCloseTo(2 * 0.023 + 10 * 0.004 + 0.023, 9)
  expect(cost.requests).toBeCloseTo(2 * 0.005 + 10 * 0.0004, 9)
  expect(costOf({ ...defaultPrices, perGbReceived: 0.09 }, usage, { ...noReading, bytesReceived: 1e9 }).requests).toBe(
    0.09,
  )
})

test('a table of settings', () => {
  expect(parsePrices('{}')).toEqual(defaultPrices)
  expect(
    parsePrices('{"currency": "EUR", "storagePerGbMonth": {"*": 0.00499}, "perThousandRequests": {"put": 0}}'),
  ).toEqual({
    currency: 'EUR',
    storagePerGbMonth: { '*': 0.00499 },
    perThousandRequests: { put: 0, get: 0.0004, delete: 0 },
    perGbReceived: 0,
  })
  for (const text of [
    'x',
    '[]',
    '{"curency": "EUR"}',
    '{"currency": 5}',
    '{"storagePerGbMonth": {"STANDARD": 1}}',
    '{"storagePerGbMonth": {"*": -1}}',
    '{"perThousandRequests": {"post": 1}}',
    '{"perGbReceived": "much"}',
  ])
    expect([text, 'problem' in parsePrices(text)]).toEqual([text, true])
})
