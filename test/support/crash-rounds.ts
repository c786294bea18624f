// Random SIGKILLs of a whole fleet under write load, then a comparison with what was acknowledged.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Rng, seededRng } from '../../src/lib/rng.ts'
import { Fleet } from './fleet.ts'
import { Journal, Writers } from './journal.ts'
import { checkLinearHistories } from './linear-history.ts'
import { killTree, processTree, signal } from './processes.ts'
import { until } from './wait.ts'

export type Victim = 'tree' | 'tree and disk' | 'supervisor' | 'worker' | 'gateway' | 'control plane'

export interface CrashReport {
  readonly seed: number
  readonly rounds: number
  readonly victims: Readonly<Record<string, number>>
  readonly acknowledged: number
  readonly refused: number
  readonly unknown: number
  /** Acknowledged writes that a wiped disk took along, all younger than the bound. */
  readonly lostWithinBound: number
  /** The oldest of them, ms before the last that was acknowledged. */
  readonly oldestLostMs: number
  /** Slots in the object store and the writers that made them, none of which came back after another. */
  readonly slots: number
  readonly writers: number
}

export interface CrashOptions {
  readonly dir: string
  readonly seed: number
  readonly rounds: number
  readonly kind?: 'source' | 'binary'
  readonly onRound?: (line: string) => void
  /** Of the fleet; its output is part of a failure. */
  readonly logLevel?: 'info' | 'warn'
}

/** `async` may lose this much with its disk, and no more; the default of a tenant. */
const lossBoundMs = 5_000
const tenants = ['crash-a', 'crash-b'] as const
const writersPerTenant = 2
const workers = 2
const superuser = { email: 'crash@example.com', password: 'a-long-crash-password' }

function chooseVictim(rng: Rng): Victim {
  const victims: readonly Victim[] = [
    'tree',
    'tree',
    'tree and disk',
    'supervisor',
    'worker',
    'worker',
    'gateway',
    'control plane',
  ]
  return victims[rng.below(victims.length)]!
}

/**
 * The process of a mode below the launcher, null while it is not back from an earlier kill: children are told apart by
 * what they listen to and whom they started.
 */
function findVictim(fleet: Fleet, victim: Victim, choice: number): number | null {
  const children = processTree(fleet.pid).slice(1)
  const direct = children.filter((each) => each.parent === fleet.pid)
  const workers = children.filter((each) => each.argv.at(-1) === 'worker')
  const supervisor = direct.find((each) => workers.some((worker) => worker.parent === each.pid))
  if (supervisor === undefined) return null
  if (victim === 'worker') return workers[choice % workers.length]!.pid
  if (victim === 'supervisor') return supervisor.pid
  // The launcher starts them in this order: control plane, node, gateway; a restarted one has the highest pid, so go
  // by what is left instead: the gateway is the one with the fleet's port open.
  const others = direct.filter((each) => each.pid !== supervisor.pid)
  const gateway = others.find((each) => listensOn(each.pid, fleet.port))
  if (gateway === undefined) return null
  const controlPlane = others.find((each) => each.pid !== gateway.pid)
  return (victim === 'gateway' ? gateway : controlPlane)?.pid ?? null
}

/** Whether a process holds the listening socket of a TCP port. */
function listensOn(pid: number, port: number): boolean {
  const listed = Bun.spawnSync([
    'sh',
    '-c',
    `ls -l /proc/${pid}/fd 2>/dev/null | grep -o 'socket:\\[[0-9]*\\]'`,
  ]).stdout.toString()
  const table = Bun.spawnSync(['cat', '/proc/net/tcp']).stdout.toString()
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0')
  for (const line of table.split('\n')) {
    const fields = line.trim().split(/\s+/)
    if (fields[1]?.endsWith(`:${hexPort}`) && fields[3] === '0A' && listed.includes(`socket:[${fields[9]}]`))
      return true
  }
  return false
}

