// Goal: nobody without a key gets in, and what libzmq drops is noticed. Method: bare libzmq sockets beside ours.

import { afterEach, describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { until } from '../../../test/support/wait.ts'
import { fromUtf8, utf8 } from '../../lib/bytes.ts'
import { systemClock as clock } from '../../lib/clock.ts'
import { createLogger, silentLogger } from '../../lib/obs/log.ts'
import { systemRng } from '../../lib/rng.ts'
import { clusterSecrets, curveKeyPair } from '../keys.ts'
import { openPublisher, openSubscriber, type ResyncReason } from '../pubsub.ts'
import { openMessaging } from './context.ts'
import { loadLibrary, option, socketType } from './ffi.ts'
import type { Messaging } from './messaging.ts'
import { answerZap, keyRing, zapDomain } from './zap.ts'

const secret = 'a secret that is long enough'
const secrets = clusterSecrets(secret)
const opened: Messaging[] = []
afterEach(async () => {
  for (const messaging of opened.splice(0)) await messaging.close()
})
function open(role: 'control-plane' | 'node' | 'gateway', log = silentLogger): Messaging {
  const messaging = openMessaging({ role, secrets, log })
  opened.push(messaging)
  return messaging
}

describe('strangers', () => {
  /** How long somebody of whom nobody is told says hello, ms; an answer takes a few. */
  const unheardMs = 400

  /**
   * A DEALER of libzmq's own, with whatever keys, that says hello until it is answered or `isOver`; resolves with the
   * answer.
   */
  async function stranger(
    address: string,
    keys: { server: Uint8Array; public: Uint8Array; secret: Uint8Array } | null,
    isOver: () => boolean,
  ) {
    const library = loadLibrary()
    const context = library.newContext({ socketsMax: 16 })
    const socket = library.openSocket(context, socketType.dealer)
    library.setInt(socket, option.linger, 0)
    if (keys !== null) {
      library.setBytes(socket, option.curveServerKey, keys.server)
      library.setBytes(socket, option.curvePublicKey, keys.public)
      library.setBytes(socket, option.curveSecretKey, keys.secret)
    }
    library.connect(socket, address)
    let answer = null as string | null
    await until('an answer, or a reason to expect none', () => {
      library.send(socket, [utf8('hello')])
      const message = library.receive(socket)
      if (message !== null) answer = fromUtf8(message.frames[0]!)
      return answer !== null || isOver()
    })
    library.closeSocket(socket)
    library.endContext(context)
    return answer
  }

  const key = (role: 'control-plane' | 'node' | 'gateway', of = secret) => curveKeyPair(of, role)

  test('without CURVE, with an unknown key, or of the wrong role get nothing; a node gets its answer', async () => {
    const refusals: string[] = []
    const log = createLogger({
      level: 'warn',
      format: 'text',
      now: Date.now,
      sink: { write: (line) => refusals.push(line) },
    })
    const router = open('control-plane', log).router({ bind: 'tcp://127.0.0.1:0', allow: ['node'] })
    const heard: string[] = []
    router.onMessage = (peer, frames) => {
      heard.push(`${peer.role}: ${fromUtf8(frames[0]!)}`)
      router.send(peer.id, [utf8('welcome')])
    }
    const server = key('control-plane').publicKey
    const as = (pair: { publicKey: Uint8Array; secretKey: Uint8Array }, isOver: () => boolean) =>
      stranger(router.address, { server, public: pair.publicKey, secret: pair.secretKey }, isOver)
    const isTold = (words: string) => () => refusals.some((line) => line.includes(words))
    const endsAtMs = clock.monotonic() + unheardMs
    expect(await stranger(router.address, null, () => clock.monotonic() > endsAtMs)).toBeNull()
    expect(await as(key('node', 'another secret, also long'), isTold('unknown key'))).toBeNull()
    expect(await as(key('gateway'), isTold('role gateway is not allowed here'))).toBeNull()
    expect(heard).toEqual([])
    expect(await as(key('node'), () => false)).toBe('welcome')
    expect(heard[0]).toBe('node: hello')
  })

  test('are told nothing by the ZAP handler, whatever they send', () => {
    const ring = keyRing(secrets)
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 9 }), (frames) => {
        expect(answerZap(ring, frames).allowed).toBe(false)
      }),
    )
    const request = (domain: string, credentials: Uint8Array) =>
      [utf8('1.0'), utf8('7'), utf8(domain), utf8('::1'), utf8(''), utf8('CURVE'), credentials] as const
    const node = key('node').publicKey
    expect(answerZap(ring, request(zapDomain(['gateway', 'node']), node))).toMatchObject({ allowed: true })
    expect(answerZap(ring, request('', node)).allowed).toBe(false)
    const [, requestId, status, , user] = answerZap(ring, request('node', node)).frames.map(fromUtf8)
    expect([requestId, status, user]).toEqual(['7', '200', 'node'])
  })
})

test('an address that is in use is an error that names it', () => {
  const messaging = open('node')
  const { address } = messaging.router({ bind: 'tcp://127.0.0.1:0', allow: ['node'] })
  expect(() => messaging.router({ bind: address, allow: ['node'] })).toThrow(
    `cannot bind ${address}: Address already in use`,
  )
  expect(() => messaging.dealer({ connect: 'nonsense', serverRole: 'node' })).toThrow('cannot connect to nonsense')
})

test('a subscriber that is too slow learns that it missed something', async () => {
  type Numbered = { readonly type: 'numbered'; readonly n: number }
  const publisher = openPublisher<Numbered, 'route.'>({
    messaging: open('control-plane'),
    bind: 'tcp://127.0.0.1:0',
    allow: ['gateway'],
    topics: ['route.'],
    clock,
    rng: systemRng,
  })
  const resyncs: ResyncReason[] = []
  let received = 0
  let last = 0
  const subscriber = openSubscriber<Numbered, 'route.'>({
    messaging: open('gateway'),
    connect: publisher.address,
    serverRole: 'control-plane',
    topics: ['route.'],
    clock,
    log: silentLogger,
    onMessage: (_topic, message) => {
      received++
      last = message.n
    },
    onResync: (reason) => resyncs.push(reason),
  })
  await until('the first beat', () => resyncs.includes('connected'))
  // More than all queues on the way hold, in one turn of the event loop, so that nobody can read meanwhile.
  const sent = 200_000
  for (let n = 1; n <= sent; n++) publisher.publish('route.', { type: 'numbered', n })
  // Where the loop took so long that even the connection was given up, its next one begins with a resync as well.
  const told = () => resyncs.slice(1).some((reason) => reason === 'gap' || reason === 'connected')
  await until('it to be told', told)
  expect(received).toBeLessThan(sent)
  await until('the newest message', () => {
    publisher.publish('route.', { type: 'numbered', n: sent + 1 })
    return last === sent + 1
  })
  subscriber.close()
  publisher.close()
}, 180_000)
