// Goal: a worker believes what a gateway signed, for as long as it is valid, and nothing else.

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Epoch, TenantId } from '../../lib/brand.ts'
import { err, ok } from '../../lib/result.ts'
import { clusterSecrets, curveKeyPair, roles } from '../keys.ts'
import { parseDirectory, signPeerHeader, verifyPeerHeader } from './directory.ts'
import {
  type RouteHeader,
  RouteHeaderVerifier,
  routeHeaderKeys,
  signRouteHeader,
  verifyRouteHeader,
} from './route-header.ts'

const secrets = clusterSecrets('the current cluster secret')
const keys = routeHeaderKeys(secrets)
const header: RouteHeader = {
  tenantId: 'abcdefghij12345' as TenantId,
  epoch: 7 as Epoch,
  clientAddress: '203.0.113.9',
  scheme: 'https',
  host: 'acme.fleet.example:8443',
  expiresAtMs: 1_000,
}
const forgedWith = (payload: unknown) => {
  const signed = `v1.${Buffer.from(JSON.stringify(payload)).toString('base64url')}`
  return `${signed}.${new Bun.CryptoHasher('sha256', keys[0]).update(signed).digest('base64url')}`
}

describe('route header', () => {
  test('says what was signed until it expires', () => {
    const text = signRouteHeader(keys, header)
    expect(verifyRouteHeader(keys, text, 999)).toEqual(ok(header))
    expect(verifyRouteHeader(keys, text, 1_000)).toEqual(err('expired'))
    const traced = { ...header, requestId: 'r-1' }
    expect(verifyRouteHeader(keys, signRouteHeader(keys, traced), 0)).toEqual(ok(traced))
  })

  test('is remembered as good for as long as it is valid, and only itself', () => {
    const verifier = new RouteHeaderVerifier(keys)
    const text = signRouteHeader(keys, header)
    for (const nowMs of [0, 0, 999]) expect(verifier.verify(text, nowMs)).toEqual(ok(header))
    expect(verifier.verify(text, 1_000)).toEqual(err('expired'))
    expect(verifier.verify(`${text.slice(0, -1)}${text.endsWith('A') ? 'E' : 'A'}`, 0)).toEqual(err('forged'))
    expect(verifier.verify(text, 0)).toEqual(ok(header))
  })

  test('is accepted under the previous secret while one is rotated, and no longer', () => {
    const text = signRouteHeader(keys, header)
    const next = 'the next cluster secret'
    expect(verifyRouteHeader(routeHeaderKeys(clusterSecrets(next, secrets.current)), text, 0).ok).toBe(true)
    expect(verifyRouteHeader(routeHeaderKeys(clusterSecrets(next)), text, 0)).toEqual(err('forged'))
  })

  test('with any byte changed is refused', () => {
    const text = signRouteHeader(keys, header)
    for (let at = 0; at < text.length; at++) {
      const changed = text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
      const verified = verifyRouteHeader(keys, changed, 0)
      // The last character of base64url carries unused bits; a change there may decode to the same bytes.
      if (verified.ok) expect(at).toBe(text.length - 1)
    }
  })

  test('of arbitrary text is refused without an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((rest) => `v1.${rest}`),
          fc.string().map((rest) => `v1.a.${rest}`),
        ),
        (text) => {
          expect(verifyRouteHeader(keys, text, 0).ok).toBe(false)
        },
      ),
      { numRuns: 1_000 },
    )
    expect(verifyRouteHeader(keys, '', 0)).toEqual(err('malformed'))
    expect(verifyRouteHeader(keys, `v2${signRouteHeader(keys, header).slice(2)}`, 0)).toEqual(err('malformed'))
    expect(verifyRouteHeader(keys, `v1.${'a'.repeat(10_000)}.x`, 0)).toEqual(err('malformed'))
  })

  test('signed but not of our shape is malformed', () => {
    expect(verifyRouteHeader(keys, forgedWith(header), 0)).toEqual(ok(header))
    for (const wrong of [
      null,
      [],
      'text',
      { ...header, tenantId: '../etc' },
      { ...header, epoch: 0 },
      { ...header, epoch: 1.5 },
      { ...header, epoch: 2 ** 32 },
      { ...header, scheme: 'ftp' },
      { ...header, clientAddress: 1 },
      { ...header, expiresAtMs: 'soon' },
      { ...header, requestId: 1 },
    ])
      expect(verifyRouteHeader(keys, forgedWith(wrong), 0)).toEqual(err('malformed'))
  })
})

describe('peer header', () => {
  test('proves a role until it expires', () => {
    for (const role of roles) {
      const text = signPeerHeader(secrets, role, 5_000)
      expect(verifyPeerHeader(secrets, text, 5_000)).toBe(role)
      expect(verifyPeerHeader(secrets, text, 65_000)).toBeNull()
      expect(verifyPeerHeader(clusterSecrets('quite another secret'), text, 5_000)).toBeNull()
      expect(verifyPeerHeader(clusterSecrets('quite another secret', secrets.current), text, 5_000)).toBe(role)
      expect(verifyPeerHeader(secrets, text.replace(role, role === 'node' ? 'gateway' : 'node'), 5_000)).toBeNull()
    }
    fc.assert(fc.property(fc.string(), (text) => verifyPeerHeader(secrets, text, 0) === null))
  })
})

describe('directory', () => {
  const member = {
    id: 'cp-1',
    httpUrl: 'http://127.0.0.1:8090',
    ipcAddress: 'tcp://127.0.0.1:5555',
    pubAddress: 'tcp://127.0.0.1:5556',
    isLeader: true,
  }

  test('of the right shape is taken, anything else is none', () => {
    expect(parseDirectory({ version: 1, members: [member], more: 1 })).toEqual({ version: 1, members: [member] })
    for (const wrong of [
      null,
      {},
      { version: 2, members: [] },
      { version: 1, members: [{ ...member, ipcAddress: 'inproc://zeromq.zap.01' }] },
      { version: 1, members: [{ ...member, isLeader: 'yes' }] },
      { version: 1, members: [null] },
    ])
      expect(parseDirectory(wrong)).toBeNull()
    fc.assert(fc.property(fc.anything(), (value) => void parseDirectory(value)))
  })
})

describe('keys', () => {
  test('differ by role and secret, and repeat for the same', () => {
    const pairs = ['secret one, long enough', 'secret two, long enough'].flatMap((secret) =>
      roles.map((role) => curveKeyPair(secret, role)),
    )
    expect(new Set(pairs.map((pair) => Buffer.from(pair.publicKey).toString('hex'))).size).toBe(6)
    expect(curveKeyPair('secret one, long enough', 'control-plane')).toEqual(pairs[0]!)
  })

  test('need a secret that cannot be guessed', () => {
    expect(() => clusterSecrets('short')).toThrow('at least 16 characters')
    expect(() => clusterSecrets('long enough to be used', 'short')).toThrow('at least 16 characters')
  })
})
