// Goal: the command line of a standalone tenant is PocketBase's: superusers on a directory that is made on the way,
// encrypted settings, domains with TLS. Method: the program itself, as a process.

import { Database as Sqlite } from 'bun:sqlite'
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../src/lib/free-port.ts'
import { programCommand, runCli } from '../support/fleet.ts'
import { until } from '../support/wait.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const key = 'k'.repeat(32)
const tls = join(import.meta.dir, '../support/tls')
let root: string
let dir: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pf-cli-'))
  dir = join(root, 'new/pb_data')
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

const superuser = (...args: string[]) => runCli('source', ['superuser', ...args, `--dir=${dir}`], { MY_KEY: key })

function read<T>(sql: string): T[] {
  const sqlite = new Sqlite(join(dir, 'data.db'), { readonly: true })
  try {
    return sqlite.query(sql).all() as T[]
  } finally {
    sqlite.close()
  }
}

/** A server that is stopped after `work`, or ends by itself where there is none: its exit code and what it says. */
async function serve(args: readonly string[], work: (() => Promise<void>) | null = null) {
  const child = Bun.spawn([...programCommand('source'), 'serve', '--mode=standalone', `--dir=${dir}`, ...args], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    env: { ...process.env, MY_KEY: key },
  })
  try {
    await (work === null ? child.exited : work())
  } finally {
    if (child.exitCode === null) child.kill('SIGTERM')
  }
  const [out, errors] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
  return { code: await child.exited, text: out + errors }
}

test('superusers on a directory that was not there', async () => {
  await superuser('upsert', 'one@example.com', 'a-long-password', '--encryptionEnv=MY_KEY')
  await superuser('create', 'two@example.com', 'a-long-password', '--encryptionEnv', 'MY_KEY')
  await superuser('update', 'two@example.com', 'another-password', '--encryption-env=MY_KEY')
  await superuser('delete', 'one@example.com', '--encryptionEnv=MY_KEY')
  expect(await superuser('otp', 'two@example.com', '--encryptionEnv=MY_KEY').catch((error) => error.message)).toContain(
    'OTP auth is not enabled',
  )
  expect(await superuser('ips', '10.0.0.0/24', '127.0.0.1', '--encryptionEnv=MY_KEY')).toContain('10.0.0.0/24')
  expect(read('SELECT email FROM _superusers')).toEqual([{ email: 'two@example.com' }])
  // The settings are encrypted, and closed to whoever lacks the key.
  expect(read<{ value: string }>("SELECT value FROM _params WHERE id = 'settings'")[0]!.value).not.toContain('{')
  await expect(superuser('ips')).rejects.toThrow(/no encryption key was given/)
  await expect(superuser('ips', 'nowhere', '--encryptionEnv=MY_KEY')).rejects.toThrow(/Invalid IP/)
  await expect(superuser('delete', 'two@example.com', '--encryptionEnv=MY_KEY')).rejects.toThrow()
  await expect(superuser('update', 'none@example.com', 'x', '--encryptionEnv=MY_KEY')).rejects.toThrow(/doesn't exist/)
}, 180_000)

test('with a certificate plain HTTP sends over to it, and www. to the domain', async () => {
  for (const domain of ['Example.com', 'https://example.com', '*.example.com', '../x'])
    expect(await serve([domain])).toMatchObject({ code: 2, text: expect.stringContaining('a lower-case domain name') })
  expect((await serve(['--https=127.0.0.1:0'])).text).toContain('needs --tls-cert and --tls-key, or a domain')
  const [http, https] = [freePort(), freePort()]
  const flags = [`--tls-cert=${join(tls, 'fleet.test.crt')}`, `--tls-key=${join(tls, 'fleet.test.key')}`]
  const served = await serve(
    ['app.fleet.test', ...flags, `--http=127.0.0.1:${http}`, `--https=127.0.0.1:${https}`],
    async () => {
      const health = () => fetch(`https://127.0.0.1:${https}/api/health`, { tls: { rejectUnauthorized: false } })
      await until('an answer over TLS', async () => (await health()).status === 200)
      const plain = (init: RequestInit, host = 'app.fleet.test') =>
        fetch(`http://127.0.0.1:${http}/api/health?a=1`, { ...init, redirect: 'manual', headers: { host } })
      const over = await plain({})
      expect([over.status, over.headers.get('location')]).toEqual([
        302,
        `https://app.fleet.test:${https}/api/health?a=1`,
      ])
      expect((await plain({ method: 'POST', body: 'secret' })).status).toBe(400)
      expect((await plain({}, 'evil.example')).status).toBe(400)
      const www = await fetch(`https://127.0.0.1:${https}/api/health?a=1`, {
        tls: { rejectUnauthorized: false },
        redirect: 'manual',
        headers: { host: `www.app.fleet.test:${https}` },
      })
      expect([www.status, www.headers.get('location')]).toEqual([307, `https://app.fleet.test:${https}/api/health?a=1`])
    },
  )
  expect(served.code).toBe(0)
  expect(existsSync(join(dir, 'data.db'))).toBe(true)
}, 180_000)

test('--origins bounds which pages may read answers, --queryTimeout how long a read may run', async () => {
  await superuser('upsert', 'one@example.com', 'a-long-password')
  const http = freePort()
  const base = `http://127.0.0.1:${http}`
  const flags = [`--http=127.0.0.1:${http}`, '--origins=https://a.example,https://*.b.example', '--queryTimeout=1']
  await serve(flags, async () => {
    await until('an answer', async () => (await fetch(`${base}/api/health`)).status === 200)
    const allowed = async (origin: string) =>
      (await fetch(`${base}/api/health`, { headers: { origin } })).headers.get('access-control-allow-origin')
    expect(await allowed('https://a.example')).toBe('https://a.example')
    expect(await allowed('https://x.b.example')).toBe('https://x.b.example')
    expect(await allowed('https://evil.example')).toBeNull()
    const post = (path: string, body: object, token = '') =>
      fetch(base + path, {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json', authorization: token },
      })
    const identity = { identity: 'one@example.com', password: 'a-long-password' }
    const signedIn = await post('/api/collections/_superusers/auth-with-password', identity)
    const { token } = (await signedIn.json()) as { token: string }
    const endless = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'
    const refused = await post('/api/sql', { query: endless }, token)
    expect(refused.status).toBe(400)
  })
}, 180_000)

test('a web app in pb_public beside the data, or in --publicDir, is served with the API', async () => {
  const http = freePort()
  const base = `http://127.0.0.1:${http}`
  const folder = join(root, 'new/pb_public')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'index.html'), 'home')
  const texts: string[] = []
  const look = async () => {
    await until('an answer', async () => (await fetch(`${base}/api/health`)).status === 200)
    for (const path of ['/', '/some/page']) texts.push(await (await fetch(base + path)).text())
  }
  await serve([`--http=127.0.0.1:${http}`], look)
  await serve([`--http=127.0.0.1:${http}`, `--publicDir=${folder}`, '--indexFallback=false'], look)
  expect(texts).toEqual(['home', 'home', 'home', expect.stringContaining('File not found.')])
  const refused = await serve([`--publicDir=${join(root, 'missing')}`])
  expect(refused).toMatchObject({ code: 2, text: expect.stringContaining('--public-dir') })
}, 180_000)
