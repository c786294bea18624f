// Many realtime clients on one worker: how fast they connect, what each costs in memory, how long an event takes to reach
// all of them, and that each gets each event once and in order.

import { readFileSync } from 'node:fs'
import type PocketBase from 'pocketbase'
import type { Figure } from '../report.ts'
import { createTenant, superuser, withFleet } from './fleet-bench.ts'
import { sseLoad } from './sse-load.ts'
import { residentBytes, workerPid, workerTarget } from './worker-target.ts'

export interface RealtimeSize {
  readonly clientCounts: readonly number[]
  readonly events: number
  /** Accounts that the clients sign in with; each has many clients. */
  readonly accounts: number
}

export const fullRealtime: RealtimeSize = { clientCounts: [1_000, 10_000], events: 20, accounts: 100 }
export const smokeRealtime: RealtimeSize = { clientCounts: [20], events: 2, accounts: 2 }

/** Past the time that connecting may take, ms. */
const durationMsMax = 120_000

/** Rules that an event is judged by for its clients. */
const audiences = {
  'open rule, guests': { rule: '', signedIn: false },
  'rule for anybody signed in': { rule: '@request.auth.id != ""', signedIn: true },
  'rule by account': { rule: 'owner = "" || owner = @request.auth.id', signedIn: true },
} as const

async function prepare(client: PocketBase, accounts: number): Promise<string[]> {
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  for (const [i, { rule }] of Object.values(audiences).entries())
    await client.collections.create({
      name: `events${i}`,
      type: 'base',
      listRule: rule,
      viewRule: rule,
      createRule: '',
      fields: [
        { name: 'title', type: 'text' },
        { name: 'owner', type: 'text' },
        { name: 'n', type: 'number' },
      ],
    })
  const tokens: string[] = []
  for (let i = 0; i < accounts; i++) {
    const email = `user${i}@example.com`
    const user = await client.collection('users').create({ email, password: 'password1', passwordConfirm: 'password1' })
    const impersonated = await client.collection('users').impersonate(user.id, 3_600)
    tokens.push(impersonated.authStore.token)
  }
  return tokens
}

/** The descriptors that this machine allows a process. */
function descriptorsMax(): number {
  return Number(/Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0)
}

export async function benchRealtime(size: RealtimeSize): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const clients of size.clientCounts) {
    if (clients + 200 > descriptorsMax())
      throw new Error(`${clients} clients need more than the ${descriptorsMax()} descriptors that are allowed`)
    // A fleet for each count: memory that an earlier run left behind must not count for a later one.
    await withFleet([], async (fleet, dir) => {
      const tenant = await createTenant(fleet, 'bench')
      const target = await workerTarget(fleet, dir, 'bench', tenant)
      const tokens = await prepare(fleet.sdk('bench'), size.accounts)
      const pid = workerPid(fleet)
      for (const [i, [name, { signedIn }]] of Object.entries(audiences).entries()) {
        const before = residentBytes(pid)
        let perClientBytes = 0
        const connected: Figure[] = []
        const report = await sseLoad(
          {
            host: target.host,
            port: target.port,
            name: target.name,
            headers: target.headers,
            clients,
            topics: [`events${i}/*`],
            tokens: signedIn ? tokens : [],
            create: { path: `/api/collections/events${i}/records`, body: { title: 'x'.repeat(100) } },
            eventsMax: size.events,
            durationMs: durationMsMax,
          },
          ({ connectMs, subscribeMs }) => {
            perClientBytes = (residentBytes(pid) - before) / clients
            connected.push(
              { name: `${clients} clients connect`, value: clients / (connectMs / 1_000), unit: 'clients/s' },
              { name: `${clients} clients subscribe`, value: clients / (subscribeMs / 1_000), unit: 'clients/s' },
              { name: `memory per client at ${clients}`, value: perClientBytes / 1_024, unit: 'KiB' },
            )
          },
        )
        if (report === null || report.wrong > 0 || report.deliveries !== clients * report.events)
          throw new Error(`${name}: not every client got every event once: ${JSON.stringify(report)}`)
        if (i === 0) figures.push(...connected)
        const note = `p50 of ${report.events} events; slowest ${report.allMaxMs.toFixed(0)} ms; writer answered after ${report.answerP50Ms.toFixed(0)} ms; generator at ${(report.generatorCpu * 100).toFixed(0)} % of a core`
        figures.push(
          { name: `event to all of ${clients}, ${name}`, value: report.allP50Ms, unit: 'ms', note },
          {
            name: `deliveries to ${clients}, ${name}`,
            value: report.deliveries / (report.elapsedMs / 1_000),
            unit: 'messages/s',
          },
        )
      }
    })
  }
  return figures
}
