// Goal: no sequence of events leads a tenant into a state that two owners or two loads could share.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { holdsFiles, nextState, type TenantInput, type TenantState, takesRequests } from './states.ts'

const inputs: readonly TenantInput[] = ['open', 'opened', 'failed', 'rest', 'use', 'close', 'closed', 'evict', 'fence']

function walk(steps: readonly TenantInput[], visit: (from: TenantState, input: TenantInput, to: TenantState) => void) {
  let state: TenantState = 'evicted'
  for (const input of steps) {
    const result = nextState(state, input)
    if (!result.ok) continue
    visit(state, input, result.value)
    state = result.value
  }
}

test('files are opened by a load alone, and deleted only when none is open', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...inputs), { maxLength: 60 }), (steps) => {
      walk(steps, (from, input, to) => {
        if (!holdsFiles(from) && holdsFiles(to)) expect([input, to]).toEqual(['open', 'deploying'])
        if (to === 'evicted') expect(from).toBe('closed')
        if (!takesRequests(from) && takesRequests(to)) expect(from).toBe('deploying')
      })
    }),
  )
})

test('a fenced tenant takes no request until it was closed and loaded anew', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...inputs), { maxLength: 60 }), (steps) => {
      let isFenced = false
      walk(steps, (_, input, to) => {
        if (input === 'fence') isFenced = true
        if (input === 'closed') isFenced = false
        if (isFenced) expect(to).toBe('fenced')
      })
    }),
  )
})

test('the ordinary life', () => {
  const seen: TenantState[] = []
  walk(['open', 'opened', 'use', 'rest', 'close', 'closed', 'evict', 'open', 'failed'], (_, __, to) => seen.push(to))
  expect(seen).toEqual(['deploying', 'idle', 'active', 'idle', 'closing', 'closed', 'evicted', 'deploying', 'closed'])
})
