// From options to a standalone tenant.

import { systemClock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { systemRng } from '../../lib/rng.ts'
import { openStandalone, type StandaloneHttps } from '../../node/standalone.ts'
import { encryptionKey } from '../encryption-key.ts'
import { never, type Running } from '../lifetime.ts'
import type { ModeInput } from '../mode.ts'

export async function startStandalone(input: ModeInput): Promise<Running> {
  const { options, log } = input
  const https = httpsOf(input)
  const httpDefault = https === null ? { host: '127.0.0.1', port: 8090 } : { host: '0.0.0.0', port: 80 }
  const standalone = await openStandalone({
    dir: options.dir ?? './pb_data',
    http: options.http ?? httpDefault,
    https,
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

/** TLS with a certificate that was given; none is requested by ourselves. */
function httpsOf({ options, domains }: ModeInput): StandaloneHttps | null {
  const { tlsCert, tlsKey, httpsAddr } = options
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ConfigError('--tls-cert and --tls-key belong together')
  if (tlsCert === undefined || tlsKey === undefined) {
    const needs = 'needs --tls-cert and --tls-key, for certificates are not issued yet; or put a TLS proxy in front'
    if (domains.length > 0) throw new ConfigError(`domains: ${domains.join(' ')} ${needs}`)
    if (httpsAddr !== undefined) throw new ConfigError(`--https-addr: ${needs}`)
    return null
  }
  return { ...(httpsAddr ?? { host: '0.0.0.0', port: 443 }), certPath: tlsCert, keyPath: tlsKey, domains }
}
