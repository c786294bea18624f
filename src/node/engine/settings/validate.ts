// Checks of settings before they are saved, with PocketBase's codes and messages. Settings that are loaded from the
// database are used as they are: what was stored once keeps working.

import { isIpOrSubnet } from '../rate-limit/ip.ts'
import {
  atLeast,
  type Check,
  checkFields,
  checkItems,
  format,
  lengthBetween,
  oneOf,
  required,
  type ValidationErrors,
  when,
} from './checks.ts'
import { isEmail, isHexColor, isHost, isUrl } from './formats.ts'
import type { RateLimitRule, S3Settings, Settings } from './settings.ts'

export interface SettingsValidationDeps {
  /** Why a cron expression is not one, or null. */
  readonly cronProblem: (expression: string) => string | null
}

/** @returns null when everything may be saved. */
export function validateSettings(settings: Settings, deps: SettingsValidationDeps): ValidationErrors | null {
  const { smtp, backups, s3, meta, rateLimits, batch, logs } = settings
  return checkFields({
    superuserIPs: checkItems(settings.superuserIPs, [required, ipOrSubnet]),
    meta: checkFields({
      accentColor: [meta.accentColor, lengthBetween(7, 7), hexColor],
      appName: [meta.appName, required, lengthBetween(1, 255)],
      appURL: [meta.appURL, required, url],
      senderName: [meta.senderName, required, lengthBetween(1, 255)],
      senderAddress: [meta.senderAddress, email, required],
    }),
    logs: checkFields({ maxDays: [logs.maxDays, atLeast(0)] }),
    smtp: checkFields({
      host: [smtp.host, when(smtp.enabled, required), host],
      port: [smtp.port, when(smtp.enabled, required), atLeast(0)],
      authMethod: [smtp.authMethod, oneOf(['LOGIN', 'PLAIN'])],
      localName: [smtp.localName, host],
    }),
    s3: s3Errors(s3),
    backups: checkFields({
      s3: s3Errors(backups.s3),
      cron: [backups.cron, cron(deps)],
      cronMaxKeep: [backups.cronMaxKeep, when(backups.cron !== '', required), atLeast(1)],
    }),
    batch: checkFields({
      maxRequests: [batch.maxRequests, when(batch.enabled, required), atLeast(0)],
      timeout: [batch.timeout, when(batch.enabled, required), atLeast(0)],
      maxBodySize: [batch.maxBodySize, atLeast(0)],
    }),
    rateLimits: checkFields({
      rules: rateLimits.enabled && rateLimits.rules.length === 0 ? required(null) : ruleErrors(rateLimits.rules),
      excludedIPs: checkItems(rateLimits.excludedIPs, [required, ipOrSubnet]),
    }),
  })
}

function s3Errors(s3: S3Settings): ValidationErrors | null {
  const needed = when(s3.enabled, required)
  return checkFields({
    endpoint: [s3.endpoint, url, needed],
    bucket: [s3.bucket, needed],
    region: [s3.region, needed],
    accessKey: [s3.accessKey, needed],
    secret: [s3.secret, needed],
  })
}

const labelPattern = /^(\w+ \/[\w/-]*|\/[\w/-]*|\w+:\w+|\*:\w+|\w+)$/

function ruleErrors(rules: readonly RateLimitRule[]): ValidationErrors | null {
  return (
    conflictingRule(rules) ??
    checkFields(
      Object.fromEntries(
        rules.map((rule, i) => [
          String(i),
          checkFields({
            label: [rule.label, required, format(labelPattern)],
            maxRequests: [rule.maxRequests, required, atLeast(1)],
            duration: [rule.duration, required, atLeast(1)],
            audience: [rule.audience, oneOf(['', '@guest', '@auth'])],
          }),
        ]),
      ),
    )
  )
}

/** Two rules conflict when one's label and audience begin with the other's: a rule for all clashes with one for guests. */
function conflictingRule(rules: readonly RateLimitRule[]): ValidationErrors | null {
  const keys: string[] = []
  for (const [i, rule] of rules.entries()) {
    const key = `${rule.label}@@${rule.audience}`
    if (keys.some((other) => other.startsWith(key) || key.startsWith(other))) {
      const message = `Rate limit rule configuration with label ${rule.label} already exists or conflicts with another rule.`
      return {
        [i]: { label: { code: 'validation_conflicting_rate_limit_rule', message, params: { label: rule.label } } },
      }
    }
    keys.push(key)
  }
  return null
}

const textCheck =
  (test: (text: string) => boolean, code: string, message: string): Check =>
  (value) =>
    typeof value === 'string' && value !== '' && !test(value) ? { code, message } : null

const url = textCheck(isUrl, 'validation_is_url', 'Must be a valid URL.')
const email = textCheck(isEmail, 'validation_is_email', 'Must be a valid email address.')
const host = textCheck(isHost, 'validation_is_host', 'Must be a valid IP address or DNS name.')
const hexColor = textCheck(isHexColor, 'validation_is_hex_color', 'Must be a valid hexadecimal color code.')
const ipOrSubnet = textCheck(isIpOrSubnet, 'validation_invlaid_ip_or_subnet', 'Invalid IP or CIDR subnet.')

const cron =
  ({ cronProblem }: SettingsValidationDeps): Check =>
  (value) => {
    if (typeof value !== 'string' || value === '') return null
    const problem = cronProblem(value)
    return problem === null ? null : { code: 'validation_invalid_cron', message: problem }
  }
