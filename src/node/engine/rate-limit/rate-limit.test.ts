// Goal: limits count per rule and client, windows end, memory stays bounded, and the right rule is found.

import { expect, test } from 'bun:test'
import { SimClock } from '../../../lib/clock.ts'
import type { RateLimitsSettings } from '../settings/settings.ts'
import { RateLimiter } from './limiter.ts'
import { resolveRealIp } from './real-ip.ts'
import { audiencesOf, collectionLabels, findRateLimitRule, pathLabels } from './rules.ts'

const limit = { maxRequests: 2, duration: 3 }

test('an allowance per rule, client and window', async () => {
  const clock = new SimClock()
  const limiter = new RateLimiter(clock)
  const take = (rule = 'a', client = '1') => limiter.isAllowed(rule, client, limit)
  expect([take(), take(), take(), take('b'), take('a', '2')]).toEqual([true, true, false, true, true])
  await clock.advance(2999)
  expect(take()).toBe(false)
  await clock.advance(1)
  expect([take(), take(), take()]).toEqual([true, true, false])
  limiter.reset()
  expect(take()).toBe(true)
})

test('zero requests refuse, zero duration never limits, as stored settings may say', () => {
  const limiter = new RateLimiter(new SimClock())
  expect(limiter.isAllowed('none', '1', { maxRequests: 0, duration: 10 })).toBe(false)
  for (let i = 0; i < 5; i++) expect(limiter.isAllowed('free', '1', { maxRequests: 1, duration: 0 })).toBe(true)
})

test('a clock set back does not lock clients out', () => {
  const clock = new SimClock()
  const limiter = new RateLimiter(clock)
  limiter.isAllowed('a', '1', { maxRequests: 1, duration: 10 })
  clock.jumpWallClock(-3_600_000)
  expect(limiter.isAllowed('a', '1', { maxRequests: 1, duration: 10 })).toBe(true)
})

test('memory is bounded, and old windows go away by themselves', async () => {
  const clock = new SimClock()
  const limiter = new RateLimiter(clock)
  for (let i = 0; i < 25_000; i++) limiter.isAllowed('a', String(i), limit)
  expect(limiter.size).toBe(10_000)
  await clock.advance(10_000)
  for (let i = 0; i < 4_000; i++) limiter.isAllowed('b', String(i), limit)
  expect(limiter.size).toBeLessThan(5_000)
})

const rules = (...list: [label: string, audience?: string][]): RateLimitsSettings => ({
  rules: list.map(([label, audience = '']) => ({ label, audience, duration: 1, maxRequests: 1 })),
  excludedIPs: [],
  enabled: true,
})
const find = (settings: RateLimitsSettings, labels: string[], isSignedIn = false) =>
  findRateLimitRule(settings, labels, audiencesOf(isSignedIn))?.label ?? null

test('the most special label wins', () => {
  const labels = collectionLabels('users', ['authWithPassword', 'auth'], 'POST', '/api/x')
  expect(labels).toEqual([
    'users:authWithPassword',
    'users:auth',
    '*:authWithPassword',
    '*:auth',
    'POST /api/x',
    '/api/x',
  ])
  expect(find(rules(['/api/'], ['*:auth'], ['users:auth']), labels)).toBe('users:auth')
  expect(find(rules(['/api/'], ['*:auth']), labels)).toBe('*:auth')
  expect(find(rules(['/api/'], ['POST /api/x']), labels)).toBe('POST /api/x')
  expect(find(rules(['/api/']), labels)).toBe('/api/')
  expect(find(rules(['/other/']), labels)).toBeNull()
})

test('prefix rules', () => {
  expect(find(rules(['/api/a/'], ['/api/']), pathLabels('GET', '/api/a'))).toBe('/api/a/')
  expect(find(rules(['/api/a/']), pathLabels('GET', '/api/ab'))).toBeNull()
  expect(find(rules(['GET /api/']), pathLabels('GET', '/api/b/c'))).toBe('GET /api/')
  expect(find(rules(['GET /api/']), pathLabels('POST', '/api/b/c'))).toBeNull()
})

test('audiences', () => {
  const settings = rules(['/api/a', '@guest'], ['/api/a', '@auth'])
  expect(findRateLimitRule(settings, ['/api/a'], audiencesOf(true))?.audience).toBe('@auth')
  expect(findRateLimitRule(settings, ['/api/a'], audiencesOf(false))?.audience).toBe('@guest')
  expect(find(rules(['/api/a', '@auth']), ['/api/a'], false)).toBeNull()
})

test('the address behind proxies', () => {
  const headers = new Headers({ 'x-forwarded-for': '1.1.1.1, bad, 2.2.2.2, ', 'x-real-ip': '::1' })
  const real = (names: string[], useLeftmostIP = false) =>
    resolveRealIp(headers, '9.9.9.9', { headers: names, useLeftmostIP })
  expect(real([])).toBe('9.9.9.9')
  expect(real(['X-Forwarded-For'])).toBe('2.2.2.2')
  expect(real(['X-Forwarded-For'], true)).toBe('1.1.1.1')
  expect(real(['X-Missing', 'X-Real-IP'])).toBe('0000:0000:0000:0000:0000:0000:0000:0001')
  expect(real(['not a header'])).toBe('9.9.9.9')
})
