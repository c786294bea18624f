// The client itself: addresses, hooks around requests, cancellation, errors.

import { describe, expect, test } from 'bun:test'
import PocketBase, { ClientResponseError } from 'pocketbase'
import { newClient, refusal, type WorldOf, withWarnings } from './world.ts'

export function clientCalls(world: WorldOf): void {
  describe('client', () => {
    test('addresses', async () => {
      const { url } = world()
      const client = newClient(`${url}/`)
      expect(client.buildURL('/api/health')).toBe(`${url}/api/health`)
      const { value } = await withWarnings(() => client.buildUrl('api/health'))
      expect(value).toBe(`${url}/api/health`)
      client.baseUrl = url
      expect([client.baseURL, client.baseUrl]).toEqual([url, url])
    })

    test('send, with beforeSend, afterSend, an own fetch and a language', async () => {
      const client = new PocketBase(world().url, null, 'de-AT')
      const sent: Record<string, unknown>[] = []
      client.beforeSend = (url, options) => {
        sent.push({ url, language: options.headers?.['Accept-Language'] })
        return { url: `${url}?from=beforeSend`, options }
      }
      client.afterSend = (response: Response, data: Record<string, unknown>) => ({
        ...data,
        status: response.status,
        url: response.url,
      })
      const own: string[] = []
      const answer = await client.send('/api/health', {
        query: { a: ['x', 1], b: null },
        fetch: (input, init) => {
          own.push(String(input))
          return fetch(input as string, init)
        },
      })
      expect(sent).toEqual([{ url: `${world().url}/api/health`, language: 'de-AT' }])
      expect(own).toEqual([`${world().url}/api/health?from=beforeSend&a=x&a=1`])
      expect(answer).toMatchObject({ code: 200, status: 200, url: own[0]! })
    })

    test('a second request cancels the first; keys keep them apart', async () => {
      const client = new PocketBase(world().url)
      expect(client.autoCancellation(true)).toBe(client)
      const first = client.health.check()
      const second = client.health.check()
      const cancelled = await refusal(first)
      expect([cancelled.isAbort, cancelled.status]).toEqual([true, 0])
      expect((await second).code).toBe(200)
      const both = await Promise.all([
        client.health.check({ requestKey: 'one' }),
        client.health.check({ requestKey: 'two' }),
        client.health.check({ requestKey: null }),
        client.health.check({ requestKey: null }),
      ])
      expect(both.map(({ code }) => code)).toEqual([200, 200, 200, 200])
      const named = client.health.check({ requestKey: 'named' })
      expect(client.cancelRequest('named')).toBe(client)
      expect((await refusal(named)).isAbort).toBe(true)
      const all = [client.health.check({ requestKey: 'a' }), client.health.check({ requestKey: 'b' })]
      client.cancelAllRequests()
      // All at once: a refusal that nobody awaits yet would fail the test.
      for (const each of await Promise.all(all.map(refusal))) expect(each.isAbort).toBe(true)
      // Cancelled requests cost nobody else anything.
      expect((await client.health.check()).code).toBe(200)
    })

    test('errors', async () => {
      const error = await refusal(newClient(world().url).send('/api/nope', { method: 'POST' }))
      expect(error.url).toBe(`${world().url}/api/nope`)
      expect(error.data).toEqual({ data: {}, message: "The requested resource wasn't found.", status: 404 })
      expect(error.data).toBe(error.response)
      expect(new ClientResponseError(new Error('x')).isAbort).toBe(false)
      const nowhere = await refusal(newClient('http://127.0.0.1:1').health.check())
      expect([nowhere.status, nowhere.isAbort]).toEqual([0, false])
    })
  })
}
