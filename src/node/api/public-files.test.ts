// Goal: a folder is served as PocketBase serves `pb_public`, and nothing outside of it. Method: requests to an app.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostOf, openTestEngine, type TestEngine } from '../../../test/support/engine.ts'
import { TenantApi } from './app.ts'

let opened: TestEngine
let root: string
beforeEach(async () => {
  opened = await openTestEngine()
  root = mkdtempSync(join(tmpdir(), 'pf-public-'))
  mkdirSync(join(root, 'public/docs'), { recursive: true })
  mkdirSync(join(root, 'public/empty'))
  writeFileSync(join(root, 'secret.txt'), 'secret')
  writeFileSync(join(root, 'public/index.html'), '<h1>home</h1>')
  writeFileSync(join(root, 'public/app.js'), 'console.log(1)')
  writeFileSync(join(root, 'public/docs/index.html'), '<h1>docs</h1>')
  writeFileSync(join(root, 'public/docs/ä b.txt'), 'umlaut')
})
afterEach(async () => {
  await opened[Symbol.asyncDispose]()
  rmSync(root, { recursive: true, force: true })
})

function ask(path: string, init: RequestInit = {}, indexFallback = true) {
  const { engine } = opened
  const api = new TenantApi({
    host: hostOf(engine),
    publicFiles: { dir: join(root, 'public'), indexFallback },
  })
  return api.answer(new Request(`http://localhost${path}`, init), null)
}

test('files, folders and their index pages', async () => {
  const home = await ask('/')
  expect([home.status, home.headers.get('content-type'), await home.text()]).toEqual([
    200,
    'text/html;charset=utf-8',
    '<h1>home</h1>',
  ])
  expect(home.headers.get('content-disposition')).toBeNull()
  expect(home.headers.get('x-content-type-options')).toBe('nosniff')
  const script = await ask('/app.js')
  expect([script.headers.get('content-type'), await script.text()]).toEqual([
    'text/javascript;charset=utf-8',
    'console.log(1)',
  ])
  expect(await (await ask('/docs/')).text()).toBe('<h1>docs</h1>')
  expect(await (await ask('/docs/%C3%A4%20b.txt')).text()).toBe('umlaut')
  const head = await ask('/app.js', { method: 'HEAD' })
  expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '14', ''])
})

test.each([
  ['/docs', '/docs/'],
  ['/app.js/', '/app.js'],
  ['/docs/index.html', '/docs/'],
  ['/index.html', '/'],
])('%s has its address at %s', async (from, to) => {
  const moved = await ask(from)
  expect([moved.status, moved.headers.get('location')]).toEqual([301, to])
})

test('ranges and conditions', async () => {
  const part = await ask('/app.js', { headers: { range: 'bytes=0-6' } })
  expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 0-6/14', 'console'])
  const known = (await ask('/app.js')).headers.get('last-modified')!
  expect((await ask('/app.js', { headers: { 'if-modified-since': known } })).status).toBe(304)
})

test('what is not there is the home page, or is not found', async () => {
  for (const path of ['/users/12', '/empty/', '/app.js/x', '/%FF', `/${'x'.repeat(300)}`, '/%00']) {
    expect(await (await ask(path)).text()).toBe('<h1>home</h1>')
    const missing = await ask(path, {}, false)
    expect([missing.status, await missing.json()]).toEqual([404, { status: 404, message: 'File not found.', data: {} }])
  }
  expect((await ask('/users/12', { method: 'POST' })).status).toBe(404)
  expect((await ask('/api/health')).headers.get('content-type')).toContain('application/json')
})

test.each([
  '/../secret.txt',
  '/%2e%2e/secret.txt',
  '/docs/%2e%2e/%2e%2e/secret.txt',
  '/..%2fsecret.txt',
  '/..%5csecret.txt',
])('%s leads nowhere', async (path) => {
  const answer = await ask(path, {}, false)
  expect(await answer.text()).not.toContain('secret\n')
  expect(answer.status).toBe(404)
})

test('no address leads to another host', async () => {
  for (const path of ['/%5Cevil.example/', '/docs%2F']) {
    const location = (await ask(path, {}, false)).headers.get('location') ?? '/'
    expect(new URL(location, 'http://localhost').host).toBe('localhost')
  }
})
