// The smallest program that needs every native part: RocksDB, libzmq and the poll thread. Built and run by
// test/integration/native-binary.test.ts.

import { openRpcClient } from '../../src/ipc/client.ts'
import type { Conversation } from '../../src/ipc/conversation.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { openRpcServer } from '../../src/ipc/server.ts'
import { openMessaging } from '../../src/ipc/zmq/context.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'

type Ask = { readonly type: 'double'; readonly n: number }
interface Answers {
  double: { readonly n: number }
}
const conversation: Conversation<Ask, Answers> = { name: 'probe', version: 1, callers: ['node'] }

async function probeRocks(dir: string): Promise<string> {
  const open: (dir: string) => Rocks = require('rocksdb') // the package has no types
  const db = open(dir)
  const call = <T>(body: (done: (error: unknown, value?: T) => void) => void) =>
    new Promise<T>((resolve, reject) => body((error, value) => (error ? reject(error) : resolve(value as T))))
  await call<void>((done) => db.open({}, done))
  await call<void>((done) => db.put('key', 'value', { sync: true }, done))
  const value = await call<Buffer>((done) => db.get('key', done))
  await call<void>((done) => db.close(done))
  return value.toString()
}

interface Rocks {
  open(options: object, done: (error: unknown) => void): void
  put(key: string, value: string, options: object, done: (error: unknown) => void): void
  get(key: string, done: (error: unknown, value?: Buffer) => void): void
  close(done: (error: unknown) => void): void
}

async function probeZmq(): Promise<number> {
  const secrets = clusterSecrets('a secret that is long enough')
  const member = openMessaging({ role: 'control-plane', secrets, log })
  const node = openMessaging({ role: 'node', secrets, log })
  const server = openRpcServer({ messaging: member, bind: 'tcp://127.0.0.1:0', allow: ['node'], clock, log })
  server.serve(conversation, { double: ({ n }) => ({ n: n * 2 }) })
  const client = openRpcClient({
    messaging: node,
    connect: server.address,
    serverRole: 'control-plane',
    conversation,
    clock,
    log,
  })
  const { n } = await client.request({ type: 'double', n: 21 }, { deadlineMs: 10_000 })
  await node.close()
  await member.close()
  return n
}

try {
  const zmq = await probeZmq()
  console.log(JSON.stringify({ rocks: await probeRocks(process.argv[2]!), zmq }))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
