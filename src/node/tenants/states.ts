// The runtime life of a tenant on its node; nothing of it is replicated. Pure: what happens is an input, the next state
// a value, and an input that makes no sense in a state is refused instead of guessed at.
//
//   closed ──open──► deploying ──opened──► active ⇄ idle
//     ▲                  │ failed             │      │ close
//     │◄─────────────────┘                    ▼      ▼
//     │◄──────────────closed──────────────── closing            evicted: closed, local files deleted
//   evicted ◄──evict── closed                 fenced: another owner has the history; only `closed` follows

import type { Result } from '../../lib/result.ts'
import { err, ok } from '../../lib/result.ts'

export type TenantState = 'evicted' | 'closed' | 'deploying' | 'active' | 'idle' | 'closing' | 'fenced'

export type TenantInput =
  /** A request or an order needs it. */
  | 'open'
  | 'opened'
  | 'failed'
  /** The last lease ended. */
  | 'rest'
  /** A lease began. */
  | 'use'
  | 'close'
  /** Everything is shipped and no file is open. */
  | 'closed'
  | 'evict'
  | 'fence'

const next: Readonly<Record<TenantState, Partial<Record<TenantInput, TenantState>>>> = {
  evicted: { open: 'deploying' },
  closed: { open: 'deploying', evict: 'evicted' },
  deploying: { opened: 'idle', failed: 'closed', fence: 'fenced' },
  active: { rest: 'idle', close: 'closing', fence: 'fenced', use: 'active' },
  idle: { use: 'active', close: 'closing', fence: 'fenced' },
  closing: { closed: 'closed', fence: 'fenced' },
  fenced: { closed: 'closed', rest: 'fenced', fence: 'fenced' },
}

/** The state after `input`; fails when the input has no meaning there. */
export function nextState(state: TenantState, input: TenantInput): Result<TenantState, 'no_such_transition'> {
  const to = next[state][input]
  return to === undefined ? err('no_such_transition') : ok(to)
}

/** Whether databases of the tenant may be open in this state. */
export function holdsFiles(state: TenantState): boolean {
  return state !== 'closed' && state !== 'evicted'
}

/** Whether new requests may begin. */
export function takesRequests(state: TenantState): boolean {
  return state === 'active' || state === 'idle'
}
