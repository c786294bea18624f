// Goal: a body arrives whole at whichever attempt sends it last, however much an earlier attempt took. Method: generated
// chunk sizes and give-up points, compared byte by byte.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { requestBody } from './body.ts'

function streamed(chunks: readonly Uint8Array[]): Request {
  let i = 0
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await Promise.resolve()
      const chunk = chunks[i++]
      if (chunk === undefined) controller.close()
      else controller.enqueue(chunk)
    },
  })
  return new Request('http://localhost/', { method: 'POST', body })
}

const bytesOf = async (body: unknown) => new Uint8Array(await new Response(body as ReadableStream).arrayBuffer())

test('a second attempt gets everything while little was taken', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 20 }),
      fc.nat(20),
      async (chunks, taken) => {
        const body = await requestBody(streamed(chunks))
        const first = (body.next() as ReadableStream<Uint8Array>).getReader()
        for (let i = 0; i < Math.min(taken, chunks.length); i++) await first.read()
        void first.read().catch(() => {}) // one pull is under way when the attempt is given up
        expect(body.isReplayable).toBe(true)
        const whole = await bytesOf(body.next())
        expect(Buffer.from(whole)).toEqual(Buffer.concat(chunks))
      },
    ),
  )
})

test('a large body streams through once and says that it cannot be replayed', async () => {
  const chunks = Array.from({ length: 40 }, (_, i) => new Uint8Array(50_000).fill(i))
  const body = await requestBody(streamed(chunks))
  expect(body.isReplayable).toBe(true)
  const whole = await bytesOf(body.next())
  expect(Buffer.compare(whole, Buffer.concat(chunks))).toBe(0)
  expect(body.isReplayable).toBe(false)
})

test('a small body of known length and no body at all can always be replayed', async () => {
  const request = new Request('http://localhost/', {
    method: 'POST',
    body: 'small',
    headers: { 'content-length': '5' },
  })
  const body = await requestBody(request)
  for (let i = 0; i < 3; i++) expect(await new Response(body.next()).text()).toBe('small')
  const none = await requestBody(new Request('http://localhost/'))
  expect([none.next(), none.isReplayable]).toEqual([null, true])
})