/** Runs the rounds; throws with the seed and the round at the first broken promise. */
export async function runCrashRounds(options: CrashOptions): Promise<CrashReport> {
  const rng = seededRng(options.seed)
  const journal = new Journal()
  const victims: Record<string, number> = {}
  let lostWithinBound = 0
  let oldestLostMs = 0
  const start = () =>
    Fleet.start({
      dir: options.dir,
      kind: options.kind ?? 'source',
      flags: [`--workers=${workers}`, ...(options.logLevel ? [`--log-level=${options.logLevel}`] : [])],
    })
  let fleet = await start()
  let linear = { slots: 0, writers: 0 }
  const tokens = new Map<string, string>()
  for (const slug of tenants) {
    await fleet.cli([
      'tenant',
      'create',
      slug,
      '--superuser',
      superuser.email,
      '--superuser-password',
      superuser.password,
    ])
    const client = fleet.sdk(slug)
    await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    tokens.set(slug, client.authStore.token)
    await client.collections.create({ name: 'journal', type: 'base', fields: [{ name: 'value', type: 'text' }] })
  }
  try {
    // The collections themselves are asynchronous writes.
    for (const slug of tenants) await shipAll(fleet, slug, tokens.get(slug)!)
    for (let round = 0; round < options.rounds; round++) {
      const victim = chooseVictim(rng)
      victims[victim] = (victims[victim] ?? 0) + 1
      const before = journal.size
      const port = fleet.port
      const writers = new Writers({
        journal,
        tenants,
        perTenant: writersPerTenant,
        urlOf: (slug) => `http://${slug}.localhost:${port}`,
        tokenOf: (slug) => tokens.get(slug)!,
      })
      await Bun.sleep(200 + rng.below(1_300))
      if (victim === 'tree' || victim === 'tree and disk') {
        await fleet.killTree()
        await writers.stop()
        if (victim === 'tree and disk') rmSync(join(options.dir, 'node'), { recursive: true, force: true })
        fleet = await start()
      } else {
        const choice = rng.below(workers)
        signal(await until(`the ${victim}`, () => findVictim(fleet, victim, choice)), 'SIGKILL')
        await Bun.sleep(rng.below(300)) // writes go on while it is away
        await writers.stop()
      }
      for (const slug of tenants) {
        const stored = await readAll(fleet, slug, tokens.get(slug)!)
        const missing = journal.of(slug).filter((write) => stored.get(write.id) !== write.value)
        // What an owner acknowledges is never younger by more than the bound than what is not in the store.
        const lastAtMs = Math.max(...journal.of(slug).map((write) => write.atMs))
        for (const write of missing) {
          const ageMs = lastAtMs - write.atMs
          if (victim !== 'tree and disk' || ageMs > lossBoundMs)
            throw new Error(
              `${slug}: ${missing.length} acknowledged writes are gone, one ${ageMs.toFixed(0)} ms older than the last (${write.value})`,
            )
          oldestLostMs = Math.max(oldestLostMs, ageMs)
        }
        lostWithinBound += missing.length
        journal.forget(new Set(missing.map((write) => write.id)))
        await shipAll(fleet, slug, tokens.get(slug)!)
      }
      options.onRound?.(`round ${round + 1}/${options.rounds}: killed ${victim}, ${journal.size - before} acknowledged`)
    }
    const code = await fleet.stop()
    if (code !== 0) throw new Error(`the fleet stopped with exit code ${code}`)
    linear = checkLinearHistories(join(options.dir, 'objects'))
  } catch (error) {
    throw new Error(
      `SEED=${options.seed}, after ${JSON.stringify(victims)}: ${error instanceof Error ? error.message : error}\n${fleet.output.slice(-10_000)}`,
      {
        cause: error,
      },
    )
  } finally {
    killTree(fleet.pid)
  }
  return {
    seed: options.seed,
    rounds: options.rounds,
    victims,
    acknowledged: journal.size + lostWithinBound,
    refused: journal.refused,
    unknown: journal.unknown,
    lostWithinBound,
    oldestLostMs: Math.round(oldestLostMs),
    ...linear,
  }
}

/** With a write that waits for the store, it has everything before: what a round may lose is its own. */
async function shipAll(fleet: Fleet, slug: string, token: string): Promise<void> {
  await until(`${slug} to have everything in the store`, async () => {
    const response = await fetch(`${fleet.tenantUrl(slug)}/api/collections/journal/records`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: token, 'x-ack': 'sync' },
      body: JSON.stringify({ value: 'the end of a round' }),
      signal: AbortSignal.timeout(20_000),
    })
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
    return true
  })
}

/** Every stored value by record id, once the tenant answers again. */
async function readAll(fleet: Fleet, slug: string, token: string): Promise<Map<string, string>> {
  const stored = new Map<string, string>()
  for (let page = 1; ; page++) {
    const items = await until(`${slug} to answer`, async () => {
      const url = `${fleet.tenantUrl(slug)}/api/collections/journal/records?perPage=1000&page=${page}&skipTotal=1&sort=@rowid`
      const response = await fetch(url, { headers: { authorization: token }, signal: AbortSignal.timeout(10_000) })
      if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
      return ((await response.json()) as { items: { id: string; value: string }[] }).items
    })
    for (const item of items) stored.set(item.id, item.value)
    if (items.length < 1_000) return stored
  }
}
