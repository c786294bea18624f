// Goal: every request reaches the tenant it names and no other; nothing odd reaches anyone. Method: a table.

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { hostName, targetOf } from './host.ts'

const slug = (name: string) => ({ kind: 'tenant', key: { kind: 'slug', slug: name } })
const domain = (name: string) => ({ kind: 'tenant', key: { kind: 'domain', domain: name } })
const reference = (name: string) => ({ kind: 'tenant', key: { kind: 'reference', reference: name } })
const platform = (isBare: boolean) => ({ kind: 'control-plane', isBare })
const invalid = (status: number) => expect.objectContaining({ kind: 'invalid', status })

const cases: readonly (readonly [host: string | null, tenant: string | null, expected: unknown])[] = [
  ['acme.fleet.example', null, slug('acme')],
  ['ACME.Fleet.Example:8443', null, slug('acme')],
  ['acme.fleet.example.', null, slug('acme')],
  ['acme.fleet.example.:80', null, slug('acme')],
  ['acme.fleet.example', 'other', slug('acme')],
  ['a.b.fleet.example', null, invalid(404)],
  ['-acme.fleet.example', null, invalid(400)],
  ['acme-.fleet.example', null, invalid(404)],
  ['under_score.fleet.example', null, invalid(404)],
  ['app.fleet.example', null, platform(false)],
  ['Admin.fleet.example:80', null, platform(false)],
  ['api.fleet.example', 'acme', platform(false)],
  ['fleet.example', null, platform(true)],
  ['fleet.example:8080', 'acme', reference('acme')],
  ['fleet.example', ' ACME ', reference('acme')],
  ['fleet.example', '../acme', invalid(400)],
  ['fleet.example', '', invalid(400)],
  ['fleet.example', 'a b', invalid(400)],
  ['fleet.example', 'x'.repeat(64), invalid(400)],
  ['localhost:8090', null, platform(true)],
  ['localhost:8090', 'abcdefghij12345', reference('abcdefghij12345')],
  ['127.0.0.1:8090', 'acme', reference('acme')],
  ['[::1]:8090', 'acme', reference('acme')],
  ['[::1]', null, platform(true)],
  ['[::1', null, invalid(400)],
  ['[fleet]', null, invalid(400)],
  ['shop.customer.example', null, domain('shop.customer.example')],
  ['Shop.Customer.Example:443', 'acme', domain('shop.customer.example')],
  ['evilfleet.example', null, domain('evilfleet.example')],
  [null, null, invalid(400)],
  ['', null, invalid(400)],
  ['.', null, invalid(400)],
  ['..fleet.example', null, invalid(400)],
  ['acme..fleet.example', null, invalid(400)],
  ['acme.fleet.example, other.fleet.example', null, invalid(400)],
  ['acme.fleet.example/path', null, invalid(400)],
  ['user@acme.fleet.example', null, invalid(400)],
  ['acme.fleet.example:99999', null, invalid(400)],
  ['acme.fleet.example:', null, invalid(400)],
  [`${'a'.repeat(250)}.example`, null, invalid(400)],
  ['bücher.fleet.example', null, invalid(400)],
]

describe('targetOf', () => {
  for (const [host, tenant, expected] of cases)
    test(`${host}${tenant === null ? '' : ` with ${JSON.stringify(tenant)}`}`, () => {
      expect(targetOf(host, tenant, 'fleet.example')).toEqual(expected as never)
    })

  test('localhost as base domain', () => {
    expect(targetOf('acme.localhost:8090', null, 'localhost')).toEqual(slug('acme') as never)
    expect(targetOf('localhost:8090', null, 'localhost')).toEqual(platform(true) as never)
  })

  test('never throws, and a host that is accepted is a plain lower-case name', () => {
    fc.assert(
      fc.property(fc.string(), fc.option(fc.string()), (host, tenant) => {
        targetOf(host, tenant, 'fleet.example')
        const name = hostName(host)
        if (name !== null) expect(name).toMatch(/^[a-z0-9_.:-]+$/)
      }),
      { numRuns: 2_000 },
    )
  })
})
