// Settings: read and changed, with values that are refused. None that would make one server deaf to the next request.

import type { Generator } from '../generator.ts'
import type { RequestPlan } from '../plans.ts'

export function askSettings(generator: Generator): RequestPlan {
  const caller = generator.chance(85) ? 1 : generator.caller()
  if (generator.chance(20))
    return {
      method: 'GET',
      path: `/api/settings${generator.pick(['', '?fields=meta', '?fields=meta.appName,logs'])}`,
      body: null,
      caller,
    }
  // Several at once, so that few requests meet many rules.
  const body = Object.assign({}, ...Array.from({ length: 1 + generator.rng.below(3) }, () => generator.pick(changes)))
  if (generator.chance(15))
    return {
      method: 'PATCH',
      path: '/api/settings',
      body: null,
      form: generator.chance(50) ? generator.pick(forms) : [{ name: '@jsonPayload', value: JSON.stringify(body) }],
      caller,
    }
  return { method: 'PATCH', path: '/api/settings', body, caller }
}

const rule = { label: '/api/nothing', duration: 10, maxRequests: 100 }

const forms: readonly (readonly { name: string; value: string }[])[] = [
  [{ name: 'meta.appName', value: 'Formed' }],
  [{ name: 'meta', value: 'x' }],
  [
    { name: 'batch.maxRequests', value: '7' },
    { name: 'batch.enabled', value: 'T' },
  ],
  [{ name: 'batch.maxRequests', value: '7.5' }],
  [{ name: 'logs.logIP', value: 'yes' }],
  [{ name: 'logs.nothing', value: '1' }],
  [{ name: 'logs.maxDays.more', value: '1' }],
  [
    { name: 'meta.appName', value: 'Field' },
    { name: '@jsonPayload', value: '{"meta":{"senderName":"Payload"},"logs":{"maxDays":2}}' },
  ],
  [
    { name: 'meta.appName', value: 'Field' },
    { name: '@jsonPayload', value: '{"meta":null}' },
  ],
  [{ name: '@jsonPayload', value: '{"logs":3}' }],
  [{ name: '@jsonPayload', value: '{"superuserIPs":"1.2.3.4"}' }],
]

const changes: readonly Record<string, unknown>[] = [
  {},
  { meta: { appName: 'World', senderName: 'ä <b>' } },
  { meta: { appName: '' } },
  { meta: { appURL: 'nope' } },
  { meta: { appURL: 'https://example.com/app', hideControls: true } },
  { meta: { senderAddress: 'nope' } },
  { meta: { accentColor: '#12345g' } },
  { meta: { accentColor: '#abcdef' } },
  { meta: 'x' },
  { logs: { maxDays: -1 } },
  { logs: { maxDays: 7, minLevel: -4, logIP: false } },
  { logs: { maxDays: 'x' } },
  { batch: { enabled: true, maxRequests: 0 } },
  { batch: { enabled: true, maxRequests: 40, timeout: 9, maxBodySize: 1_000_000 } },
  { batch: { enabled: true, timeout: -1 } },
  { backups: { cron: 'nope' } },
  { backups: { cron: '', cronMaxKeep: 0 } },
  { backups: { cron: '0 0 1 1 *', cronMaxKeep: 0 } },
  { backups: { cron: '0 0 1 1 *', cronMaxKeep: 4 } },
  { backups: { s3: { enabled: true } } },
  { s3: { enabled: true } },
  { s3: { bucket: 'b', secret: 'hidden', endpoint: 'https://s3.example.com' } },
  { smtp: { enabled: true, host: '', port: 0 } },
  { smtp: { host: 'mail.example.com', port: 25, username: 'u', password: 'hidden', authMethod: 'NOPE' } },
  { smtp: { host: 'mail.example.com', port: 25, authMethod: 'LOGIN', localName: 'bad name' } },
  { smtp: { host: 'mail.example.com', port: 70_000 } },
  { rateLimits: { enabled: false, rules: [rule, rule] } },
  {
    rateLimits: {
      enabled: false,
      rules: [
        { ...rule, audience: '@guest' },
        { ...rule, audience: '@auth' },
      ],
    },
  },
  { rateLimits: { enabled: false, rules: [{ label: '', duration: 0, maxRequests: 0 }] } },
  { rateLimits: { enabled: false, rules: [{ label: 'bad label!', duration: 1, maxRequests: 1, audience: 'x' }] } },
  { rateLimits: { enabled: true, rules: [] } },
  { rateLimits: { enabled: false, excludedIPs: ['nope'] } },
  { rateLimits: { enabled: false, excludedIPs: ['10.0.0.0/8', '::1'], rules: [rule] } },
  { superuserIPs: ['nope'] },
  { trustedProxy: { headers: ['Bad Header'] } },
  { trustedProxy: { headers: [], useLeftmostIP: true } },
  { unknown: 1 },
]
