// The realtime side of a world: one event stream for each caller, on both servers.

import { until } from '../support/wait.ts'
import { normalizeText } from './normalize.ts'
import type { SubscriptionPlan } from './plans.ts'

/** Events of one connection so far, normalised. */
export interface EventLog {
  readonly events: string[]
  close(): Promise<void>
}

/** Connects as a browser would and subscribes. */
export async function openStream(url: string, token: string, plan: SubscriptionPlan): Promise<EventLog> {
  const abort = new AbortController()
  const answer = await fetch(`${url}/api/realtime`, { signal: abort.signal, headers: { accept: 'text/event-stream' } })
  const events: string[] = []
  let clientId = ''
  const reading = readEvents(answer, (id, name, data) => {
    if (name === 'PB_CONNECT') clientId = id
    else events.push(normalizeText(`${name} ${data}`))
  })
  const ended = reading.catch((error: unknown) => {
    if (!abort.signal.aborted) throw error
  })
  await until('a realtime client id', () => clientId !== '')
  const made = await fetch(`${url}/api/realtime`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(token !== '' && { authorization: token }) },
    body: JSON.stringify({ clientId, subscriptions: plan.topics }),
  })
  if (made.status !== 204) throw new Error(`subscribe ${JSON.stringify(plan)}: ${made.status} ${await made.text()}`)
  return {
    events,
    async close() {
      abort.abort()
      await ended
    },
  }
}

async function readEvents(answer: Response, onEvent: (id: string, name: string, data: string) => void): Promise<void> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const fields = new Map(
        text
          .slice(0, end)
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)] as const),
      )
      onEvent(fields.get('id') ?? '', fields.get('event') ?? '', fields.get('data') ?? '')
      text = text.slice(end + 2)
    }
  }
}

/** What one of the two got and the other did not; empty when both agree. Events of different records have no order. */
export function eventDifferences(
  theirs: readonly string[],
  ours: readonly string[],
): { theirs: string[]; ours: string[] } {
  const left = [...ours]
  const missing: string[] = []
  for (const event of theirs) {
    const at = left.indexOf(event)
    if (at < 0) missing.push(event)
    else left.splice(at, 1)
  }
  return { theirs: missing, ours: left }
}
