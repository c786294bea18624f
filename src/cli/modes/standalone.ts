// From options to a standalone tenant.

import { statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock } from '../../lib/clock.ts'
import { domainName } from '../../lib/config/fleet-options.ts'
import { ConfigError, errorMessage } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { systemRng } from '../../lib/rng.ts'
import type { PublicFilesOptions } from '../../node/api/public-files.ts'
import { openStandalone, type Standalone } from '../../node/standalone.ts'
import type { StandaloneHttps } from '../../node/standalone-listeners.ts'
import { encryptionKey } from '../encryption-key.ts'
import { never, type Running } from '../lifetime.ts'
import type { ModeInput } from '../mode.ts'

/** https://letsencrypt.org/docs/acme-protocol-updates/ */
const letsEncrypt = 'https://acme-v02.api.letsencrypt.org/directory'

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
    ...(options.origins !== undefined && { origins: options.origins }),
    ...publicFilesOf(input),
    ...(options.queryTimeout !== undefined && { readDeadlineMs: options.queryTimeout * 1_000 }),
    clock: systemClock,
    rng: systemRng,
    log,
  })
  const banner = [`Server started at ${standalone.url}`, `  REST API  ${standalone.url}/api/`]
  return {
    banner,
    later: installerLines(standalone, log),
    facts: { http: new URL(standalone.url).host },
    failed: never,
    close: () => standalone.close(),
  }
}

async function installerLines(standalone: Standalone, log: Logger): Promise<string[]> {
  try {
    const url = await standalone.installerUrl()
    if (url === null) return []
    return [
      '',
      '  No superuser yet. Make one in a browser, within half an hour:',
      `    ${url}`,
      '  or on the command line:',
      '    pocketfleet superuser upsert EMAIL PASSWORD',
    ]
  } catch (error) {
    log.warn('link for the first superuser not made', { error: errorMessage(error) }) // closed meanwhile, or a full disk
    return []
  }
}

/** The folder that was named, else PocketBase's own where it is. */
function publicFilesOf({ options }: ModeInput): { readonly publicFiles?: PublicFilesOptions } {
  const { publicDir, dir = './pb_data', indexFallback = true } = options
  const isFolder = (path: string) => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
  if (publicDir !== undefined && !isFolder(publicDir)) throw new ConfigError(`--public-dir: ${publicDir} is no folder`)
  const path = resolve(publicDir ?? join(dir, '../pb_public'))
  return publicDir !== undefined || isFolder(path) ? { publicFiles: { dir: path, indexFallback } } : {}
}

/** TLS with a certificate that was given, or with those that an authority issues for the domains. */
function httpsOf({ options, domains }: ModeInput): StandaloneHttps | null {
  const { tlsCert, tlsKey, httpsAddr, acmeDirectory } = options
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ConfigError('--tls-cert and --tls-key belong together')
  const address = httpsAddr ?? { host: '0.0.0.0', port: 443 }
  for (const domain of domains) {
    const name = domainName(domain)
    if (!name.ok) throw new ConfigError(`domains: got ${domain}, expected ${name.error}`)
  }
  if (tlsCert !== undefined && tlsKey !== undefined)
    return { ...address, certificates: { from: 'files', certPath: tlsCert, keyPath: tlsKey }, domains }
  if (domains.length > 0)
    return { ...address, certificates: { from: 'acme', directoryUrl: acmeDirectory ?? letsEncrypt }, domains }
  if (httpsAddr !== undefined)
    throw new ConfigError('--https-addr: needs --tls-cert and --tls-key, or a domain to get a certificate for')
  return null
}
