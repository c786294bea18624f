// Goal: requests, broadcasts and their failures behave the same over libzmq and over the in-process network.
// Method: one suite over both; real sockets on loopback with CURVE, real time, conditions instead of sleeps.

import { afterEach, describe, expect, test } from 'bun:test'
import { until } from '../../test/support/wait.ts'
import { systemClock } from '../lib/clock.ts'
import { freePort } from '../lib/free-port.ts'
import { createLogger } from '../lib/obs/log.ts'
import { systemRng } from '../lib/rng.ts'
import { openRpcClient, type RpcClient } from './client.ts'
import type { Conversation } from './conversation.ts'
import { PeerUnreachableError, RemoteError, RpcRefusal } from './errors.ts'
import { clusterSecrets, type Role } from './keys.ts'
import { openPublisher, openSubscriber, type ResyncReason } from './pubsub.ts'
import { openRpcServer, type RpcServer } from './server.ts'
import { openMessaging } from './zmq/context.ts'
import { MemoryNetwork } from './zmq/memory.ts'
import type { Messaging } from './zmq/messaging.ts'

type Ask =
  | { readonly type: 'echo'; readonly text: string; readonly bytes?: Uint8Array }
  | { readonly type: 'never' }
  | { readonly type: 'refuse' }
  | { readonly type: 'break' }
  | { readonly type: 'note'; readonly text: string }
interface Answers {
  echo: { readonly text: string; readonly bytes: Uint8Array | null }
  never: { readonly ok: true }
  refuse: { readonly ok: true }
  break: { readonly ok: true }
}

const conversation: Conversation<Ask, Answers> = { name: 'test', version: 1, callers: ['node', 'gateway'] }
const secrets = clusterSecrets('a secret that is long enough')
const clock = systemClock
const lines: string[] = []
const log = createLogger({ level: 'debug', format: 'text', now: Date.now, sink: { write: (line) => lines.push(line) } })

const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
  lines.length = 0
})
const track = <T extends { close(): unknown }>(resource: T): T => {
  opened.push(() => resource.close())
  return resource
}

const implementations = {
  zmq:
    () =>
    (role: Role, with_ = secrets) =>
      track(openMessaging({ role, secrets: with_, log })),
  memory: () => {
    const network = new MemoryNetwork({ clock, rng: systemRng })
    return (role: Role, with_ = secrets) => track(network.messaging({ role, secrets: with_ }))
  },
}

const noted: string[] = []
function startServer(
  messaging: Messaging,
  bind = 'tcp://127.0.0.1:0',
  options: { concurrencyMax?: number } = {},
): RpcServer {
  const server = track(openRpcServer({ messaging, bind, allow: ['node', 'gateway'], clock, log, ...options }))
  server.serve(conversation, {
    echo: ({ text, bytes }) => ({ text, bytes: bytes ?? null }),
    never: () => new Promise(() => {}),
    refuse: () => {
      throw new RpcRefusal('taken', 'the name is taken', { name: 'x' })
    },
    break: () => {
      throw new Error('a secret detail')
    },
    note: ({ text }) => void noted.push(text),
  })
  return server
}

/** Where a server can be started again: no outgoing connection may take its port meanwhile. */
const addressToKeep = () => `tcp://127.0.0.1:${freePort()}`

const startClient = (messaging: Messaging, connect: string, outstandingMax?: number): RpcClient<Ask, Answers> =>
  track(openRpcClient({ messaging, connect, serverRole: 'control-plane', conversation, clock, log, outstandingMax }))

async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    return { unexpected: await promise }
  } catch (error) {
    return error
  }
}

