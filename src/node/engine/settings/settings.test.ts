// Goal: settings load, merge and print as PocketBase's do, and secrets stay in. Method: fixed JSON texts.

import { expect, test } from 'bun:test'
import { systemRng } from '../../../lib/rng.ts'
import { decryptSettings, encryptSettings, SettingsEncryptionError } from './encryption.ts'
import { defaultSettings, mergeSettings, publicSettings, type Settings, storedSettings } from './settings.ts'
import { validateSettings } from './validate.ts'

function merged(json: unknown, current: Settings = defaultSettings): Settings {
  const outcome = mergeSettings(current, json)
  if (!outcome.ok) throw new Error(`${outcome.error.path}: ${outcome.error.expected}`)
  return outcome.value
}

test('the default settings, byte for byte', () => {
  expect(storedSettings(defaultSettings)).toBe(
    '{"superuserIPs":[],"smtp":{"enabled":false,"port":587,"host":"smtp.example.com","username":"","password":"","authMethod":"","tls":false,"localName":""},"backups":{"cron":"","cronMaxKeep":3,"s3":{"enabled":false,"bucket":"","region":"","endpoint":"","accessKey":"","forcePathStyle":false}},"s3":{"enabled":false,"bucket":"","region":"","endpoint":"","accessKey":"","forcePathStyle":false},"meta":{"accentColor":"#1055c9","appName":"Acme","appURL":"http://localhost:8090","senderName":"Support","senderAddress":"support@example.com","hideControls":false},"rateLimits":{"rules":[{"label":"*:auth","audience":"","duration":3,"maxRequests":2},{"label":"*:create","audience":"","duration":5,"maxRequests":20},{"label":"/api/batch","audience":"","duration":1,"maxRequests":3},{"label":"/api/","audience":"","duration":10,"maxRequests":300}],"excludedIPs":[],"enabled":false},"trustedProxy":{"headers":[],"useLeftmostIP":false},"batch":{"enabled":false,"maxRequests":50,"timeout":3,"maxBodySize":0},"logs":{"maxDays":5,"minLevel":0,"logIP":true,"logAuthId":false}}',
  )
})

test('secrets are stored and never shown', () => {
  const settings = merged({
    smtp: { password: 'smtp_pw' },
    s3: { secret: 's3_sec' },
    backups: { s3: { secret: 'bk_sec' } },
  })
  for (const secret of ['smtp_pw', 's3_sec', 'bk_sec']) expect(storedSettings(settings)).toContain(secret)
  const shown = JSON.stringify(publicSettings(settings))
  for (const secret of ['smtp_pw', 's3_sec', 'bk_sec', 'password', 'secret']) expect(shown).not.toContain(secret)
  expect(merged({ meta: { appName: 'x' } }, settings).smtp.password).toBe('smtp_pw') // what was not sent stays
})

test('loads over what was there', () => {
  const settings = merged({
    META: { AppName: 'a' },
    unknown: 1,
    logs: null,
    superuserIPs: ['1.1.1.1'],
    batch: { timeout: null },
  })
  expect(settings.meta.appName).toBe('a')
  expect(settings.logs).toEqual(defaultSettings.logs)
  expect(settings.batch.timeout).toBe(3)
  expect(merged({ superuserIPs: null }, settings).superuserIPs).toEqual([])
  // An item is loaded over the one at its place.
  const guests = merged({ rateLimits: { rules: [{ label: '/x', audience: '@guest', duration: 1, maxRequests: 1 }] } })
  expect(merged({ rateLimits: { rules: [{ label: '/y' }] } }, guests).rateLimits.rules).toEqual([
    { label: '/y', audience: '@guest', duration: 1, maxRequests: 1 },
  ])
})

test('refuses members of another kind, naming them', () => {
  const cases: [unknown, string][] = [
    [[], 'settings'],
    ['x', 'settings'],
    [{ meta: [] }, 'meta'],
    [{ meta: { appName: 5 } }, 'meta.appName'],
    [{ smtp: { port: '25' } }, 'smtp.port'],
    [{ smtp: { port: 2.5 } }, 'smtp.port'],
    [{ logs: { logIP: 1 } }, 'logs.logIP'],
    [{ superuserIPs: '1.1.1.1' }, 'superuserIPs'],
    [{ superuserIPs: [5] }, 'superuserIPs.0'],
    [{ rateLimits: { rules: [5] } }, 'rateLimits.rules.0'],
  ]
  for (const [json, path] of cases) {
    const outcome = mergeSettings(defaultSettings, json)
    expect(outcome.ok ? null : outcome.error.path).toBe(path)
  }
  expect(Object.hasOwn(merged(JSON.parse('{"__proto__":{"x":1}}')), 'x')).toBe(false)
})

