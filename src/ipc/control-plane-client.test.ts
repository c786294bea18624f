// Goal: whichever member answers, a request gets its answer; what cannot be repeated is not. Method: members over the
// in-process network, a directory served by a function, partitions.

import { afterEach, expect, test } from 'bun:test'
import { until } from '../../test/support/wait.ts'
import type { NodeId, TenantId } from '../lib/brand.ts'
import { systemClock as clock } from '../lib/clock.ts'
import { silentLogger as log } from '../lib/obs/log.ts'
import { systemRng as rng } from '../lib/rng.ts'
import { type ControlPlaneClient, openControlPlaneClient } from './control-plane-client.ts'
import { gatewayConversation } from './conversation.ts'
import { PeerUnreachableError, RpcRefusal } from './errors.ts'
import { clusterSecrets } from './keys.ts'
import type { Broadcast, BroadcastTopic, GatewayReplies, GatewayRequest } from './messages/cp-gateway.ts'
import { type DirectoryMember, directoryPath, peerHeaderName, verifyPeerHeader } from './messages/directory.ts'
import { openPublisher, type Publisher, type ResyncReason } from './pubsub.ts'
import { openRpcServer } from './server.ts'
import { MemoryNetwork } from './zmq/memory.ts'

const secrets = clusterSecrets('a secret that is long enough')
const network = new MemoryNetwork({ clock, rng })
const closers: (() => unknown)[] = []
afterEach(async () => {
  network.heal()
  for (const close of closers.splice(0).reverse()) await close()
})

interface Member {
  readonly facts: DirectoryMember
  readonly publisher: Publisher<Broadcast, BroadcastTopic>
  asked: number
  answer: () => GatewayReplies['route.resolve'] | Promise<GatewayReplies['route.resolve']>
}

function startMember(id: string, isLeader: boolean): Member {
  const messaging = network.messaging({ role: 'control-plane', secrets, name: id })
  const rpc = openRpcServer({ messaging, bind: 'tcp://127.0.0.1:0', allow: ['gateway'], clock, log })
  const publisher = openPublisher<Broadcast, BroadcastTopic>({
    messaging,
    bind: 'tcp://127.0.0.1:0',
    allow: ['gateway'],
    topics: ['route.', 'node.'],
    clock,
    rng,
  })
  const facts = { id, httpUrl: `http://${id}`, ipcAddress: rpc.address, pubAddress: publisher.address, isLeader }
  const member: Member = {
    facts,
    publisher,
    asked: 0,
    answer: () => ({ found: 'unavailable', tenantId: 'abcdefghij12345' as TenantId, reason: id }),
  }
  rpc.serve(gatewayConversation, {
    'route.resolve': () => {
      member.asked++
      return member.answer()
    },
  })
  closers.push(
    () => messaging.close(),
    () => publisher.close(),
  )
  return member
}

function startClient(members: () => readonly Member[], broadcasts?: { heard: Broadcast[]; resyncs: ResyncReason[] }) {
  const fakeFetch = async (url: string | URL | Request, init?: RequestInit) => {
    expect(String(url)).toEndWith(directoryPath)
    const header = new Headers(init?.headers as Record<string, string>).get(peerHeaderName) ?? ''
    expect(verifyPeerHeader(secrets, header, clock.now())).toBe('gateway')
    if (members().length === 0) throw new Error('connection refused')
    return Response.json({ version: 1, members: members().map((member) => member.facts) })
  }
  const messaging = network.messaging({ role: 'gateway', secrets, name: 'gateway' })
  const client = openControlPlaneClient({
    messaging,
    conversation: gatewayConversation,
    secrets,
    addresses: ['seed:8090'],
    clock,
    rng,
    log,
    fetch: fakeFetch as typeof fetch,
    ...(broadcasts && {
      broadcasts: {
        topics: ['route.', 'node.'] as const,
        onMessage: (message: Broadcast) => broadcasts.heard.push(message),
        onResync: (reason: ResyncReason) => broadcasts.resyncs.push(reason),
      },
    }),
  })
  closers.push(
    () => messaging.close(),
    () => client.close(),
  )
  return client
}

