// Goal: pages of allowed origins may read answers, others not. Method: cases of PocketBase's middleware.

import { expect, test } from 'bun:test'
import { Cors } from './cors.ts'

function answer(origins: readonly string[], origin: string | null): string | null {
  const headers = new Headers()
  new Cors(origins).allow(new Request('http://x/', { headers: origin === null ? {} : { origin } }), headers)
  expect(headers.get('vary')).toBe('Origin')
  return headers.get('access-control-allow-origin')
}

test.each<[readonly string[], string | null, string | null]>([
  [['*'], 'https://a.example', '*'],
  [['*'], null, null],
  [['https://a.example', '*'], 'https://b.example', '*'],
  [['https://a.example'], 'https://a.example', 'https://a.example'],
  [['https://a.example'], 'http://a.example', null],
  [['https://a.example'], 'https://a.example.evil', null],
  [['https://a.example'], 'https://aXexample', null],
  [['https://*.example.com'], 'https://a.b.example.com', 'https://a.b.example.com'],
  [['https://*.example.com'], 'https://example.com', null],
  [['https://*.example.com'], 'https://a.example.com.evil', null],
  [['https://*.example.com'], `https://${'a'.repeat(300)}.example.com`, null],
  [['http://app?.example'], 'http://app1.example', 'http://app1.example'],
  [['(a+)+$'], `${'a'.repeat(60)}!`, null],
  [['null'], 'null', 'null'],
])('%p and a page of %p', (origins, origin, expected) => {
  expect(answer(origins, origin)).toBe(expected)
})

test('a preflight tells methods and headers to allowed origins only', async () => {
  const cors = new Cors(['https://a.example'])
  const ask = (origin: string) =>
    cors.preflight(
      new Request('http://x/', { method: 'OPTIONS', headers: { origin, 'access-control-request-headers': 'x-a,x-b' } }),
    )
  const allowed = ask('https://a.example')
  expect(allowed.status).toBe(204)
  expect(Object.fromEntries(allowed.headers)).toEqual({
    vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
    'access-control-allow-origin': 'https://a.example',
    'access-control-allow-methods': 'GET,HEAD,PUT,PATCH,POST,DELETE',
    'access-control-allow-headers': 'x-a,x-b',
  })
  const refused = ask('https://b.example')
  expect([refused.status, Object.fromEntries(refused.headers)]).toEqual([204, { vary: 'Origin' }])
})
