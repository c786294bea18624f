// Goal: a whole body goes out with its length and its bytes, whatever its size. Method: a real server that answers late.

import { expect, test } from 'bun:test'
import { wholeBody } from './whole-body.ts'

test('the bytes arrive, counted, below and above what the server buffers', async () => {
  for (const size of [0, 1, 14 * 1024, 14 * 1024 + 1, 64 * 1024, 1_000_000]) {
    const bytes = crypto.getRandomValues(new Uint8Array(Math.min(size, 65_536)))
    const body = new Uint8Array(size).map((_, i) => bytes[i % bytes.length]!)
    const server = Bun.serve({
      port: 0,
      async fetch() {
        await new Promise(setImmediate)
        return new Response(wholeBody(body), { headers: { 'content-type': 'text/plain' } })
      },
    })
    try {
      const answer = await fetch(server.url)
      expect(answer.headers.get('content-length')).toBe(String(size))
      expect(Bun.hash(await answer.bytes())).toBe(Bun.hash(body))
    } finally {
      await server.stop(true)
    }
  }
})
