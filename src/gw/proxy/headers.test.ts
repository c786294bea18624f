// Goal: workers hear the truth about the client, and clients nothing of the inside.

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { clientOf, downstreamHeaders, plainAddress, upstreamHeaders } from './headers.ts'

const peer = (address: string) => ({ address, scheme: 'http' as const })
const trusted = new Set(['10.0.0.1', '10.0.0.2'])

describe('the client', () => {
  test('of a stranger is the stranger, whatever it says', () => {
    const headers = new Headers({ 'x-forwarded-for': '1.1.1.1', 'x-forwarded-proto': 'https' })
    expect(clientOf(headers, peer('203.0.113.9'), trusted)).toEqual({
      address: '203.0.113.9',
      scheme: 'http',
      forwardedFor: '203.0.113.9',
    })
  })

  test('behind trusted proxies is the last address that is none of them', () => {
    const headers = new Headers({ 'x-forwarded-for': '6.6.6.6, 1.1.1.1, 10.0.0.2', 'x-forwarded-proto': 'https' })
    expect(clientOf(headers, peer('::ffff:10.0.0.1'), trusted)).toEqual({
      address: '1.1.1.1',
      scheme: 'https',
      forwardedFor: '6.6.6.6, 1.1.1.1, 10.0.0.2, 10.0.0.1',
    })
    expect(clientOf(new Headers(), peer('10.0.0.1'), trusted).address).toBe('10.0.0.1')
    const odd = new Headers({ 'x-forwarded-for': 'unknown, "x", 2001:db8::1', 'x-forwarded-proto': 'gopher' })
    expect(clientOf(odd, peer('10.0.0.1'), trusted)).toMatchObject({ address: '2001:db8::1', scheme: 'http' })
  })

  test('is an address or a peer, for any header', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[\x21-\x7e][\x20-\x7e]*$/), (text) => {
        const { address } = clientOf(new Headers({ 'x-forwarded-for': text }), peer('10.0.0.1'), trusted)
        expect(address).toMatch(/^[0-9a-fA-F.:]+$/)
      }),
    )
  })

  test('has its IPv4 address in its own form', () => {
    expect(plainAddress('::ffff:192.0.2.1')).toBe('192.0.2.1')
    expect(plainAddress('::FFFF:192.0.2.1')).toBe('192.0.2.1')
    expect(plainAddress('2001:db8::1')).toBe('2001:db8::1')
  })
})

describe('headers', () => {
  const client = clientOf(new Headers(), peer('203.0.113.9'), new Set())

  test('that Connection names do not cross, but for those that carry the message', () => {
    const received = new Headers({
      host: 'acme.fleet.test',
      connection: 'close, X-Secret, host, content-length, bad token',
      'x-secret': '1',
      'content-length': '3',
    })
    const sent = upstreamHeaders(received, client, { 'x-pocketfleet-route': 'ours' })
    expect(sent.get('x-secret')).toBeNull()
    expect(sent.get('connection')).toBeNull()
    expect([sent.get('host'), sent.get('content-length')]).toEqual(['acme.fleet.test', '3'])
    expect(sent.get('x-pocketfleet-route')).toBe('ours')
  })

  test('of the inside cross in neither direction', () => {
    const inside = new Headers({ 'X-PocketFleet-Anything': '1', 'x-pocketfleet-route': 'forged', etag: '"1"' })
    const up = upstreamHeaders(inside, client, {})
    const down = downstreamHeaders(inside)
    for (const headers of [up, down])
      expect([...headers.keys()].filter((name) => name.startsWith('x-pocketfleet-'))).toEqual([])
    expect(down.get('etag')).toBe('"1"')
  })
})