for (const [name, implementation] of Object.entries(implementations)) {
  describe(`over ${name}`, () => {
    test('a request is answered, with bytes and text as they were', async () => {
      const open = implementation()
      const server = startServer(open('control-plane'))
      const client = startClient(open('node'), server.address)
      const bytes = new Uint8Array(300_000).map((_, i) => i & 255)
      expect(await client.request({ type: 'echo', text: 'grüße', bytes }, { deadlineMs: 60_000 })).toEqual({
        text: 'grüße',
        bytes,
      })
      expect(client.isConnected).toBe(true)
    })

    test('ten thousand requests are answered, each with its own reply', async () => {
      const open = implementation()
      const server = startServer(open('control-plane'))
      const client = startClient(open('node'), server.address)
      for (let round = 0; round < 20; round++) {
        const asked = Array.from({ length: 500 }, (_, i) => `${round}/${i}`)
        const answers = await Promise.all(
          asked.map((text) => client.request({ type: 'echo', text }, { deadlineMs: 60_000 })),
        )
        expect(answers.map((answer) => answer.text)).toEqual(asked)
      }
    })

    test('a one-way message arrives once connected', async () => {
      const open = implementation()
      const server = startServer(open('control-plane'))
      const client = startClient(open('node'), server.address)
      await client.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 })
      expect(client.send({ type: 'note', text: `for ${name}` })).toBe(true)
      await until('the note', () => noted.includes(`for ${name}`))
    })

    test('failures keep their kind', async () => {
      const open = implementation()
      const server = startServer(open('control-plane'))
      const node = open('node')
      const client = startClient(node, server.address)
      const refused = await failure(client.request({ type: 'refuse' }, { deadlineMs: 60_000 }))
      expect(refused).toBeInstanceOf(RemoteError)
      expect(refused).toMatchObject({ code: 'taken', message: 'the name is taken', data: { name: 'x' } })
      const broken = await failure(client.request({ type: 'break' }, { deadlineMs: 60_000 }))
      expect(broken).toMatchObject({ code: 'internal', message: 'internal error' })
      expect(await failure(client.request({ type: 'never' }, { deadlineMs: 50 }))).toMatchObject({ code: 'timeout' })
      const controller = new AbortController()
      const aborted = client.request({ type: 'never' }, { deadlineMs: 60_000, signal: controller.signal })
      controller.abort(new Error('the caller left'))
      expect(await failure(aborted)).toMatchObject({ message: 'the caller left' })
      const newer = track(
        openRpcClient({
          messaging: node,
          connect: server.address,
          serverRole: 'control-plane',
          conversation: { ...conversation, version: 2 },
          clock,
          log,
        }),
      )
      expect(await failure(newer.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 }))).toMatchObject({
        code: 'version_mismatch',
        data: { expected: 1 },
      })
      expect(
        await failure(client.request({ type: 'echo', text: 'x'.repeat(2 ** 21) }, { deadlineMs: 60_000 })),
      ).toMatchObject({ code: 'encode' })
    })

    test('too many requests under way are refused on either end', async () => {
      const open = implementation()
      const server = startServer(open('control-plane'), undefined, { concurrencyMax: 2 })
      const client = startClient(open('node'), server.address, 3)
      await client.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 }) // connecting takes no time of what hangs
      const hangingMs = 2_000
      const hanging = [0, 1].map(() => failure(client.request({ type: 'never' }, { deadlineMs: hangingMs })))
      expect(await failure(client.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 }))).toMatchObject({
        code: 'overloaded',
      })
      const third = failure(client.request({ type: 'never' }, { deadlineMs: hangingMs }))
      expect(await failure(client.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 }))).toMatchObject({
        code: 'overloaded',
        message: expect.stringContaining('under way'),
      })
      await Promise.all([...hanging, third])
      // The server's deadlines end a moment after ours; then the slots are free again, although no handler returned.
      let again: unknown
      await until('a free slot', () => {
        void client.request({ type: 'echo', text: 'again' }, { deadlineMs: 60_000 }).then(
          (answer) => (again = answer.text),
          () => {},
        )
        return again === 'again'
      })
    })

    test('a request waits for a peer that is not there yet, and is surely undelivered when none comes', async () => {
      const open = implementation()
      const first = startServer(open('control-plane'), addressToKeep())
      const { address } = first
      first.close()
      const client = startClient(open('node'), address)
      const none = await failure(client.request({ type: 'echo', text: '' }, { deadlineMs: 60 }))
      expect(none).toBeInstanceOf(PeerUnreachableError)
      expect(none).toMatchObject({ delivered: 'no' })
      expect(client.send({ type: 'note', text: 'lost' })).toBe(false)
      const early = client.request({ type: 'echo', text: 'early' }, { deadlineMs: 60_000 })
      startServer(open('control-plane'), address)
      expect((await early).text).toBe('early')
    })

    test('a lost connection fails what was under way at once, and the next request finds the new peer', async () => {
      const open = implementation()
      const first = startServer(open('control-plane'), addressToKeep())
      const client = startClient(open('node'), first.address)
      await client.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 })
      const hanging = failure(client.request({ type: 'never' }, { deadlineMs: 60_000 }))
      first.close()
      expect(await hanging).toMatchObject({ code: 'peer_unreachable', delivered: 'unknown' })
      startServer(open('control-plane'), first.address)
      expect((await client.request({ type: 'echo', text: 'back' }, { deadlineMs: 60_000 })).text).toBe('back')
    })

    test('a role that has no business there is refused', async () => {
      const open = implementation()
      const server = startServer(open('control-plane'))
      const member = startClient(open('control-plane'), server.address)
      expect(await failure(member.request({ type: 'echo', text: '' }, { deadlineMs: 250 }))).toMatchObject({
        code: 'peer_unreachable',
        delivered: 'no',
      })
      // A node cannot pretend to be a control plane: the caller expects the control plane's key.
      const pretender = track(
        openRpcServer({ messaging: open('node'), bind: 'tcp://127.0.0.1:0', allow: ['gateway'], clock, log }),
      )
      const gateway = startClient(open('gateway'), pretender.address)
      expect(await failure(gateway.request({ type: 'echo', text: '' }, { deadlineMs: 250 }))).toMatchObject({
        code: 'peer_unreachable',
        delivered: 'no',
      })
    })

    test('a key of another secret is refused, one of the previous secret is not', async () => {
      const open = implementation()
      const rotating = clusterSecrets('a newer secret, long enough', 'a secret that is long enough')
      const server = startServer(open('control-plane', rotating))
      const stranger = startClient(open('node', clusterSecrets('quite another secret')), server.address)
      expect(await failure(stranger.request({ type: 'echo', text: '' }, { deadlineMs: 250 }))).toMatchObject({
        code: 'peer_unreachable',
        delivered: 'no',
      })
      // A member that holds only the old secret still answers a client that holds both.
      const old = startServer(open('control-plane'))
      const client = startClient(open('node', rotating), old.address)
      expect((await client.request({ type: 'echo', text: 'old' }, { deadlineMs: 60_000 })).text).toBe('old')
    }, 180_000)

    test('broadcasts arrive in order on the topics asked for, after a resync', async () => {
      const open = implementation()
      const publisher = track(
        openPublisher<{ type: 'n'; n: number }, 'a.' | 'b.'>({
          messaging: open('control-plane'),
          bind: 'tcp://127.0.0.1:0',
          allow: ['gateway'],
          topics: ['a.', 'b.'],
          clock,
          rng: systemRng,
        }),
      )
      const seen: number[] = []
      const resyncs: ResyncReason[] = []
      const subscriber = track(
        openSubscriber<{ type: 'n'; n: number }, 'a.'>({
          messaging: open('gateway'),
          connect: publisher.address,
          serverRole: 'control-plane',
          topics: ['a.'],
          clock,
          log,
          onMessage: (topic, message) => {
            expect(topic).toBe('a.')
            seen.push(message.n)
          },
          onResync: (reason) => resyncs.push(reason),
        }),
      )
      await until('the first beat', () => resyncs.length > 0)
      expect(subscriber.isCurrent).toBe(true)
      for (let n = 1; n <= 100; n++) {
        publisher.publish('a.', { type: 'n', n })
        publisher.publish('b.', { type: 'n', n: -n })
      }
      await until('100 messages', () => seen.length === 100)
      expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
      expect(resyncs).toEqual(['connected'])
    })

    test('closing with everything under way neither hangs nor throws', async () => {
      const open = implementation()
      const cp = open('control-plane')
      const node = open('node')
      const server = startServer(cp)
      const client = startClient(node, server.address)
      const waiting = Array.from({ length: 50 }, () =>
        failure(client.request({ type: 'never' }, { deadlineMs: 60_000 })),
      )
      await client.request({ type: 'echo', text: '' }, { deadlineMs: 60_000 })
      client.close()
      await Promise.all([node.close(), cp.close()]) // whatever waits for the deadline goes beyond the limit of a test
      for (const error of await Promise.all(waiting)) expect(error).toMatchObject({ code: 'peer_unreachable' })
    })
  })
}
