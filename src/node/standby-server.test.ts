// Goal: units arrive whole or not at all, and those that are never finished do not keep others out. Method: the handlers
// over a socket layer in one process, with a clock that stands still.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openRpcClient } from '../ipc/client.ts'
import { standbyConversation } from '../ipc/conversation.ts'
import { clusterSecrets } from '../ipc/keys.ts'
import { type StandbyRequest, standbyPieceBytesMax, standbyUnitBytesMax } from '../ipc/messages/standby.ts'
import { openRpcServer } from '../ipc/server.ts'
import { openMessaging } from '../ipc/zmq/context.ts'
import type { Epoch, TenantId, Txid } from '../lib/brand.ts'
import { SimClock, systemClock } from '../lib/clock.ts'
import { silentLogger as log } from '../lib/obs/log.ts'
import { StandbyLogs } from '../replicate/standby-log.ts'
import { serveStandby } from './standby-server.ts'

setDefaultTimeout(180_000)
const root = mkdtempSync(join(tmpdir(), 'pf-standby-server-'))
const clock = new SimClock()
const messaging = openMessaging({ role: 'node', secrets: clusterSecrets('a-cluster-secret-of-tests'), log })
const server = openRpcServer({ messaging, bind: 'tcp://127.0.0.1:0', allow: ['node'], clock: systemClock, log })
serveStandby(server, { logs: StandbyLogs.open(root), clock, onFollow: () => {} })
const client = openRpcClient({
  messaging,
  conversation: standbyConversation,
  connect: server.address,
  serverRole: 'node',
  clock: systemClock,
  log,
})
afterAll(async () => {
  client.close()
  server.close()
  await messaging.close()
  rmSync(root, { recursive: true, force: true })
})

const openingOf = (n: number) => ({
  tenantId: `tenant${String(n).padStart(9, '0')}` as TenantId,
  epoch: 1 as Epoch,
  incarnation: 7,
})
type Append = Extract<StandbyRequest, { readonly type: 'standby.append' }>
const append = (n: number, change: Partial<Append>) =>
  client.request<'standby.append'>(
    {
      type: 'standby.append',
      ...openingOf(n),
      seq: 2,
      chainSeq: 2,
      baseTxid: 1 as Txid,
      offset: 0,
      totalBytes: 10,
      bytes: new Uint8Array(10),
      ...change,
    },
    { deadlineMs: 10_000 },
  )
const promise = (n: number) =>
  client.request<'standby.promise'>({ type: 'standby.promise', ...openingOf(n) }, { deadlineMs: 10_000 })

test('a unit of several pieces is kept as one; pieces out of their order, or of another unit, are refused', async () => {
  expect((await append(1, {})).outcome).toBe('unknown')
  await promise(1)
  const piece = new Uint8Array(standbyPieceBytesMax).fill(3)
  const totalBytes = 2 * piece.length + 5
  expect((await append(1, { totalBytes, bytes: piece })).outcome).toBe('more')
  expect((await append(1, { totalBytes, offset: piece.length, bytes: piece })).outcome).toBe('more')
  const last = { totalBytes, offset: 2 * piece.length, bytes: new Uint8Array(5) }
  expect((await append(1, last)).outcome).toBe('stored')
  await expect(append(1, last)).rejects.toMatchObject({ code: 'bad_message' }) // it ends nothing any more
  await append(1, { seq: 3, totalBytes, bytes: piece })
  await expect(append(1, { seq: 4, totalBytes, offset: piece.length, bytes: piece })).rejects.toMatchObject({
    code: 'bad_message',
  })
  const { held } = (await promise(1)) as { held: { lastSeq: number; sizeBytes: number } }
  expect(held.lastSeq).toBe(2)
  const { bytes } = await client.request<'standby.read'>(
    { type: 'standby.read', ...openingOf(1), from: 0, to: 1 << 30 },
    { deadlineMs: 10_000 },
  )
  expect(bytes!.length).toBe(standbyPieceBytesMax) // whoever asks for more gets a piece
  expect(held.sizeBytes).toBeGreaterThan(totalBytes)
})

test('what is never finished makes room after a while', async () => {
  const piece = new Uint8Array(standbyPieceBytesMax)
  const begin = (n: number) => append(n, { totalBytes: standbyUnitBytesMax, bytes: piece })
  for (let n = 10; n < 18; n++) expect((await begin(n)).outcome).toBe('more')
  await expect(begin(18)).rejects.toMatchObject({ code: 'overloaded' })
  await clock.advance(11_000)
  expect((await begin(18)).outcome).toBe('more')
})

test('an owner of before does not disturb what its successor sends', async () => {
  const piece = new Uint8Array(standbyPieceBytesMax)
  const totalBytes = 2 * piece.length
  const next = { ...openingOf(30), epoch: 2 as Epoch }
  await promise(30)
  await client.request<'standby.promise'>({ type: 'standby.promise', ...next }, { deadlineMs: 10_000 })
  expect((await append(30, { ...next, totalBytes, bytes: piece })).outcome).toBe('more')
  expect((await append(30, { totalBytes, bytes: piece })).outcome).toBe('promised')
  expect(await promise(30)).toMatchObject({ accepted: false, epoch: 2 })
  expect((await append(30, { ...next, totalBytes, offset: piece.length, bytes: piece })).outcome).toBe('stored')
})
