// Goal: either end of a conversation may be killed at any moment; the other goes on when it is back. Method: real
// processes, SIGKILL, restart on the same address.

import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openRpcClient } from '../../src/ipc/client.ts'
import { openMessaging } from '../../src/ipc/zmq/context.ts'
import { systemClock as clock } from '../../src/lib/clock.ts'
import { freePort } from '../../src/lib/free-port.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { countConversation, countSecrets } from '../support/rpc-process.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-ipc-'))
const children: Bun.Subprocess<'ignore', 'pipe', 'inherit'>[] = []
const messaging = openMessaging({ role: 'node', secrets: countSecrets, log })

afterAll(async () => {
  for (const child of children) {
    child.kill('SIGKILL')
    await child.exited
  }
  await messaging.close()
  rmSync(dir, { recursive: true, force: true })
})

function start(kind: 'server' | 'client', address: string) {
  const file = join(import.meta.dir, '..', 'support', 'rpc-process.ts')
  const child = Bun.spawn([process.execPath, file, kind, address], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  children.push(child)
  return child
}

async function* lines(child: Bun.Subprocess<'ignore', 'pipe', 'inherit'>): AsyncGenerator<string> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of child.stdout) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop()!
    yield* parts
  }
}

async function killed(child: Bun.Subprocess<'ignore', 'pipe', 'inherit'>): Promise<void> {
  child.kill('SIGKILL')
  await child.exited
}

// Over TCP alone, which is what every mode uses. Over ipc:// a client was once seen not to find the server again within
// 15 s; until that is understood no mode may listen there.
// The address must still be there for the second server: no outgoing connection may take its port meanwhile.
for (const [transport, bind] of [['tcp', () => `tcp://127.0.0.1:${freePort()}`]] as const)
  test(`over ${transport}, a killed server is found again by what was asked meanwhile`, async () => {
    const first = start('server', bind())
    const address = (await lines(first).next()).value as string
    const client = openRpcClient({
      messaging,
      connect: address,
      serverRole: 'control-plane',
      conversation: countConversation,
      clock,
      log,
    })
    const count = (n: number) => client.request({ type: 'count', n }, { deadlineMs: 15_000 })
    expect(await count(1)).toEqual({ n: 2, pid: first.pid })
    for (let round = 0; round < 3; round++) {
      await killed(children.findLast((child) => child.exitCode === null && child.signalCode === null)!)
      // Until the client noticed, a request may still be sent into the void; those fail, later ones wait.
      while (client.isConnected) await Bun.sleep(1)
      const waiting = [10, 20, 30].map(count)
      const next = start('server', address)
      const answers = await Promise.all(waiting)
      expect(answers).toEqual([11, 21, 31].map((n) => ({ n, pid: next.pid })))
    }
    client.close()
    await killed(children.findLast((child) => child.exitCode === null && child.signalCode === null)!)
  }, 180_000)

test('killed clients leave a server that answers the next one', async () => {
  const server = start('server', 'tcp://127.0.0.1:0')
  const address = (await lines(server).next()).value as string
  for (let round = 0; round < 3; round++) {
    const client = start('client', address)
    for await (const line of lines(client)) if (Number(line) >= 200) break
    await killed(client)
  }
  await killed(server)
}, 180_000)