const question: GatewayRequest = { type: 'route.resolve', key: { kind: 'slug', slug: 'acme' } }
const ask = (client: ControlPlaneClient<GatewayRequest, GatewayReplies>, deadlineMs = 8_000, idempotent = true) =>
  client.request(question, { deadlineMs, idempotent })
const by = (id: string) => ({ found: 'unavailable', tenantId: 'abcdefghij12345', reason: id }) as never

/** A connected follower is better than a leader that is not connected yet: wait for the leader's connection. */
async function untilLeaderAnswers(
  client: ControlPlaneClient<GatewayRequest, GatewayReplies>,
  id: string,
): Promise<void> {
  await until(`${id} to answer`, async () => Bun.deepEquals(await ask(client), by(id)))
}

test('the leader is asked first; when it is cut off, another member answers within the deadline', async () => {
  const [follower, leader] = [startMember('cp-1', false), startMember('cp-2', true)]
  const client = startClient(() => [follower, leader])
  await untilLeaderAnswers(client, 'cp-2')
  const before = follower.asked
  expect(await ask(client)).toEqual(by('cp-2'))
  expect(follower.asked).toBe(before)
  network.partition('gateway', 'cp-2')
  expect(await ask(client)).toEqual(by('cp-1'))
})

test('a member that hangs costs an idempotent request a moment, and fails another one', async () => {
  const [hanging, healthy] = [startMember('cp-1', true), startMember('cp-2', false)]
  const client = startClient(() => [hanging, healthy])
  await untilLeaderAnswers(client, 'cp-1')
  hanging.answer = () => new Promise(() => {})
  expect(await ask(client)).toEqual(by('cp-2'))
  await expect(ask(client, 8_000, false)).rejects.toMatchObject({ code: 'timeout' })
})

test('a member without a leader passes the question on to the next; a refusal is final', async () => {
  const [lost, healthy] = [startMember('cp-1', true), startMember('cp-2', false)]
  const client = startClient(() => [lost, healthy])
  lost.answer = () => {
    throw new RpcRefusal('no_leader', 'an election is going on')
  }
  expect(await ask(client)).toEqual(by('cp-2'))
  lost.answer = () => {
    throw new RpcRefusal('taken', 'the name is taken')
  }
  await expect(ask(client)).rejects.toMatchObject({ code: 'taken' })
})

test('a request waits for the first member to be found, and says when there is none', async () => {
  const found: Member[] = []
  const client = startClient(() => found)
  const none = await ask(client, 50).catch((error: unknown) => error)
  expect(none).toBeInstanceOf(PeerUnreachableError)
  expect(none).toMatchObject({ delivered: 'no' })
  const waiting = ask(client)
  found.push(startMember('cp-1', true))
  expect(await waiting).toEqual(by('cp-1'))
  expect(client.members.map((member) => member.id)).toEqual(['cp-1'])
  const pending = ask(client)
  client.close()
  await expect(pending).rejects.toMatchObject({ code: 'peer_unreachable' })
})

test('broadcasts of every member are heard, and a cut is followed by a resync', async () => {
  const members = [startMember('cp-1', true), startMember('cp-2', false)]
  const seen = { heard: [] as Broadcast[], resyncs: [] as ResyncReason[] }
  startClient(() => members, seen)
  await until('both to be heard', () => seen.resyncs.length === 4) // two members, two topics
  for (const [i, member] of members.entries())
    member.publisher.publish('node.', { type: 'node.changed', nodeId: `node-${i}` as NodeId })
  await until('both broadcasts', () => seen.heard.length === 2)
  network.partition('gateway', 'cp-2')
  members[1]!.publisher.publish('node.', { type: 'node.changed', nodeId: 'missed' as NodeId })
  network.heal()
  await until('the resync', () => seen.resyncs.length > 4)
  expect(seen.resyncs.at(-1)).toBe('connected')
})