const validate = (json: unknown) =>
  validateSettings(merged(json), { cronProblem: (text) => (text === 'bad' ? 'not a cron' : null) })

test('the defaults are valid', () => {
  expect(validate({})).toBeNull()
})

test('reports every wrong member at its place', () => {
  const errors = validate({
    superuserIPs: ['', '1.2.3', '10.0.0.0/8'],
    meta: { accentColor: '#12', appName: '', appURL: 'nope', senderAddress: 'x' },
    logs: { maxDays: -1 },
    smtp: { enabled: true, host: '', port: 0, authMethod: 'CRAM', localName: 'a b' },
    s3: { enabled: true, endpoint: 'x y' },
    backups: { cron: 'bad', cronMaxKeep: 0 },
    batch: { enabled: true, maxRequests: -1, timeout: 0 },
    rateLimits: {
      enabled: true,
      rules: [{ label: 'a b c', duration: 0, maxRequests: -1, audience: 'x' }],
      excludedIPs: ['x'],
    },
  })
  const codes = JSON.parse(
    JSON.stringify(errors, (key, value) => (key === 'message' || key === 'params' ? undefined : value)),
  )
  const code = (text: string) => ({ code: `validation_${text}` })
  expect(codes).toEqual({
    superuserIPs: { 0: code('required'), 1: code('invlaid_ip_or_subnet') },
    meta: {
      accentColor: code('length_invalid'),
      appName: code('required'),
      appURL: code('is_url'),
      senderAddress: code('is_email'),
    },
    logs: { maxDays: code('min_greater_equal_than_required') },
    smtp: {
      host: code('required'),
      port: code('required'),
      authMethod: code('in_invalid'),
      localName: code('is_host'),
    },
    s3: {
      endpoint: code('is_url'),
      bucket: code('required'),
      region: code('required'),
      accessKey: code('required'),
      secret: code('required'),
    },
    backups: { cron: code('invalid_cron'), cronMaxKeep: code('required') },
    batch: { maxRequests: code('min_greater_equal_than_required'), timeout: code('required') },
    rateLimits: {
      rules: {
        0: {
          label: code('match_invalid'),
          maxRequests: code('min_greater_equal_than_required'),
          duration: code('required'),
          audience: code('in_invalid'),
        },
      },
      excludedIPs: { 0: code('invlaid_ip_or_subnet') },
    },
  })
})

test('two rules for one label and audience conflict', () => {
  const rule = { label: 'users:create', duration: 1, maxRequests: 1 }
  const rules = (...list: unknown[]) => validate({ rateLimits: { rules: list } })
  expect(rules({ ...rule, audience: '@guest' }, { ...rule, audience: '@auth' })).toBeNull()
  expect(rules(rule, { ...rule, audience: '@auth' })).toMatchObject({
    rateLimits: { rules: { 1: { label: { code: 'validation_conflicting_rate_limit_rule' } } } },
  })
})

test('encryption opens what PocketBase sealed, and nothing else', async () => {
  const key = 'abcdabcdabcdabcdabcdabcdabcdabcd'
  expect(await decryptSettings('8kcEqilvv+YKYcfnSr0aSC54gmnQCsB02SaB8ATlnA==', key)).toBe('123')
  const sealed = await encryptSettings('{"a":"ü"}', key, systemRng)
  expect(sealed).not.toBe(await encryptSettings('{"a":"ü"}', key, systemRng))
  expect(await decryptSettings(sealed, key)).toBe('{"a":"ü"}')
  for (const [text, with_] of [
    [sealed, 'x'.repeat(32)],
    [sealed, 'short'],
    [`AAAA${sealed.slice(4)}`, key],
    ['', key],
    ['{"a":1}', key],
  ] as const)
    await expect(decryptSettings(text, with_)).rejects.toBeInstanceOf(SettingsEncryptionError)
  await expect(encryptSettings('x', 'short', systemRng)).rejects.toBeInstanceOf(SettingsEncryptionError)
})
