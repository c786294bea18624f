// From options to a gateway. `fetch` reads its limit of upstream requests before any code runs, so a gateway that was
// started without it starts itself once more.

import { ensureGatewayEnvironment } from '../../gw/environment.ts'
import { openGateway } from '../../gw/gateway.ts'
import { systemClock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { Metrics } from '../../lib/obs/metrics.ts'
import { systemRng } from '../../lib/rng.ts'
import { fleetSecrets, requireControlPlane } from '../fleet-config.ts'
import { never, type Running } from '../lifetime.ts'
import type { ModeInput } from '../mode.ts'

export async function startGateway({ options, log, isChild }: ModeInput): Promise<Running> {
  if (!isChild) ensureGatewayEnvironment() // a child's parent sets it, and its configuration line is read already
  const { tlsCert, tlsKey } = options
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ConfigError('--tls-cert and --tls-key belong together')
  if (options.httpsAddr !== undefined && tlsCert === undefined)
    throw new ConfigError('--https-addr: needs --tls-cert and --tls-key')
  const gateway = await openGateway(
    {
      http: options.http ?? { host: '0.0.0.0', port: 8080 },
      https:
        tlsCert === undefined || tlsKey === undefined
          ? null
          : { ...(options.httpsAddr ?? { host: '0.0.0.0', port: 443 }), certPath: tlsCert, keyPath: tlsKey },
      controlPlane: requireControlPlane(options),
      baseDomain: options.baseDomain ?? 'localhost',
      secrets: fleetSecrets(options),
    },
    { clock: systemClock, rng: systemRng, log, metrics: new Metrics() },
  )
  const banner = [`Gateway on ${gateway.httpUrl}`, ...(gateway.httpsUrl ? [`  and ${gateway.httpsUrl}`] : [])]
  return {
    banner,
    facts: { http: new URL(gateway.httpUrl).host },
    failed: never,
    close: () => gateway.close(),
  }
}
