// Goal: what uploads of backups may take of the disk that tenants share is bounded, and comes back when they end.

import { afterEach, beforeEach, expect, test } from 'bun:test'
import { hostOf, openTestEngine, saveUser, type TestEngine } from '../../../test/support/engine.ts'
import { newAuthToken } from '../engine/auth/tokens.ts'
import { TenantApi } from './app.ts'

let opened: TestEngine
let api: TenantApi
let token: string

beforeEach(async () => {
  opened = await openTestEngine()
  const { engine } = opened
  api = new TenantApi({
    host: hostOf(engine),
  })
  token = newAuthToken(await saveUser(engine, '_superusers', { email: 'a@example.com' }), engine.clock.now())
})
afterEach(() => opened[Symbol.asyncDispose]())

/** An upload that has begun, and goes on until it breaks off. */
function begin(): { readonly status: Promise<number>; breakOff(): void } {
  let sender: ReadableStreamDefaultController<Uint8Array>
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      sender = controller
      controller.enqueue(
        Buffer.from('--b\r\ncontent-disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK\x03\x04'),
      )
    },
  })
  const headers = { authorization: token, 'content-type': 'multipart/form-data; boundary=b' }
  const request = new Request('http://localhost/api/backups/upload', { method: 'POST', headers, body })
  const status = Promise.resolve(api.answer(request, null)).then((answer) => answer.status)
  return { status, breakOff: () => sender.error(new Error('the client has gone')) }
}

test('a tenant uploads two backups at once, and another one when one of them has ended', async () => {
  const [first, second] = [begin(), begin()]
  expect(await begin().status).toBe(503)
  first.breakOff()
  expect(await first.status).toBe(400)
  const third = begin()
  expect(await begin().status).toBe(503)
  for (const each of [second, third]) each.breakOff()
  expect(await Promise.all([second.status, third.status])).toEqual([400, 400])
})
