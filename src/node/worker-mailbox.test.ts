// Goal: each question gets its own answer, or an error that names it in time; nothing that came early is lost.
// Method: a simulated clock, and lines as the supervisor writes them.

import { expect, test } from 'bun:test'
import type { TenantId } from '../lib/brand.ts'
import { SimClock } from '../lib/clock.ts'
import { Mailbox } from './worker-mailbox.ts'
import { encodeLine, type ToWorker } from './worker-protocol.ts'

const tenantId = 'aaaaaaaaaaaaaaa' as TenantId
const question = { type: 'placement.get', tenantId } as const

function open() {
  const clock = new SimClock()
  const said: { readonly id: number }[] = []
  return { clock, said, box: new Mailbox(clock, (line) => said.push(JSON.parse(line))) }
}

test('answers find their questions in any order, also as errors', async () => {
  const { clock, said, box } = open()
  const [first, second] = [box.ask(question), box.ask(question)]
  expect(said).toEqual([1, 2].map((id) => ({ type: 'ask', id, question })))
  box.settle(2, { ok: false, error: { code: 'overloaded', message: 'too much' } })
  box.settle(1, { ok: true, value: { tenant: null } })
  expect(await first).toEqual({ tenant: null })
  expect(await second.catch((error) => error)).toMatchObject({ code: 'overloaded', message: 'too much' })
  expect(clock.pendingTimers).toBe(0)
})

test('a question without an answer ends with an error that names it; the late answer is nobody else’s', async () => {
  const { clock, box } = open()
  const asked = box.ask(question).catch((error) => error)
  await clock.advance(10_000)
  expect(await asked).toMatchObject({ message: expect.stringContaining('placement.get within 10000 ms') })
  const next = box.ask(question)
  box.settle(1, { ok: true, value: 'late' })
  box.settle(2, { ok: true, value: { tenant: null } })
  expect(await next).toEqual({ tenant: null })
})

test('messages that came before anybody listened are heard in their order, and what is none is dropped', () => {
  const { box } = open()
  const messages: ToWorker[] = [{ type: 'ping', id: 1 }, { type: 'link', leaseEndsAtMs: null }, { type: 'stop' }]
  for (const message of messages.slice(0, 2)) box.onLine(encodeLine(message))
  for (const line of ['', '{', '[]', '{"type":"unknown"}']) box.onLine(line)
  const heard: ToWorker[] = []
  box.onMessage = (message) => heard.push(message)
  box.onLine(encodeLine(messages[2]!))
  expect(heard).toEqual(messages)
})
