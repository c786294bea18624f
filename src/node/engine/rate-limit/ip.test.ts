// Goal: addresses compare as Go's net/netip compares them. Method: tables, and Node's own parser as a second opinion.

import { expect, test } from 'bun:test'
import { isIP } from 'node:net'
import fc from 'fast-check'
import { formatIp, isIpInList, isIpOrSubnet, normalizeRemoteAddress, parseIp } from './ip.ts'

test('one form for every address', () => {
  const forms: [string, string][] = [
    ['127.0.0.1', '127.0.0.1'],
    ['::', '0000:0000:0000:0000:0000:0000:0000:0000'],
    ['::1', '0000:0000:0000:0000:0000:0000:0000:0001'],
    ['2001:DB8::a:0', '2001:0db8:0000:0000:0000:0000:000a:0000'],
    ['::ffff:1.2.3.4', '0000:0000:0000:0000:0000:ffff:0102:0304'],
    ['1:2:3:4:5:6:7::', '0001:0002:0003:0004:0005:0006:0007:0000'],
  ]
  for (const [text, expected] of forms) expect(formatIp(parseIp(text)!)).toBe(expected)
})

test('agrees with the platform on what an address is', () => {
  const text = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.string({ unit: fc.constantFrom('0', '1', 'f', ':', '.', '/'), maxLength: 20 }),
    fc.string(),
  )
  fc.assert(
    fc.property(text, (each) => {
      expect([each, parseIp(each) !== null]).toEqual([each, isIP(each) !== 0])
    }),
    { numRuns: 2000 },
  )
})

test('subnets contain their own family only', () => {
  expect(isIpInList(['10.0.0.0/8'], '10.255.0.1')).toBe(true)
  expect(isIpInList(['10.0.0.0/8'], '11.0.0.1')).toBe(false)
  expect(isIpInList(['192.168.1.128/25'], '192.168.1.127')).toBe(false)
  expect(isIpInList(['192.168.1.130/25'], '192.168.1.200')).toBe(true) // the base may have host bits
  expect(isIpInList(['0.0.0.0/0'], '::1')).toBe(false)
  expect(isIpInList(['::/0'], '1.2.3.4')).toBe(false)
  expect(isIpInList(['::ffff:1.2.3.4'], '1.2.3.4')).toBe(false)
  expect(isIpInList(['2001:db8::/33'], '2001:db8:7fff::1')).toBe(true)
  expect(isIpInList(['2001:db8::/33'], '2001:db8:8000::1')).toBe(false)
  expect(isIpInList(['x', '', '1.1.1.1/33', '1.1.1.1'], '1.1.1.1')).toBe(true)
  expect(isIpInList(['1.1.1.1'], '')).toBe(false)
  expect(isIpInList([], '1.1.1.1')).toBe(false)
})

test('what may be listed', () => {
  for (const text of ['127.0.0.1', '::1', '127.0.0.1/24', '::/128']) expect(isIpOrSubnet(text)).toBe(true)
  for (const text of ['', 'invalid', '127.0', '1.1.1.1/33', '::/129', '1.1.1.1/', '1.1.1.1/08', '01.1.1.1'])
    expect(isIpOrSubnet(text)).toBe(false)
})

test('remote addresses', () => {
  expect(normalizeRemoteAddress('::ffff:127.0.0.1')).toBe('127.0.0.1')
  expect(normalizeRemoteAddress('fe80::1%eth0')).toBe('fe80:0000:0000:0000:0000:0000:0000:0001')
  expect(normalizeRemoteAddress('unix')).toBe('')
})
