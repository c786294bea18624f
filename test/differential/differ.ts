// The same requests to PocketBase and to us, compared. Both start from one data directory, which PocketBase wrote.

import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PeerServer, startPocketBase } from '../support/pocketbase.ts'
import { startStandalone } from '../support/standalone.ts'
import { fill, superuser } from './fill.ts'
import { Generator } from './generator.ts'
import { normalizeText } from './normalize.ts'
import type { RequestPlan } from './plans.ts'
import { makeSubscriptions } from './requests/subscriptions.ts'
import { nextRequest } from './requests.ts'
import { send } from './send.ts'
import { type EventLog, eventDifferences, openStream } from './streams.ts'

export interface Outcome {
  readonly differences: readonly Difference[]
  /** Answers by status, PocketBase's: a run that only ever met errors would prove nothing. */
  readonly statuses: ReadonlyMap<string, number>
  /** Realtime events that PocketBase sent. */
  readonly events: number
}

export interface Difference {
  /** A request, or the realtime connection of a caller. */
  readonly request: Pick<RequestPlan, 'method' | 'path' | 'caller'> & Partial<RequestPlan>
  readonly theirs: string
  readonly ours: string
}

/** How long the last events of a world may take, ms: only differences wait so long, and a busy machine is none. */
const eventsMs = 60_000
/** Reads that are under way at once. */
const readsAtOnce = 8

/**
 * Runs one world: a random schema with records, then `count` random requests while every caller listens.
 *
 * @param start starts what is compared with PocketBase, on a copy of the directory that PocketBase wrote.
 */
export async function differ(
  binary: string,
  seed: number,
  count: number,
  start: (dir: string) => Promise<PeerServer> = startStandalone,
): Promise<Outcome> {
  const generator = new Generator(seed)
  const dir = mkdtempSync(join(tmpdir(), 'pf-differ-'))
  const theirDir = join(dir, 'pb_data')
  let theirs: PeerServer | null = null
  let ours: PeerServer | null = null
  try {
    theirs = await startPocketBase(binary, { dir: theirDir, superuser })
    const tokens = await fill(theirs.url, generator)
    await theirs.stop()
    cpSync(theirDir, join(dir, 'copy'), { recursive: true })
    theirs = await startPocketBase(binary, { dir: theirDir })
    ours = await start(join(dir, 'copy'))
    return await compare([theirs.url, ours.url], tokens, generator, count)
  } finally {
    await theirs?.stop()
    await ours?.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function compare(
  urls: readonly [theirs: string, ours: string],
  tokens: readonly string[],
  generator: Generator,
  count: number,
): Promise<Outcome> {
  const differences: Difference[] = []
  const statuses = new Map<string, number>()
  const streams = await openStreams(urls, tokens, generator)
  const both = async (request: RequestPlan) => {
    const [theirs, ours] = (await Promise.all(urls.map((url) => answerOf(url, request, tokens)))) as [string, string]
    const status = theirs.slice(0, 3)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (theirs !== ours) differences.push({ request, theirs, ours })
    if (status.startsWith('2')) request.onDone?.()
  }
  let reads: Promise<void>[] = []
  for (let index = 0; index < count; index++) {
    const request = nextRequest(generator, index)
    if (request.method === 'GET') reads.push(both(request))
    if (request.method !== 'GET' || reads.length >= readsAtOnce) {
      await Promise.all(reads)
      reads = []
    }
    if (request.method !== 'GET') await both(request)
  }
  await Promise.all(reads)
  let events = 0
  for (const { theirs, ours, caller, topics } of streams) {
    const missing = await settledDifferences(theirs, ours)
    events += theirs.events.length
    if (missing.theirs.length + missing.ours.length > 0)
      differences.push({
        request: { method: 'GET', path: `/api/realtime ${topics.join(' ')}`, caller },
        theirs: missing.theirs.join('\n'),
        ours: missing.ours.join('\n'),
      })
    await Promise.all([theirs.close(), ours.close()])
  }
  return { differences, statuses, events }
}

async function answerOf(url: string, request: RequestPlan, tokens: readonly string[]): Promise<string> {
  const answer = await send(url, request, tokens)
  // PocketBase ends its JSON with a line break, which is no part of it.
  const isJson = answer.headers.get('content-type') === 'application/json'
  const names = ['content-type', ...(request.answerHeaders ?? [])].filter(
    (name) => !isJson || name !== 'content-length',
  )
  const headers = names.map((name) => `${name}: ${normalizeText(answer.headers.get(name) ?? '')}`)
  const text = normalizeText(Buffer.from(await answer.bytes()).toString())
  return [answer.status, ...headers, request.ignoresBody ? '' : text].join(' ')
}

async function openStreams(urls: readonly [string, string], tokens: readonly string[], generator: Generator) {
  const streams: { theirs: EventLog; ours: EventLog; caller: number; topics: readonly string[] }[] = []
  for (const plan of makeSubscriptions(generator)) {
    const [theirs, ours] = (await Promise.all(urls.map((url) => openStream(url, tokens[plan.caller]!, plan)))) as [
      EventLog,
      EventLog,
    ]
    streams.push({ theirs, ours, caller: plan.caller, topics: plan.topics })
  }
  return streams
}

/** Compares once both have got all, or when the time for that is over. */
async function settledDifferences(theirs: EventLog, ours: EventLog) {
  const endMs = performance.now() + eventsMs
  for (;;) {
    const found = eventDifferences(theirs.events, ours.events)
    if (found.theirs.length + found.ours.length === 0 || performance.now() > endMs) return found
    await Bun.sleep(20)
  }
}
