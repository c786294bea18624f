// Goal: paths, methods and headers answer as PocketBase's router does, and a lease is always given back.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { hostOf, openTestEngine, type TestEngine } from '../../../test/support/engine.ts'
import { TenantApi } from './app.ts'

let opened: TestEngine
let api: TenantApi
let leases = 0

beforeEach(async () => {
  opened = await openTestEngine()
  const { engine } = opened
  leases = 0
  const acquire = () => {
    leases++
    const release = () => void leases--
    return { engine, remoteAddress: '127.0.0.1', scheme: 'http' as const, release }
  }
  api = new TenantApi({ host: { acquire } })
})
afterEach(() => opened[Symbol.asyncDispose]())

const ask = async (method: string, path: string, headers: Record<string, string> = {}) =>
  api.answer(new Request(`http://localhost${path}`, { method, headers }), null)

test('wrong methods, trailing slashes and other cases of the path are 404', async () => {
  for (const [method, path] of [
    ['PUT', '/api/collections'],
    ['GET', '/api/collections/'],
    ['GET', '/API/health'],
    ['GET', '/nothing'],
  ] as const) {
    const response = await ask(method, path)
    expect([path, response.status]).toEqual([path, 404])
    const message = method === 'GET' ? 'File not found.' : "The requested resource wasn't found."
    expect(await response.text()).toBe(`{"data":{},"message":"${message}","status":404}`)
  }
  expect(leases).toBe(0)
})

test('doubled slashes are sent to the clean path, method kept', async () => {
  const response = await ask('GET', '/api//health?a=%22b')
  expect(response.status).toBe(307)
  expect(response.headers.get('location')).toBe('/api/health?a=%22b')
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
  for (const method of ['POST', 'OPTIONS']) {
    const other = await ask(method, '/api//health')
    expect([other.status, other.headers.get('content-type')]).toEqual([307, null])
  }
})

test('escapes count in every part of a path; what is none is refused', async () => {
  expect((await ask('GET', '/api/%68ealth')).status).toBe(200)
  const missing = await ask('GET', '/api/collections/%ff/records')
  expect(await missing.json()).toEqual({ data: {}, message: 'Missing collection context.', status: 404 })
  for (const method of ['GET', 'POST', 'OPTIONS'])
    for (const path of ['/api/%zz', '/%', '/api/collections/%E0%A4%A/records']) {
      const refused = await ask(method, path)
      expect([refused.status, refused.headers.get('content-type')]).toEqual([400, 'text/plain; charset=utf-8'])
      expect(await refused.text()).toBe('400 Bad Request')
    }
  expect(leases).toBe(0)
})

test('preflights answer 204 everywhere and let browsers in', async () => {
  const response = await ask('OPTIONS', '/anything', { origin: 'https://a.example' })
  expect(response.status).toBe(204)
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(response.headers.get('access-control-allow-methods')).toBe('GET,HEAD,PUT,PATCH,POST,DELETE')
})

test('answers carry the security headers, errors too, and give their lease back', async () => {
  for (const path of ['/api/health', '/api/collections', '/api/collections/nope/records']) {
    const response = await ask('GET', path)
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(response.headers.get('x-frame-options')).toBe('SAMEORIGIN')
  }
  expect(leases).toBe(0)
})

test('an unforeseen failure is a plain 400 that tells nothing', async () => {
  const routes = [
    {
      method: 'GET',
      path: '/boom',
      limit: 'path' as const,
      handle: () => {
        throw new Error('secret detail')
      },
    },
  ]
  const response = await new TenantApi({ host: hostOf(opened.engine), routes }).answer(
    new Request('http://localhost/boom'),
    null,
  )
  expect(response.status).toBe(400)
  expect(await response.text()).not.toContain('secret')
})
