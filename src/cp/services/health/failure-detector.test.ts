import { expect, test } from 'bun:test'
import { checked, excused, heard, registered, unheard } from './failure-detector.ts'

const settings = { degradedAfterMs: 1_000, downAfterMs: 2_000 }

test('silence degrades, then takes down; one report does not bring back', () => {
  let node = registered(0)
  expect(checked(node, 999, settings).state).toBe('healthy')
  node = checked(node, 1_000, settings)
  expect(node.state).toBe('degraded')
  expect(heard(node, 1_500).state).toBe('healthy')
  node = checked(node, 2_000, settings)
  expect(node.state).toBe('down')
  node = heard(node, 2_100)
  expect(node.state).toBe('down')
  expect(heard(node, 2_200).state).toBe('healthy')
  expect(checked(node, 4_200, settings)).toMatchObject({ state: 'down', reportsInARow: 0 })
})

test('a node that is not heard of after our own start gets its full time', () => {
  const node = unheard(0)
  expect(checked(node, 1_999, settings).state).toBe('degraded')
  expect(heard(node, 500).state).toBe('healthy')
  expect(checked(node, 2_000, settings).state).toBe('down')
})

test('who was not listening blames nobody for it', () => {
  const node = registered(0)
  expect(checked(node, 2_500, settings).state).toBe('down')
  expect(checked(excused(node, 2_500, 1_600), 2_500, settings).state).toBe('healthy')
  expect(checked(excused(node, 2_500, 9_000), 3_499, settings).state).toBe('healthy') // as if heard just now, not later
  expect(checked(excused(node, 2_500, 9_000), 3_500, settings).state).toBe('degraded')
})
