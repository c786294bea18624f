// Goal: 2,000 open event streams through one gateway do not keep other requests out, and their ends reach the worker.
// Method: gateway and worker as real processes, raw sockets as clients (this process's own `fetch` has the same limit).

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { gatewayEnvironment } from '../../src/gw/config.ts'
import { clusterSecrets } from '../../src/ipc/keys.ts'
import { makeRoute, startFakeControlPlane } from '../support/fake-control-plane.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const streams = 2_000
const secret = 'a secret for two thousand streams'
const controlPlane = startFakeControlPlane(clusterSecrets(secret))
const support = join(import.meta.dir, '..', 'support')

function start(file: string, env: Record<string, string>) {
  return Bun.spawn([process.execPath, join(support, file)], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
    env: { ...process.env, ...env },
  })
}

async function firstLine(child: ReturnType<typeof start>): Promise<string> {
  const reader = child.stdout.getReader()
  let text = ''
  while (!text.includes('\n')) {
    const { value, done } = await reader.read()
    if (done) throw new Error('the process ended')
    text += new TextDecoder().decode(value)
  }
  reader.releaseLock()
  return text.split('\n')[0]!
}

const worker = start('stream-worker-process.ts', {})
const gateway = start('gateway-process.ts', gatewayEnvironment)

afterAll(async () => {
  for (const child of [worker, gateway]) {
    child.kill('SIGKILL')
    await child.exited
  }
  await controlPlane.close()
})

test('2,000 event streams stay open while requests go on', async () => {
  controlPlane.replies.set('live', { found: 'route', route: makeRoute('live', await firstLine(worker)) })
  gateway.stdin.write(`${JSON.stringify({ secret, controlPlane: controlPlane.address })}\n`)
  gateway.stdin.flush()
  const url = new URL(await firstLine(gateway))
  const headers = { host: 'live.fleet.test' }
  await until('the gateway to be ready', async () => (await fetch(new URL('/health/ready', url))).status === 200)
  const openStreams = async () => Number(await (await fetch(url, { headers })).text())
  expect(await openStreams()).toBe(0)

  let events = 0
  let ended = 0
  const sockets = []
  for (let i = 0; i < streams; i++) {
    sockets.push(
      await Bun.connect({
        hostname: url.hostname,
        port: Number(url.port),
        socket: {
          open: (socket) => void socket.write('GET /stream HTTP/1.1\r\nHost: live.fleet.test\r\n\r\n'),
          data: (_socket, data) => {
            if (data.includes('data: open')) events++
          },
          close: () => void ended++,
        },
      }),
    )
  }
  await until('every stream’s first event', () => events === streams)
  expect(await openStreams()).toBe(streams)

  for (let i = 0; i < 200; i++) expect((await fetch(url, { headers })).status).toBe(200)
  expect([events, ended]).toEqual([streams, 0])

  for (const socket of sockets) socket.terminate()
  await until('the worker to hear of every end', async () => (await openStreams()) === 0)
}, 180_000)
