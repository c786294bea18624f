// From options to a standalone tenant.

import { systemClock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { systemRng } from '../../lib/rng.ts'
import { openStandalone } from '../../node/standalone.ts'
import { never, type Running } from '../lifetime.ts'
import type { ModeInput } from '../mode.ts'

/** Characters of the key that encrypts settings: AES-256 takes 32 bytes. */
const encryptionKeyLength = 32

export async function startStandalone({ options, log, domains }: ModeInput): Promise<Running> {
  if (domains.length > 0)
    throw new ConfigError(
      `domains: got ${domains.join(' ')}, but certificates are not issued yet; put a TLS proxy in front`,
    )
  const standalone = await openStandalone({
    dir: options.dir ?? './pb_data',
    http: options.http ?? { host: '127.0.0.1', port: 8090 },
    encryptionKey: encryptionKey(options.encryptionEnv),
    isDev: options.dev ?? false,
    clock: systemClock,
    rng: systemRng,
    log,
  })
  const banner = [`Server started at ${standalone.url}`, `  REST API  ${standalone.url}/api/`]
  if (standalone.needsSuperuser)
    banner.push('', '  No superuser yet. Make one:', '    pocketfleet superuser upsert EMAIL PASSWORD')
  return { banner, facts: { http: new URL(standalone.url).host }, failed: never, close: () => standalone.close() }
}

function encryptionKey(variable: string | undefined): string | null {
  if (variable === undefined) return null
  const key = process.env[variable] ?? ''
  if (key === '') return null // PocketBase leaves the settings in the clear then; an encrypted row is refused at open
  if (key.length !== encryptionKeyLength)
    throw new ConfigError(
      `--encryption-env: ${variable} must hold ${encryptionKeyLength} characters, got ${key.length}`,
    )
  return key
}
