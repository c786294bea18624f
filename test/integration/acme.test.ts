// Goal: `serve DOMAIN` gets its certificates by itself, serves by them, keeps them, and renews them while it runs. Method:
// the program itself beside Pebble, the ACME authority that Let's Encrypt makes for tests, which looks at our port.

import { afterEach, beforeEach, expect, setDefaultTimeout } from 'bun:test'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { freePort } from '../../src/lib/free-port.ts'
import { programCommand } from '../support/fleet.ts'
import { testWithPeers } from '../support/peers.ts'
import { until } from '../support/wait.ts'

const timeoutMs = 360_000 // a busy machine is no failure
setDefaultTimeout(timeoutMs)

const certPath = join(import.meta.dir, '../support/tls/fleet.test.crt')
const keyPath = join(import.meta.dir, '../support/tls/fleet.test.key')
/** An attempt that fails is repeated after a minute and a quarter at most. */
const patienceMs = 150_000
const [http, https, directory, management] = [freePort(), freePort(), freePort(), freePort()]

let root: string
const children: Bun.Subprocess[] = []
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pf-acme-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL')
    await child.exited
  }
  rmSync(root, { recursive: true, force: true })
})

function start(command: readonly string[], env: Record<string, string> = {}): Bun.Subprocess {
  const child = Bun.spawn([...command], {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: Bun.file(join(root, 'log')),
    env: { ...process.env, ...env },
  })
  children.push(child)
  return child
}

/** What the children have said last; each start begins a new one. */
const logged = () => readFileSync(join(root, 'log'), 'utf8')

async function startAuthority(path: string, validityPeriod: number): Promise<Bun.Subprocess> {
  const config = join(root, 'pebble.json')
  const pebble = {
    listenAddress: `127.0.0.1:${directory}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: certPath,
    privateKey: keyPath,
    httpPort: http,
    tlsPort: https,
    profiles: { default: { description: 'the one there is', validityPeriod } },
  }
  writeFileSync(config, JSON.stringify({ pebble }))
  const authority = start([path, '-config', config, '-strict'], { PEBBLE_VA_NOSLEEP: '1' })
  await until('the authority', async () => {
    const answer = await fetch(`https://127.0.0.1:${directory}/dir`, { tls: { rejectUnauthorized: false } })
    return answer.ok
  })
  return authority
}

const serve = (authority = directory) =>
  start(
    [
      ...programCommand('source'),
      'serve',
      'localhost',
      '--mode=standalone',
      `--dir=${join(root, 'pb_data')}`,
      `--http=127.0.0.1:${http}`,
      `--https=127.0.0.1:${https}`,
      `--acme-directory=https://127.0.0.1:${authority}/dir`,
    ],
    { NODE_EXTRA_CA_CERTS: certPath },
  )

/** Serial number of the certificate that is served for `localhost`; null when there is none. */
function servedSerial(): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(
      { port: https, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false },
      () => {
        resolve(socket.getPeerCertificate().serialNumber)
        socket.destroy()
      },
    )
    socket.on('error', () => resolve(null))
    socket.on('close', () => resolve(null))
  })
}

const health = async () =>
  (await fetch(`https://localhost:${https}/api/health`, { tls: { rejectUnauthorized: false } })).status

testWithPeers(
  ['pebble'],
  'a domain has a certificate soon after the start, and from the disk at the next',
  async (peers) => {
    const authority = await startAuthority(peers.pebble, 90 * 86_400)
    const first = serve()
    await until('a certificate', async () => (await servedSerial()) !== null, patienceMs)
    expect(await health()).toBe(200)
    const serial = await servedSerial()
    const cache = join(root, 'pb_data/.autocert_cache')
    await until('the file', () => existsSync(join(cache, 'localhost')))
    expect(readdirSync(cache).toSorted()).toEqual(['acme_account+key', 'localhost'])
    // `www.localhost` has no address: its failure is told, and in nobody's way.
    await until('the other host to have failed', () => /certificate.failed.*www.localhost/.test(logged()))
    first.kill('SIGTERM')
    expect(await first.exited).toBe(0)
    authority.kill('SIGKILL')
    await authority.exited
    serve()
    await until('the certificate again', async () => (await servedSerial()) === serial)
  },
  timeoutMs,
)

testWithPeers(
  ['pebble'],
  'a certificate is renewed while requests go on',
  async (peers) => {
    await startAuthority(peers.pebble, 12)
    serve()
    await until('a certificate', async () => (await servedSerial()) !== null, patienceMs)
    const serial = await servedSerial()
    await until(
      'another one',
      async () => {
        const served = await servedSerial()
        return served !== null && served !== serial
      },
      patienceMs,
    )
    await until('an answer', async () => (await health()) === 200)
  },
  timeoutMs,
)

testWithPeers(['pebble'], 'without an authority plain HTTP is there, HTTPS waits, and the port is ours', async () => {
  const child = serve(freePort())
  await until('the redirect', async () => {
    const over = await fetch(`http://localhost:${http}/a?b=c`, { redirect: 'manual' })
    return over.status === 302 && over.headers.get('location') === `https://localhost:${https}/a?b=c`
  })
  expect((await fetch(`http://localhost:${http}/.well-known/acme-challenge/none`)).status).toBe(404)
  expect((await fetch(`http://localhost:${http}/`, { method: 'POST', body: 'x' })).status).toBe(400)
  expect(await servedSerial()).toBeNull()
  const second = start([
    ...programCommand('source'),
    'serve',
    'localhost',
    '--mode=standalone',
    `--dir=${join(root, 'other')}`,
    `--http=127.0.0.1:${freePort()}`,
    `--https=127.0.0.1:${https}`,
  ])
  expect(await second.exited).toBe(2)
  expect(logged()).toContain(`--https-addr: cannot listen on 127.0.0.1:${https}: the address is in use`)
  child.kill('SIGTERM')
  expect(await child.exited).toBe(0)
})
